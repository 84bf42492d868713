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

from steps import workflows
from watch import Watch, deployment, prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--workflows", type=int, default=1, help="all but one get no upload")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        # The default; the other benches take an upload at once.
        prepare(home, workflows(options.workflows - 1), settle_s=0.5)
        with deployment(), Watch() as watch:
            _measure(home, watch, options.uploads)


def _measure(home: Path, watch: Watch, uploads: int) -> None:
    from dagster import DagsterInstance

    from mps_dagster.cli.demo_source import make_demo_source
    from mps_dagster.ffmpeg.program import Ffmpeg
    from mps_dagster.settings import Settings

    settings = Settings()
    clip = home / "clip.mp4"
    make_demo_source(Ffmpeg.of(settings), clip, seconds=2, width=320, height=180)
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        # A first run, to warm up.
        inbox = settings.buckets_dir / "inbox"
        _upload(instance, watch, clip, inbox / "cold.mp4")
        parts = [_upload(instance, watch, clip, inbox / f"clip{number}.mp4") for number in range(uploads)]
    for name in parts[0]:
        seconds = sorted(part[name] for part in parts)
        print(
            f"{name:36} median {statistics.median(seconds):5.2f} s   95 % {seconds[int(0.95 * (len(seconds) - 1))]:5.2f} s"
        )


def _upload(instance, watch: Watch, clip: Path, upload: Path) -> dict[str, float]:
    """Seconds since the file was closed, of each stage."""
    from dagster import RunsFilter

    # Not in step with the daemon's loops.
    time.sleep(2 + 6 * random.random())
    shutil.copyfile(clip, upload)
    closed = time.time()
    while not (records := instance.get_run_records(RunsFilter(tags={"mps/key": upload.name}), limit=1)):
        time.sleep(0.1)
    run_id = records[0].dagster_run.run_id
    while not instance.get_run_by_id(run_id).is_finished:
        time.sleep(0.1)
    record = instance.get_run_record_by_id(run_id)
    return {
        "upload closed -> run queued": record.create_timestamp.timestamp() - closed,
        "upload closed -> run started": record.start_time - closed,
        "upload closed -> first ffmpeg started": watch.first_ffmpeg[run_id] - closed,
        "upload closed -> run ended": record.end_time - closed,
    }


if __name__ == "__main__":
    main()
