"""Uploads per hour, and seconds for one long source, with one to four workers. Linux, as root.

The hosts are namespaces of this machine.

    python bench/cluster.py [--uploads 3] [--cores 0.4]

A worker gets a share of a core (`--cores`), so that all of them and the control host fit on a small machine; `--uploads` is for
each worker. The long source is encoded in ten chunks. Then a host dies with a run on it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

# In place of this folder: the hosts are those of the tests.
sys.path[0] = str(Path(__file__).resolve().parent.parent / "tests")

from clips import Clips  # noqa: E402
from cluster.cluster import Cluster, cluster  # noqa: E402
from cluster.hosts import Host, why_not  # noqa: E402

from mps_dagster.control import tags  # noqa: E402
from mps_dagster.control.task_run import StoredRun  # noqa: E402

WORKFLOW = """
name: vod
trigger: {bucket: "s3://inbox", dir: /in/}
output: {bucket: "s3://outputs", dir: /vod/}
tasks:
  web:
    type: transcode
    outputs: [{name: hd, video_template: {height: 720}}, {name: sd, video_template: {height: 360}}]
  stills:
    type: sample_snapshot
    outputs: [{sample_type: Percent, sample_interval: 25}]
"""
FILM = """
name: film
trigger: {bucket: "s3://inbox", dir: /film/}
output: {bucket: "s3://outputs", dir: /film/}
tasks:
  web:
    type: transcode
    outputs: [{name: whole, video_template: {codec: h265, effort: quality, height: 360}}]
"""
SECONDS = 10
NAMES = ("beta", "gamma", "delta", "epsilon")
NOT_OURS = ("postgres", "s3_server", "relay")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=3)
    parser.add_argument("--cores", type=float, default=0.4)
    options = parser.parse_args()
    if problem := why_not():
        raise SystemExit(problem)
    with tempfile.TemporaryDirectory() as folder, cluster(vod=WORKFLOW, film=FILM) as made:
        clip, film = Clips(Path(folder)).video(SECONDS), Clips(Path(folder)).film()
        made.up()
        print(f"{os.cpu_count()} cores; a worker has {options.cores:g} of one; uploads of {SECONDS} s, 3 outputs")
        print(
            f"{'workers':>7}{'uploads':>9}{'seconds':>9}{'an hour':>9}{'linear':>8}{'to start':>10}{'control, cores':>16}"
            f"{'long source':>13}{'faster':>8}"
        )
        one = alone = 0.0
        for number, name in enumerate(NAMES, 1):
            made.worker(name, cores=options.cores)
            # The first run of a host is not like the others: its files are read for the first time.
            measure(made, clip, [f"in/warm{number}-{each}.mp4" for each in range(number)])
            keys = [f"in/{number}-{each}.mp4" for each in range(number * options.uploads)]
            seconds, starts, cpu_s = measure(made, clip, keys)
            rate = len(keys) / seconds * 3600
            one = one or rate
            long_s, _, _ = measure(made, film, [f"film/{number}.mp4"])
            alone = alone or long_s
            print(
                f"{number:>7}{len(keys):>9}{seconds:>9.1f}{rate:>9.0f}{rate / one / number:>8.2f}"
                f"{min(starts):>9.1f}s{cpu_s / seconds:>16.2f}{long_s:>12.0f}s{alone / long_s:>8.2f}", flush=True
            )  # fmt: skip
        print(f"a host died: its run began elsewhere {death(made, clip):.0f} s later")


def measure(made: Cluster, clip: Path, keys: list[str]) -> tuple[float, list[float], float]:
    """Seconds until all are done, seconds from upload to the start of each run, CPU seconds of the control host."""
    before, began = control_cpu_s(made.control), time.time()
    for key in keys:
        made.s3.upload_file(str(clip), "inbox", key)
    runs = wait(made, keys)
    seconds = max(run.ended_s for run in runs) - began
    return seconds, [run.started_s - began for run in runs], control_cpu_s(made.control) - before


def wait(made: Cluster, keys: list[str]) -> list[StoredRun]:
    dagster = made.deployment.dagster
    while True:
        runs = [run for run in dagster.runs({}, limit=len(keys) * 2) if run.tags.get(tags.KEY) in keys]
        done = [run for run in runs if run.status == "SUCCESS"]
        if len(done) == len(keys):
            return done
        if failed := [run for run in runs if run.status == "FAILURE"]:
            raise SystemExit(f"run {failed[0].run_id} failed")
        time.sleep(1)


def death(made: Cluster, clip: Path) -> float:
    """Seconds from a host's death to the start of its run on another host."""
    key = "in/death.mp4"
    made.s3.upload_file(str(clip), "inbox", key)
    while not any(run.status == "STARTED" for run in made.runs(key)):
        time.sleep(0.2)
    host = made.runs(key)[0].tags[tags.HOST]
    next(each for each in made.network.hosts if each.name == host).die()
    died = time.time()
    while len(made.runs(key)) < 2 or made.runs(key)[0].started_s is None:
        time.sleep(0.5)
    return made.runs(key)[0].started_s - died


def control_cpu_s(control: Host) -> float:
    """Of our programs and of Ray's head there, with those that have ended."""
    ticks = 0
    for pid in control.pids(""):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if not any(word in line for word in NOT_OURS):
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
