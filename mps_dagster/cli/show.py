"""Shows task runs in a terminal."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.text import Text

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.tasks.result import OutputObject

WIDE = 4000
"""Columns of a pipe or a file, where a folded path could not be searched for."""
COLORS = {"SUCCESS": "green", "FAIL": "red", "PROCESSING": "yellow"}


def whole_lines() -> Console:
    """A console that breaks lines only in a terminal."""
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    return console


def summary(run: TaskRun) -> str:
    seconds = f" in {run.ended_s - run.started_s:.1f} s" if run.ended_s and run.started_s else ""
    source = escape(f"{run.workflow}  {run.bucket}/{run.key}")
    problem = f"\n[red]{escape(run.code)}: {escape(run.message)}[/]" if run.code else ""
    hint = f"\nhint: {escape(run.hint)}" if run.hint else ""
    attempts = f", attempt {run.attempts}" if run.attempts > 1 else ""
    return f"[bold]{run.task_id}[/]  {run.state} ({run.outcome}{attempts}){seconds}  {source}{problem}{hint}"


def outputs_table(run: TaskRun) -> Group:
    """The outputs of each subtask below its name, with long series shortened; the common prefix of all paths is the title.

    No table, as it would cut long names.
    """
    every = [row for subtask in run.subtasks for row in _rows(subtask)]
    prefix = posixpath.dirname(posixpath.commonprefix([path for path, _ in every]))
    widths = [max(map(len, column)) for column in zip(*(facts for _, facts in every), strict=True)]
    lines: list[RenderableType] = [Text(f"{prefix}/", style="italic")] if prefix else []
    for subtask in run.subtasks:
        lines.append(Text(f"{subtask.task}/{subtask.label}" if subtask.label else subtask.task, style="bold"))
        if subtask.result is None:
            reason = f"{subtask.status} {subtask.code} {subtask.message}".strip()
            lines.append(Text(f"  {reason}", style=COLORS[subtask.status]))
            lines += [Text(f"  hint: {subtask.hint}")] if subtask.hint else []
        if subtask.result and subtask.result.verdict:
            lines.append(Text(f"  {subtask.result.verdict.summary}"))
        rows = [
            _Row("  ".join(map(str.rjust, facts, widths)), path.removeprefix(f"{prefix}/"))
            for path, facts in _rows(subtask)
        ]
        lines += rows if len(rows) <= 5 else [*rows[:2], Text(f"  … {len(rows) - 4} more"), *rows[-2:]]
    return Group(*lines)


@dataclass(frozen=True, slots=True)
class _Row:
    """A path after its facts, or below them if the line is too short for both."""

    facts: str
    path: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = f"  {self.facts}  {self.path}"
        if cell_len(line) <= options.max_width:
            yield Text(line)
        else:
            yield Text(f"  {self.facts}".rstrip())
            yield Text(f"    {self.path}")


def _rows(subtask: SubtaskState) -> list[tuple[str, tuple[str, str, str]]]:
    """Path and facts of a subtask's outputs."""
    result = subtask.result
    if result is None:
        return []
    rows = [(f"{result.bucket}/{output.key}", _facts(output)) for output in result.outputs]
    for segments in result.segment_sets:
        path = f"{result.bucket}/{segments.names.key_pattern}"
        rows.append((f"{path}  × {segments.count}", (f"{segments.size_bytes:,}", "", "")))
    return rows


def _facts(output: OutputObject) -> tuple[str, str, str]:
    size = f"{output.width} × {output.height}" if output.width else ""
    seconds = f"{output.media.duration_s:.2f} s" if output.media else ""
    return f"{output.size_bytes:,}", size, seconds
