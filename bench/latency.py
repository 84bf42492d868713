"""From the end of an upload to the start of its first ffmpeg, in a running deployment (`mps up`) on a local folder.

    python bench/latency.py [--uploads 20] [--workflows 1]

Each upload is a two-second clip, put into the folder under its own name as `cp` would, when the one before is done and a
few seconds have passed. Prints the median, the 95th percentile and the parts. Aim: three seconds at most.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--workflows", type=int, default=1, help="all but one get no upload")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        # The default; the other benches take an upload at once.
        steps.prepare(home, options.workflows - 1, settle_s=1)
        with steps.deployment():
            _measure(home, options.uploads)


def _measure(home: Path, uploads: int) -> None:
    from dagster import DagsterInstance

    from mps_dagster.cli.demo_source import make_demo_source
    from mps_dagster.ffmpeg.program import Ffmpeg
    from mps_dagster.settings import Settings

    settings = Settings()
    clip = home / "clip.mp4"
    make_demo_source(Ffmpeg.of(settings), clip, seconds=2, width=320, height=180)
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        # A first run, to warm up.
        _upload(instance, settings, clip, "cold")
        parts = [_upload(instance, settings, clip, f"clip{number}") for number in range(uploads)]
    for name in parts[0]:
        seconds = sorted(part[name] for part in parts)
        print(
            f"{name:36} median {statistics.median(seconds):5.2f} s   95 % {seconds[int(0.95 * (len(seconds) - 1))]:5.2f} s"
        )


def _upload(instance, settings, clip: Path, name: str) -> dict[str, float]:
    """Seconds since the file was closed, of each stage."""
    from dagster import RunsFilter

    # Not in step with the daemon's loops.
    time.sleep(2 + 6 * random.random())
    shutil.copyfile(clip, settings.buckets_dir / "inbox" / f"{name}.mp4")
    closed = time.time()
    while not (records := instance.get_run_records(RunsFilter(tags={"mps/key": f"{name}.mp4"}), limit=1)):
        time.sleep(0.02)
    run_id = records[0].dagster_run.run_id
    first = 0.0
    while not first:
        first = _first_ffmpeg(settings.scratch_dir / run_id)
        time.sleep(0.01)
    while not instance.get_run_by_id(run_id).is_finished:
        time.sleep(0.1)
    record = instance.get_run_record_by_id(run_id)
    return {
        "upload closed -> run queued": record.create_timestamp.timestamp() - closed,
        "upload closed -> run started": record.start_time - closed,
        "upload closed -> first ffmpeg started": first - closed,
        "upload closed -> run ended": record.end_time - closed,
    }


def _first_ffmpeg(folder: Path) -> float:
    """When the first ffmpeg of a run is seen: it works in the run's folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(folder) and "ffmpeg" in (entry / "exe").readlink().name:
                return time.time()
        except OSError:
            continue
    return 0.0


if __name__ == "__main__":
    main()
