"""`mps demo`: one upload from end to end on this machine."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from mps_dagster.cli.demo_source import make_demo_source
from mps_dagster.cli.follow import follow
from mps_dagster.cli.services import prepare, running, services
from mps_dagster.cli.show import outputs_table, summary, whole_lines
from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.task_run import TaskRun, task_id
from mps_dagster.errors import InvalidInput, MpsError
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets

WORKFLOW = "demo"
QUEUE = "events"
PICKUP_TIMEOUT_S = 120
NOTIFICATION_TIMEOUT_S = 90


class NothingHappened(MpsError):
    """No run was launched, or no notification arrived."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--seconds", type=click.IntRange(2, 600), default=20, show_default=True, help="Length of the generated source."
)
def demo(file: Path | None, seconds: int) -> None:
    """Drop a video (FILE, or a generated one) into the inbox and watch what the workflow `demo` makes of it."""
    settings = Settings()
    console = whole_lines()
    if file is not None and not file.is_file():
        raise InvalidInput(f"there is no file {file}")
    prepare(settings)
    # If `mps up` is running, the demo is one more upload to it.
    with nullcontext() if running(settings) else _start(console, settings):
        deployment = Deployment.of(settings)
        deployment.workflow(WORKFLOW)
        key = _drop(console, settings, file, seconds)
        run = follow(deployment, _wait_for_run(console, deployment, key))
        console.print(summary(run))
        console.print(outputs_table(run))
        body = _notification(settings, run)
    _report(console, settings, run, body)
    if run.failed:
        raise SystemExit(1)


def _start(console: Console, settings: Settings) -> Any:
    console.print("starting Dagster (UI, daemons) and the file server …")
    return services(settings)


def _drop(console: Console, settings: Settings, file: Path | None, seconds: int) -> str:
    """Publish the source into the inbox as a whole, under a new name."""
    inbox = Buckets(settings).get("inbox")
    with tempfile.TemporaryDirectory(dir=settings.home) as folder:
        source = Path(folder) / (file.name if file else "demo.mp4")
        if file is None:
            console.print(f"making a source of {seconds} s …")
            make_demo_source(Ffmpeg.of(settings), source, seconds=seconds)
        else:
            shutil.copyfile(file, source)
        key = f"{source.stem}-{datetime.now():%H%M%S}{source.suffix}"
        inbox.publish(source, key)
    console.print(f"dropped [bold]{escape(key)}[/] into {settings.buckets_dir / 'inbox'}")
    return key


def _wait_for_run(console: Console, deployment: Deployment, key: str) -> str:
    """Wait until the sensor has launched a run for the file; return the TaskId."""
    console.print("waiting for the sensor to find it …")
    deadline = time.monotonic() + PICKUP_TIMEOUT_S
    while time.monotonic() < deadline:
        runs = deployment.dagster.runs({"tags": {tags.KEY: key}}, limit=1)
        if runs:
            console.print(f"the sensor launched run {runs[0].run_id}")
            return task_id(runs[0].run_id)
        time.sleep(0.5)
    raise NothingHappened(
        f"no run came for {key} within {PICKUP_TIMEOUT_S} s", hint=f"see {deployment.settings.home}/logs"
    )


def _notification(settings: Settings, run: TaskRun) -> dict[str, Any]:
    """Receive the event of this run from the queue, as a consumer would; other messages stay in it."""
    queue = LocalQueue.of(settings)
    deadline = time.monotonic() + NOTIFICATION_TIMEOUT_S
    while time.monotonic() < deadline:
        for message in queue.receive(QUEUE, visibility_s=5, wait_s=1):
            body: dict[str, Any] = json.loads(message.body)
            if body["WorkflowTaskEvent"]["TaskId"] == run.task_id:
                queue.acknowledge(QUEUE, message.receipt)
                return body
    raise NothingHappened(f"no notification of {run.task_id} came within {NOTIFICATION_TIMEOUT_S} s")


def _report(console: Console, settings: Settings, run: TaskRun, body: dict[str, Any]) -> None:
    event = body["WorkflowTaskEvent"]
    results = [
        next(value["Status"] for value in result.values() if isinstance(value, dict))
        for result in event["MediaProcessResultSet"]
    ]
    console.print(
        f"\nnotification from queue [bold]{QUEUE}[/]: {body['EventType']} {event['TaskId']} {event['Status']}, "
        f"{results.count('SUCCESS')} of {len(results)} outputs succeeded"
    )
    for address in json.loads(body["ExtInfo"])["Manifests"]:
        console.print(f"manifest  {settings.buckets_dir / address}", soft_wrap=True)
    console.print(f"outputs   {settings.buckets_dir / 'outputs'}", soft_wrap=True)
    console.print(
        "\nto play them:  [bold]make up[/]  and open the link to the pages that it prints"
        f"\nthe run in Dagster:  {settings.ui_url}/runs/{run.run_id}",
        soft_wrap=True,
    )
