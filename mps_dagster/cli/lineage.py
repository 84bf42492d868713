"""`mps lineage`"""

from __future__ import annotations

import json

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mps_dagster.api.processing import Processing, split_address
from mps_dagster.errors import InvalidInput
from mps_dagster.execution.lineage import record_of, results_of, state_of
from mps_dagster.execution.records import Record
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.execution.task_run import task_id
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.model import Workflow


@click.command()
@click.argument("address", metavar="BUCKET/KEY")
@click.option("--in", "places", multiple=True, metavar="BUCKET", help="Look for outputs in this bucket, too.")
def lineage(address: str, places: tuple[str, ...]) -> None:
    """Show what an output was made of and how, or all that was made of a source."""
    settings = Settings()
    processing = Processing.of(settings)
    bucket, key = split_address(address)
    record = record_of(processing.buckets.get(bucket), key)
    console = Console(soft_wrap=True)
    if record is not None:
        _show_output(console, record, address, processing.buckets, settings)
        return
    known = {place for workflow in processing.workflows for place in _places(workflow)}
    tasks = [(workflow.name, task) for workflow in processing.workflows for task in workflow.tasks]
    tasks += [("process_media", task) for task in TASKS]
    results = list(results_of(key, tasks, sorted({bucket, *known, *places}), processing.buckets))
    if not results:
        raise InvalidInput(f"nothing is known to have been made of {address}", hint="mps backfill plan, or --in BUCKET")
    _show_source(console, results, address, processing.buckets)


def _places(workflow: Workflow) -> set[str]:
    """The buckets of a workflow's outputs."""
    return {
        spec.output_bucket or task.output.bucket or workflow.trigger.bucket
        for task in workflow.tasks.values()
        for spec in task.specs
    }


def _show_output(console: Console, record: Record, address: str, buckets: Buckets, settings: Settings) -> None:
    source = f"{record.source_bucket}/{record.source_key}"
    console.print(f"[bold]{escape(address)}[/] was made of [bold]{escape(source)}[/]")
    result = record.result
    if result is None:
        console.print("by a run that has not ended, or was killed while it published")
        return
    state = state_of(buckets.get(record.source_bucket), record.source_key, record.source_etag)
    facts = {
        "source": f"{source}, etag {record.source_etag}: {state}",
        "task": f"{result.task} ({result.type}), output {result.label}",
        "revision": result.revision,
        "run": f"{task_id(result.run_id)}  {settings.ui_url}/runs/{result.run_id}",
        "ffmpeg": result.ffmpeg_version,
        "spec": json.dumps({name: value for name, value in result.spec.items() if value not in (None, "", [], {})}),
    }
    for name, value in facts.items():
        console.print(f"  {name:9} {escape(value)}")
    for command in result.commands:
        console.print(f"  command   {escape(command)}")


def _show_source(console: Console, results: list[TaskResult], address: str, buckets: Buckets) -> None:
    source = next((result.source for result in results if not result.source.upload_key), results[0].source)
    state = state_of(buckets.get(source.bucket), source.key, source.etag)
    console.print(f"[bold]{escape(address)}[/], etag {escape(source.etag)}: {state}")
    table = Table(
        "workflow", "task", "output", Column("path", overflow="fold"), "state", "revision", box=box.SIMPLE_HEAD
    )
    for result in results:
        for member in result.results:
            for output in member.main:
                now = state_of(buckets.get(member.bucket), output.key, output.etag)
                row = (
                    result.workflow,
                    result.task,
                    member.label,
                    f"{member.bucket}/{output.key}",
                    now,
                    member.revision,
                )
                table.add_row(*(escape(cell) for cell in row))
    console.print(table)
