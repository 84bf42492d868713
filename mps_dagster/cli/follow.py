"""Follows a task run until it ends: with bars in a terminal, and with lines in a pipe or a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mps_dagster.cli.show import COLORS, whole_lines
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.control.tasks import describe
from mps_dagster.execution.pace import clock_time, left, percent, times, whole_percent

EVERY_S = 1.0
"""Processes report two to four times as often; each look costs the webserver some CPU (docs/performance.md)."""
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, as shells give it."""
TOTAL, WAITING = "total", "waiting"


def follow_or_leave(deployment: Deployment, task_id: str) -> TaskRun:
    """`follow`; Ctrl-C ends the following, and not the task."""
    try:
        return follow(deployment, task_id)
    except KeyboardInterrupt:
        click.echo(f"the task goes on; mps status {task_id} --follow shows it again", err=True)
        raise SystemExit(INTERRUPTED) from None


def follow(deployment: Deployment, task_id: str) -> TaskRun:
    """Show how a task run gets on until it ends."""
    with ExitStack() as stack:
        console = whole_lines()
        view: View = Bars(stack.enter_context(bars(console))) if console.is_terminal else Lines(console)
        while True:
            run = describe(deployment, task_id)
            view.show(run)
            if run.state == "FINISH":
                return run
            time.sleep(EVERY_S)


class View(Protocol):
    def show(self, run: TaskRun) -> None: ...


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of a subtask, of a part, or of all."""

    name: str
    fraction: float
    pace: str
    """Speed and time left, or how long it took."""
    status: str
    """Empty while it runs."""


def rows(run: TaskRun) -> Iterator[Row]:
    yield Row(TOTAL, run.progress, left(run.left_s), WAITING if run.state == "WAITING" else "")
    for whole in run.subtasks:
        yield from map(_row, (*whole.parts, whole))


def _row(subtask: SubtaskState) -> Row:
    name, done = f"{subtask.task}/{subtask.label}", subtask.progress
    if subtask.status == "PROCESSING":
        pace = "  ".join(word for word in (times(subtask.speed), left(subtask.left_s)) if word)
        # Its files may be in the making by another subtask's process.
        return Row(name, done, pace, "" if subtask.started_s is not None or done else WAITING)
    started_s, ended_s = subtask.started_s, subtask.ended_s
    took = clock_time(ended_s - started_s) if started_s is not None and ended_s is not None else ""
    return Row(name, done, took, subtask.status)


def bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        # Half of rich's default, to leave room for names in 80 columns.
        BarColumn(bar_width=20),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in ("percent", "pace", "status")),
        console=console,
    )


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar each; new ones appear as tasks are broken down."""

    progress: Progress
    _known: dict[str, TaskID] = field(default_factory=dict)

    def show(self, run: TaskRun) -> None:
        for row in rows(run):
            if row.name not in self._known:
                # With all fields: rich may draw it at once.
                self._known[row.name] = self.progress.add_task(
                    escape(row.name), total=1.0, percent="", pace="", status=""
                )
            status = f"[{COLORS.get(row.status, 'yellow')}]{row.status}[/]"
            self.progress.update(
                self._known[row.name],
                completed=row.fraction,
                percent=percent(row.fraction),
                pace=row.pace,
                status=status,
            )


@dataclass(frozen=True, slots=True)
class Lines:
    """A line whenever one begins, has done another tenth, or has ended."""

    console: Console
    _said: dict[str, tuple[str, int]] = field(default_factory=dict)

    def show(self, run: TaskRun) -> None:
        for row in rows(run):
            state = (row.status, whole_percent(row.fraction) // 10)
            if row.status == WAITING or self._said.get(row.name) == state:
                continue
            self._said[row.name] = state
            words = (row.name, percent(row.fraction), row.pace, row.status)
            self.console.print("  ".join(word for word in words if word), markup=False, highlight=False)
