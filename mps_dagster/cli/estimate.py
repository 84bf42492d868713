"""`mps process --estimate`: what outputs will cost. Nothing is uploaded or launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Column, Table

from mps_dagster.cli.show import whole_lines
from mps_dagster.cli.usage import open_usage
from mps_dagster.control.deployment import Deployment
from mps_dagster.execution.staging import check_room
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.media.info import MediaInfo
from mps_dagster.storage.disk import size
from mps_dagster.storage.keys import split_address
from mps_dagster.workflow.model import Task

if TYPE_CHECKING:
    from mps_dagster.usage.estimate import Estimate, Figure


def show_estimates(deployment: Deployment, source: str, tasks: Sequence[Task]) -> None:
    from mps_dagster.usage.estimate import HISTORY_DAYS, estimates
    from mps_dagster.usage.runs import Days

    media = _probed(deployment, source)
    today = datetime.now(UTC).date()
    with open_usage(deployment) as usage:
        table = usage.table(Days(today - timedelta(days=HISTORY_DAYS), today))
    _show(estimates(table, tasks, media), HISTORY_DAYS)


def _probed(deployment: Deployment, source: str) -> MediaInfo:
    """The facts on a local file, or on an object, which is copied for it."""
    ffmpeg, path = Ffmpeg.of(deployment.settings), Path(source)
    if path.is_file():
        return ffmpeg.probe(path.resolve())
    name, key = split_address(source)
    bucket, scratch = deployment.buckets.get(name), deployment.settings.scratch_dir
    check_room(scratch, bucket.head(key), max_bytes=deployment.settings.max_source_bytes)
    with TemporaryDirectory(dir=scratch, prefix="probe-") as folder:
        copy = Path(folder) / "source"
        bucket.fetch(key, copy)
        return ffmpeg.probe(copy)


def _show(found: Sequence[Estimate], days: int) -> None:
    right = [Column(name, justify="right") for name in ("CPU minutes", "error", "size", "error", "made alike")]
    table = Table(Column("output", overflow="fold"), *right, box=box.SIMPLE_HEAD)
    known = [(one.cpu_s, one.size_bytes) for one in found if one.cpu_s and one.size_bytes]
    for one in found:
        costs = [
            cell for figure, text in ((one.cpu_s, _minutes), (one.size_bytes, size)) for cell in _cells(figure, text)
        ]
        table.add_row(
            escape(f"{one.task}/{one.output}"), *costs, str(one.samples) if one.samples else f"none in {days} days"
        )
    if known:
        cpu_s, sizes = zip(*known, strict=True)
        left_out = f"without {len(found) - len(known)}" if len(known) < len(found) else ""
        table.add_section()
        table.add_row("in total", _range(cpu_s, _minutes), "", _range(sizes, size), "", left_out)
    console = whole_lines()
    console.print(table)
    if any(figure.beyond for figures in known for figure in figures):
        console.print("*: the source is larger or smaller than all of theirs, so the error may be larger, too")


def _cells(figure: Figure | None, text: Callable[[float], str]) -> tuple[str, str]:
    """The estimate, and its error."""
    if figure is None:
        return "?", ""
    error = "not known" if figure.error is None else f"± {figure.error:.0%}"
    return _range([figure], text), f"{error}{'*' if figure.beyond else ''}"


def _range(figures: Sequence[Figure], text: Callable[[float], str]) -> str:
    """The sum, and between which sums four of five earlier ones were."""
    value, low, high = (sum(numbers) for numbers in zip(*((f.value, f.low, f.high) for f in figures), strict=True))
    return f"{text(value)} ({text(low)} – {text(high)})"


def _minutes(cpu_s: float) -> str:
    minutes = cpu_s / 60
    return f"{minutes:.2g}" if minutes < 10 else f"{minutes:,.0f}"
