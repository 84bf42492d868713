"""How task runs look in a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from mps_dagster.execution.subtask import OutputObject
from mps_dagster.execution.task_run import SubtaskState, TaskRun

COLORS = {"SUCCESS": "green", "FAIL": "red", "PROCESSING": "yellow"}


def progress_bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[status]}"),
    )


def show_progress(bars: Progress, run: TaskRun) -> None:
    """A bar per subtask; new ones appear as tasks are broken down."""
    known = {str(task.description): task.id for task in bars.tasks}
    for subtask in run.subtasks:
        name = escape(f"{subtask.task}/{subtask.label}")
        if name not in known:
            known[name] = bars.add_task(name, total=1.0, status="", start=False)
        bar = known[name]
        if subtask.started_s is not None:
            bars.start_task(bar)
        status = subtask.status if subtask.status != "PROCESSING" else "" if subtask.started_s else "waiting"
        color = COLORS.get(subtask.status, "white")
        bars.update(bar, completed=subtask.progress, status=f"[{color}]{status}[/]")
        if subtask.status != "PROCESSING":
            bars.stop_task(bar)


def summary(run: TaskRun) -> str:
    seconds = f" in {run.ended_s - run.started_s:.1f} s" if run.ended_s and run.started_s else ""
    source = escape(f"{run.workflow}  {run.bucket}/{run.key}")
    problem = f"\n[red]{escape(run.code)}: {escape(run.message)}[/]" if run.code else ""
    return f"[bold]{run.task_id}[/]  {run.state} ({run.outcome}){seconds}  {source}{problem}"


def outputs_table(run: TaskRun) -> Table:
    """One row per output file; a long series is its first, its last and how many."""
    table = Table(
        "task", "output", Column("path", overflow="fold"), Column("size", justify="right"), "width × height", "seconds"
    )
    for subtask in run.subtasks:
        if subtask.result is None:
            color = COLORS[subtask.status]
            reason = f"{subtask.status} {subtask.code} {subtask.message}".strip()
            table.add_row(escape(subtask.task), escape(subtask.label), f"[{color}]{escape(reason)}[/]", "", "", "")
            continue
        for output in _shown(subtask):
            table.add_row(escape(subtask.task), escape(subtask.label), *_cells(subtask.result.bucket, output))
    return table


def _shown(subtask: SubtaskState) -> list[OutputObject]:
    if subtask.result is None:
        return []
    outputs = list(subtask.result.outputs)
    return outputs if len(outputs) <= 4 else [*outputs[:2], *outputs[-2:]]


def _cells(bucket: str, output: OutputObject) -> tuple[str, str, str, str]:
    size = f"{output.width} × {output.height}" if output.width else ""
    seconds = f"{output.media.duration_s:.2f}" if output.media else ""
    return escape(f"{bucket}/{output.key}"), f"{output.size_bytes:,}", size, seconds
