"""The demo workflow compared with a good shell script for the same outputs, on this machine.

    python bench/workflow.py [--seconds 30] [--rounds 3]

Prints the ratio of the medians, the orchestration's CPU seconds per subtask, and where the time goes. The two alternate,
so that a change of the machine's speed affects both.
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
LIMITS = Limits(wall_s=3600, stall_s=3600, memory_bytes=64 * 2**30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="length of the 1080p source")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        root = Path(folder)
        tool = Ffmpeg.of(Settings())
        source = root / "source.mp4"
        make_demo_source(tool, source, seconds=options.seconds, width=1920, height=1080)
        print(f"source: 1920x1080, {options.seconds} s; {len(os.sched_getaffinity(0))} cores; ffmpeg {tool.version}")
        script, workflow = [], []
        for number in range(options.rounds):
            script.append(shell(tool, source, root / f"shell{number}", options.seconds))
            workflow.append(dagster(source, root / f"dagster{number}"))
            print(f"round {number + 1}: script {script[-1]:.1f} s, workflow {workflow[-1]['wall_s']:.1f} s")
        report(script, workflow)


def shell(tool: Ffmpeg, source: Path, folder: Path, seconds: int) -> float:
    """Wall seconds of the script."""
    folder.mkdir()
    started = time.monotonic()
    environment = {
        **os.environ,
        "FFMPEG": str(tool.path),
        "SOURCE": str(source),
        "LOGO": str(PROJECT / "templates/logo.png"),
        "SECONDS_LONG": str(seconds),
    }
    run(["bash", str(HERE / "baseline.sh")], cwd=folder, limits=LIMITS, environment=environment).check()
    return time.monotonic() - started


def dagster(source: Path, home: Path) -> dict[str, float]:
    """One run of the workflow in a separate process, so that all its CPU time is measured."""
    inbox = home / "buckets" / "inbox"
    inbox.mkdir(parents=True)
    shutil.copyfile(source, inbox / "source.mp4")
    (home / "dagster").mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster" / "dagster.yaml")
    environment = {
        **os.environ, "MPS_HOME": str(home), "MPS_PROJECT": str(PROJECT), "DAGSTER_HOME": str(home / "dagster"),
        "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    process = run(
        [sys.executable, str(HERE / "one_run.py")], cwd=PROJECT, limits=LIMITS, environment=environment
    ).check()
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures


def report(script: list[float], workflow: list[dict[str, float]]) -> None:
    def median(name: str) -> float:
        return statistics.median(figures[name] for figures in workflow)

    ratio = median("wall_s") / statistics.median(script)
    orchestration = median("cpu_s") - median("ffmpeg_cpu_s")
    print(f"\nscript    median {statistics.median(script):.1f} s")
    print(f"workflow  median {median('wall_s'):.1f} s, ratio {ratio:.2f}")
    print(f"steps {median('steps'):.0f}, subtasks {median('subtasks'):.0f}")
    print(f"CPU: ffmpeg {median('ffmpeg_cpu_s'):.1f} s, orchestration {orchestration:.1f} s")
    print(f"orchestration CPU per subtask {orchestration / median('subtasks'):.2f} s")
    print(f"wall: before the first step {median('start_s'):.1f} s, ffmpeg on one core {median('ffmpeg_wall_s'):.1f} s")
    print(f"peak memory of this bench's children {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
