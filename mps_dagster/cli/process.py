"""`mps process`"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
import yaml

from mps_dagster.cli.estimate import show_estimates
from mps_dagster.cli.follow import follow_or_leave
from mps_dagster.cli.status import show_outcome
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.launching import launch_workflow, parse_tasks, process_media, upload_and_launch, upload_by_hand
from mps_dagster.errors import InvalidConfiguration, MpsError
from mps_dagster.settings import Settings
from mps_dagster.storage.keys import split_address
from mps_dagster.workflow.model import Task


@click.command()
@click.argument("source")
@click.option("--workflow", "name", help="Run this workflow. A local file is put where the workflow looks for uploads.")
@click.option(
    "--tasks", "document", help="Run these: YAML or JSON, or a file of it: {transcode: [{definition: 100030}]}."
)
@click.option("--output", default="outputs/", show_default=True, help="With --tasks: bucket/dir of the outputs.")
@click.option("--notify", "queue", help="With --tasks: local queue that gets the notification.")
@click.option("--priority", type=click.IntRange(-10, 10), default=0, show_default=True, help="With --tasks.")
@click.option(
    "--estimate", "estimates", is_flag=True, help="Only tell what it will cost, from what earlier outputs took."
)
@click.option("--follow", "follows", is_flag=True, help="Show progress until the task has ended, and then its outputs.")
def process(
    source: str, name: str | None, document: str | None, *, follows: bool, estimates: bool, **place: Any
) -> None:
    """Process SOURCE (a local file, or bucket/key) and print the TaskId.

    With --follow, the exit code is 1 if something in the task failed. Ctrl-C ends the following, and not the task.
    """
    if (name is None) == (document is None):
        raise click.UsageError("give either --workflow or --tasks")
    deployment = Deployment.of(Settings())
    if estimates:
        show_estimates(deployment, source, _tasks_of(deployment, name, document or ""))
        return
    # Fail before the upload if Dagster does not answer.
    deployment.dagster.ask("{ version }")
    task_id = (
        _by_workflow(deployment, name, source)
        if name is not None
        else _by_tasks(deployment, document or "", source, **place)
    )
    click.echo(task_id)
    if follows:
        show_outcome(follow_or_leave(deployment, task_id))


def _by_tasks(
    deployment: Deployment, document: str, source: str, *, output: str, queue: str | None, priority: int
) -> str:
    place = dict(zip(("bucket", "dir"), split_address(f"{output.rstrip('/')}//"), strict=True))
    notify = [{"type": "local", "queue": queue}] if queue else []
    tasks, path = _tasks(document), Path(source)
    with _uploaded(deployment, path) if path.is_file() else nullcontext(split_address(source)) as (bucket, key):
        origin = {"bucket": bucket, "key": key, "output": place, "notify": notify}
        return process_media(deployment, origin, tasks, priority=priority)


def _tasks_of(deployment: Deployment, name: str | None, document: str) -> list[Task]:
    if name is not None:
        return list(deployment.workflow(name).tasks.values())
    return parse_tasks(_tasks(document), {}, deployment.project.templates)


@contextmanager
def _uploaded(deployment: Deployment, path: Path) -> Iterator[tuple[str, str]]:
    """Upload to the bucket for processing by hand; delete the object again if the call is refused."""
    bucket, key = upload_by_hand(deployment, path)
    try:
        yield bucket, key
    except MpsError:
        deployment.buckets.get(bucket).delete(key)
        raise


def _by_workflow(deployment: Deployment, name: str, source: str) -> str:
    workflow, path = deployment.workflow(name), Path(source)
    if path.is_file():
        key = f"{workflow.trigger.prefix}{path.name}"
        return upload_and_launch(deployment, workflow, path, key)
    bucket, key = split_address(source)
    if bucket != workflow.trigger.bucket:
        raise InvalidConfiguration(
            f"workflow {name} works on {workflow.trigger.bucket}, not on {bucket}", hint="use --tasks for other buckets"
        )
    return launch_workflow(deployment, workflow, key)


def _tasks(document: str) -> dict[str, Any]:
    """Parse YAML or JSON, given as text or as the name of a file."""
    path = Path(document)
    try:
        text = path.read_text() if len(document) < 4096 and path.is_file() else document
        tasks = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise InvalidConfiguration(f"--tasks: {error}") from error
    if not isinstance(tasks, dict):
        raise InvalidConfiguration(
            "--tasks is a mapping from task type to outputs", hint="{transcode: [{definition: 100030}]}"
        )
    return tasks
