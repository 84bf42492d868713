"""`mps lineage`"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mps_dagster.cli.show import whole_lines
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.task_run import task_id
from mps_dagster.errors import InvalidInput, MpsError
from mps_dagster.execution.lineage import results_of, state_of, way_up
from mps_dagster.execution.records import Record
from mps_dagster.execution.segments import segments_unchanged
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.keys import split_address
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.workflow.model import Workflow


@click.command()
@click.argument("address", metavar="BUCKET/KEY")
@click.option("--in", "places", multiple=True, metavar="BUCKET", help="Look for outputs in this bucket, too.")
def lineage(address: str, places: tuple[str, ...]) -> None:
    """Show what an output was made of and how, or all that was made of a source."""
    settings = Settings()
    deployment = Deployment.of(settings)
    bucket, key = split_address(address)
    console = whole_lines()
    if _show_output(console, bucket, key, deployment.buckets, settings):
        return
    results = []
    for place in sorted({bucket, *places, *_known_buckets(deployment.project.workflows, settings)}):
        try:
            results += results_of(bucket, key, deployment.buckets.get(place))
        except MpsError as error:
            click.echo(f"{place} is left out: {error}", err=True)
    if not results:
        raise InvalidInput(f"no outputs of {address} are known", hint="mps backfill plan, or --in BUCKET")
    _show_source(console, results, bucket, key, deployment.buckets)


def _known_buckets(workflows: tuple[Workflow, ...], settings: Settings) -> Iterator[str]:
    """The buckets of the workflows' outputs, and all local buckets."""
    for workflow in workflows:
        yield from workflow.written_buckets
    with suppress(FileNotFoundError):
        yield from (folder.name for folder in settings.buckets_dir.iterdir() if folder.is_dir())


def _show_output(console: Console, bucket: str, key: str, buckets: Buckets, settings: Settings) -> bool:
    """Print each step from the output up to the upload; return whether there is any."""
    shown = False
    for place, name, record in way_up(bucket, key, buckets):
        shown = True
        source = f"{record.source_bucket}/{record.source_key}"
        console.print(f"[bold]{escape(f'{place}/{name}')}[/] was made of [bold]{escape(source)}[/]")
        if record.result is None:
            console.print("by a run that has not ended, or was killed while it published")
            continue
        for fact, value in _facts(place, name, record, record.result, buckets, settings):
            console.print(f"  {fact:9} {escape(value)}")
    return shown


def _facts(
    place: str, key: str, record: Record, result: SubtaskResult, buckets: Buckets, settings: Settings
) -> Iterator[tuple[str, str]]:
    output = next((output for output in result.outputs if output.key == key), None)
    if output:
        yield "output", f"etag {output.etag}: {state_of(buckets.get(place), key, output.etag)}"
    for segments in result.segment_sets:
        unchanged = segments_unchanged(segments, buckets.get(place))
        yield "segments", f"{segments.count}: {'unchanged' if unchanged else 'some replaced or gone'}"
    if result.verdict:
        yield "verdict", result.verdict.summary
    state = state_of(buckets.get(record.source_bucket), record.source_key, record.source_etag)
    yield "source", f"{record.source_bucket}/{record.source_key}, etag {record.source_etag}: {state}"
    yield "task", f"{result.task} ({result.type}), output {result.label}"
    yield "revision", result.revision
    yield "run", f"{task_id(result.run_id)}  {settings.ui_url}/runs/{result.run_id}"
    yield "ffmpeg", result.ffmpeg_version
    if result.figures:
        yield "measured", ", ".join(f"{name} {value:g}" for name, value in result.figures.items())
    yield "spec", json.dumps({name: value for name, value in result.spec.items() if value not in (None, "", [], {})})
    yield from (("command", command) for one in (*result.parts, result) for command in one.commands)


def _show_source(console: Console, results: list[TaskResult], bucket: str, key: str, buckets: Buckets) -> None:
    etag = next((result.source.etag for result in results if not result.source.upload_key), "")
    state = state_of(buckets.get(bucket), key, etag)
    # The etag is unknown if there are only results of serial tasks.
    status = f", etag {etag}: {state}" if etag else ": gone" if state == "gone" else ""
    console.print(f"[bold]{escape(f'{bucket}/{key}')}[/]{escape(status)}")
    table = Table("workflow", "task", "output", "path", "state", "revision", box=box.SIMPLE_HEAD)
    table.columns[3].overflow = "fold"
    for result, member, output in _newest(results):
        now = state_of(buckets.get(member.bucket), output.key, output.etag)
        row = (result.workflow, result.task, member.label, f"{member.bucket}/{output.key}", now, member.revision)
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def _newest(results: list[TaskResult]) -> Iterator[tuple[TaskResult, SubtaskResult, OutputObject]]:
    """The newest result of each output."""
    seen = set()
    for result in results:
        for member in result.results:
            for output in member.main:
                if (member.bucket, output.key) not in seen:
                    seen.add((member.bucket, output.key))
                    yield result, member, output
