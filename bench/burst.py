"""Clips that are uploaded at once, against a hand-written script run over the same clips, on this machine.

    python bench/burst.py [--clips 20] [--seconds 5] [--rounds 3]

The demo workflow in a complete deployment (`mps up`), and bench/baseline.sh with as many scripts at once as there are cores,
each with one command at a time. The two alternate. Prints the ratio of the medians, the CPU-seconds by kind of process, and
how long uploads waited: from closed to their first ffmpeg, and to the end of their run. Linux only: reads /proc.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watch import PROJECT, Watch, adopt_orphans, by_kind, deployment, prepare

from mps_dagster.cli.demo_source import make_demo_source
from mps_dagster.ffmpeg.process import Limits, run
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import Settings

LIMITS = Limits(wall_s=3600, stall_s=3600, memory_bytes=64 * 2**30)
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Burst:
    """One burst through the deployment."""

    wall_s: float
    waits_s: list[float]
    """From the upload to its first ffmpeg."""
    ends_s: list[float]
    """From the upload to the end of its run."""
    used: Counter[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=5, help="length of a clip (640x360)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        tool = Ffmpeg.of(Settings())
        clip = root / "clip.mp4"
        make_demo_source(tool, clip, seconds=options.seconds, width=640, height=360)
        print(
            f"{options.clips} clips of {options.seconds} s, 640x360; {CORES} cores; ffmpeg {tool.version}", flush=True
        )
        scripts, bursts = [], []
        for number in range(options.rounds):
            clips = _copies(clip, root / f"clips{number}", options.clips)
            scripts.append(_script(tool, clips, root / f"script{number}", options.seconds))
            bursts.append(_burst(root / f"burst{number}", clip, clips))
            _print_round(number, scripts[-1], bursts[-1])
        _report(scripts, bursts)


def _copies(clip: Path, folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"clip{number:03d}.mp4" for number in range(count)]
    for path in paths:
        shutil.copyfile(clip, path)
        # Other content for each, at the end, where no player looks.
        with path.open("ab") as file:
            file.write(b"\0\0\0\x18free" + os.urandom(16))
    return paths


def _script(tool: Ffmpeg, clips: list[Path], folder: Path, seconds: int) -> float:
    """Wall seconds of the script over all clips."""
    environment = {
        **os.environ, "FFMPEG": str(tool.path), "LOGO": str(PROJECT / "templates/logo.png"),
        "SECONDS_LONG": str(seconds), "JOBS": "1",
    }  # fmt: skip

    def one(clip: Path) -> None:
        place = folder / clip.stem
        place.mkdir(parents=True)
        command = ["bash", str(PROJECT / "bench" / "baseline.sh")]
        run(command, cwd=place, limits=LIMITS, environment={**environment, "SOURCE": str(clip)}).check()

    started = time.monotonic()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, clips))
    return time.monotonic() - started


def _burst(home: Path, clip: Path, clips: list[Path]) -> Burst:
    home.mkdir()
    with _environment():
        prepare(home, {"demo": (PROJECT / "workflows" / "demo.yaml").read_text()})
        with deployment(), Watch() as watch:
            return _measure(Settings(), watch, clip, clips)


@contextmanager
def _environment() -> Iterator[None]:
    saved = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _measure(settings: Settings, watch: Watch, clip: Path, clips: list[Path]) -> Burst:
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        # A first run, to warm up.
        _finished(instance, _drop(settings, [clip]))
        before, dropped = watch.used(), _drop(settings, clips)
        records = _finished(instance, dropped)
        used = watch.used() - before
        used["ffmpeg"] = _ffmpeg_s(instance, records)
        used["between samples"] = max(0.0, watch.total_of(used) - sum(used.values()))
    ends = {key: record.end_time for key, record in records.items()}
    starts = {key: watch.first_ffmpeg.get(record.dagster_run.run_id) for key, record in records.items()}
    return Burst(
        wall_s=max(ends.values()) - min(dropped.values()),
        waits_s=[start - dropped[key] for key, start in starts.items() if start],
        ends_s=[end - dropped[key] for key, end in ends.items()],
        used=used,
    )


def _drop(settings: Settings, clips: list[Path]) -> dict[str, float]:
    """Upload all; returns when each was there, by its key."""
    inbox = settings.buckets_dir / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    drafts = settings.home / "drafts"
    drafts.mkdir(exist_ok=True)
    for clip in clips:
        shutil.copyfile(clip, drafts / clip.name)
    dropped = {}
    for clip in clips:
        (drafts / clip.name).rename(inbox / clip.name)
        dropped[clip.name] = time.time()
    return dropped


def _finished(instance: Any, dropped: dict[str, float]) -> dict[str, Any]:
    """Wait for the runs of all uploads; their records by key."""
    while True:
        records = {record.dagster_run.tags.get("mps/key"): record for record in instance.get_run_records()}
        if all(key in records and records[key].dagster_run.is_finished for key in dropped):
            break
        # Each look takes some milliseconds of the same cores.
        time.sleep(1)
    failed = [key for key in dropped if not records[key].dagster_run.is_success]
    if failed:
        raise SystemExit(f"runs failed: {failed}")
    return {key: records[key] for key in dropped}


def _ffmpeg_s(instance: Any, records: dict[str, Any]) -> float:
    from mps_dagster.control.task_run import task_run
    from mps_dagster.orchestration.runs import run_record

    runs = [task_run(run_record(instance, record.dagster_run, None)) for record in records.values()]
    return sum(subtask.result.cpu_s for run in runs for subtask in run.subtasks if subtask.result)


def _print_round(number: int, script_s: float, burst: Burst) -> None:
    print(
        f"round {number + 1}: script {script_s:.1f} s, workflow {burst.wall_s:.1f} s, ratio {burst.wall_s / script_s:.2f};"
        f" CPU-seconds: {by_kind(burst.used)}",
        flush=True,
    )


def _report(scripts: list[float], bursts: list[Burst]) -> None:
    script, workflow = statistics.median(scripts), statistics.median(burst.wall_s for burst in bursts)
    print(f"\nscript    median {script:.1f} s")
    print(f"workflow  median {workflow:.1f} s, ratio {workflow / script:.2f}")
    for name, seconds in (
        ("upload closed to first ffmpeg", [wait for burst in bursts for wait in burst.waits_s]),
        ("upload closed to end of its run", [end for burst in bursts for end in burst.ends_s]),
    ):
        print(
            f"{name}: p50 {_percentile(seconds, 50):.1f} s, p95 {_percentile(seconds, 95):.1f} s ({len(seconds)} uploads)"
        )
    uploads = len(bursts[0].ends_s)
    print(f"\n{'CPU-seconds per upload':<24}{'median':>8}")
    for kind in sorted({kind for burst in bursts for kind in burst.used}):
        print(f"{kind:<24}{statistics.median(burst.used[kind] for burst in bursts) / uploads:>8.2f}")


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


if __name__ == "__main__":
    sys.exit(main())
