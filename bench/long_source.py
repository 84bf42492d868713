"""Stills and sprites of a long source against the same of a short one: they should cost seconds by pictures, not by length.

    python bench/long_source.py [--hours 2] [--short-s 120] [--rounds 3] [--gop-s 2]

The source is one encoded minute (640x360, 25 frames per second), repeated without encoding. Each subtask runs as in a run:
stage, ffmpeg, verify, publish, without Dagster. Fetching and probing the source reads all of it, and is shown separately.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.model import Source
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates

PLACE = {"bucket": "outputs", "dir": "/{inputName}/"}
OUTPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "10 stills at chosen times": (
        "snapshot_by_time_offset", {"name": "at", "ext_time_offset_set": [f"{percent}%" for percent in range(5, 100, 10)]}
    ),
    "10 stills, one every 10 %": ("sample_snapshot", {"name": "samples", "sample_type": "Percent", "sample_interval": 10}),
    "sprite, one sheet of 100, one every 1 %": (
        "image_sprite", {"name": "sheet", "sample_type": "Percent", "sample_interval": 1, "row_count": 10, "column_count": 10}
    ),
    "sprite, one every 10 s": ("image_sprite", {"name": "each10", "sample_type": "Time", "sample_interval": 10}),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--short-s", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gop-s", type=int, default=2)
    options = parser.parse_args()
    lengths = {"short": options.short_s, "long": round(options.hours * 3600)}
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        settings = Settings(project=Path(folder) / "project", home=Path(folder) / "home", settle_s=0)
        worker = Worker.of(settings, Buckets(settings))
        minute = _minute(worker, Path(folder), options.gop_s)
        sources = {}
        for name, seconds in lengths.items():
            path = _repeated(worker, minute, Path(folder) / f"{name}.mp4", seconds)
            worker.buckets.get("inbox").publish(path, path.name)
            started = time.monotonic()
            sources[name] = worker.fetch_source("inbox", path.name, None, "bench")
            print(
                f"{name}: {seconds} s, {path.stat().st_size / 1e6:.0f} MB; fetch and probe {time.monotonic() - started:.1f} s"
            )
        _print(worker, sources, options.rounds)


def _minute(worker: Worker, folder: Path, gop_s: int) -> Path:
    path = folder / "minute.mp4"
    _ffmpeg(
        worker, "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=60", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "30",
        "-g", str(25 * gop_s), "-sc_threshold", "0", "-pix_fmt", "yuv420p", str(path),
    )  # fmt: skip
    return path


def _repeated(worker: Worker, minute: Path, path: Path, seconds: int) -> Path:
    _ffmpeg(worker, "-stream_loop", "-1", "-i", str(minute), "-t", str(seconds), "-c", "copy", str(path))
    return path


def _ffmpeg(worker: Worker, *args: str) -> None:
    subprocess.run([str(worker.ffmpeg.path), "-v", "error", "-nostdin", "-y", *args], check=True)


def _print(worker: Worker, sources: dict[str, Source], rounds: int) -> None:
    print(f"\n{'medians of ' + str(rounds):<42}{'pictures':>9}{'short s':>9}{'long s':>9}{'ms per picture':>22}")
    for what, (kind, output) in OUTPUTS.items():
        seconds, pictures = {}, {}
        for name, source in sources.items():
            figures = list(_performed(worker, source, kind, output, rounds))
            seconds[name] = statistics.median(wall_s for wall_s, _ in figures)
            pictures[name] = figures[0][1]
        each = [f"{1000 * seconds[name] / pictures[name]:.0f}" for name in sources]
        count = "/".join(dict.fromkeys(str(number) for number in pictures.values()))
        print(f"{what:<42}{count:>9}{seconds['short']:>9.2f}{seconds['long']:>9.2f}{' / '.join(each):>22}", flush=True)


def _performed(
    worker: Worker, source: Source, kind: str, output: dict[str, Any], rounds: int
) -> Iterator[tuple[float, int]]:
    for _ in range(rounds):
        # Under another name each time, so that nothing is up to date.
        document = {"type": kind, "outputs": [{**output, "name": f"o{os.urandom(4).hex()}"}]}
        task = parse_task("task", document, PLACE, Templates.load(worker.settings.templates_dir), where="bench")
        [subtask] = break_down(task, source, worker)
        started = time.monotonic()
        result = worker.perform(subtask, "bench", lambda *_: None)
        yield time.monotonic() - started, int(result.facts.get("total_count", len(result.main)))


if __name__ == "__main__":
    sys.exit(main())
