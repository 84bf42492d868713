"""The demo workflow compared with good shell scripts for the same outputs, on this machine.

    python bench/workflow.py [--seconds 30] [--rounds 3]
    taskset -c 0 python bench/workflow.py               # on one core
    MPS_SHARE_DECODING=false python bench/workflow.py   # one ffmpeg for each output

baseline.sh has a process for each output; in baseline_shared.sh, one process makes all full-length outputs. Prints the ratios of
the medians, the orchestration's CPU seconds per subtask, and where the time goes. The three alternate, so that a change of the
machine's speed affects all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from mps_dagster.cli.demo_source import make_demo_source
from mps_dagster.ffmpeg.process import Limits, run
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import Settings

HERE = Path(__file__).parent
PROJECT = HERE.parent
SCRIPTS = ("baseline.sh", "baseline_shared.sh")
LIMITS = Limits(wall_s=3600, stall_s=3600, memory_bytes=64 * 2**30)


def main() -> None:
    options = read_options(__doc__)
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        root, tool = Path(folder), Ffmpeg.of(Settings())
        source = make_source(tool, root, options.seconds)
        scripts: dict[str, list[float]] = {name: [] for name in SCRIPTS}
        workflow = []
        for number in range(options.rounds):
            for name, times in scripts.items():
                times.append(shell(name, tool, source, root / f"{name}{number}", options.seconds))
            workflow.append(dagster(source, root / f"dagster{number}", PROJECT, "demo"))
            walls = ", ".join(f"{name} {times[-1]:.1f} s" for name, times in scripts.items())
            print(f"round {number + 1}: {walls}, workflow {workflow[-1]['wall_s']:.1f} s", flush=True)
        report(scripts, workflow)


def read_options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="length of the 1080p source")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def make_source(tool: Ffmpeg, root: Path, seconds: int) -> Path:
    """The source, and a line of what is compared where."""
    source = root / "source.mp4"
    make_demo_source(tool, source, seconds=seconds, width=1920, height=1080)
    print(f"source: 1920x1080, {seconds} s; {len(os.sched_getaffinity(0))} cores; ffmpeg {tool.version}")
    return source


def shell(name: str, tool: Ffmpeg, source: Path, folder: Path, seconds: int) -> float:
    """Wall seconds of a script."""
    folder.mkdir()
    started = time.monotonic()
    environment = {
        **os.environ,
        "FFMPEG": str(tool.path),
        "SOURCE": str(source),
        "LOGO": str(PROJECT / "templates/logo.png"),
        "SECONDS_LONG": str(seconds),
    }
    run(["bash", str(HERE / name)], cwd=folder, limits=LIMITS, environment=environment).check()
    return time.monotonic() - started


def dagster(source: Path, home: Path, project: Path, workflow: str) -> dict[str, float]:
    """One run of a workflow in a separate process, so that all its CPU time is measured."""
    inbox = home / "buckets" / "inbox"
    inbox.mkdir(parents=True)
    shutil.copyfile(source, inbox / "source.mp4")
    (home / "dagster").mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster" / "dagster.yaml")
    environment = {
        **os.environ, "MPS_HOME": str(home), "MPS_PROJECT": str(project), "DAGSTER_HOME": str(home / "dagster"),
        "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    process = run(
        [sys.executable, str(HERE / "one_run.py"), workflow], cwd=PROJECT, limits=LIMITS, environment=environment
    ).check()
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures


def report(scripts: dict[str, list[float]], workflow: list[dict[str, float]]) -> None:
    def median(name: str) -> float:
        return statistics.median(figures[name] for figures in workflow)

    orchestration = median("cpu_s") - median("ffmpeg_cpu_s")
    print(f"\nworkflow median {median('wall_s'):.1f} s")
    for name, times in scripts.items():
        script = statistics.median(times)
        print(f"{name} median {script:.1f} s, workflow / script {median('wall_s') / script:.2f}")
    print(f"steps {median('steps'):.0f}, subtasks {median('subtasks'):.0f}")
    print(f"CPU: ffmpeg {median('ffmpeg_cpu_s'):.1f} s, orchestration {orchestration:.1f} s")
    print(f"orchestration CPU per subtask {orchestration / median('subtasks'):.2f} s")
    print(f"wall: before the first step {median('start_s'):.1f} s, ffmpeg on one core {median('ffmpeg_wall_s'):.1f} s")
    print(f"peak memory of this bench's children {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
