"""What a day of many outputs costs to add up: from the instance (the asset `usage`), over GraphQL (today), and from the file.

    python bench/usage.py [--runs 2000]

One run of five outputs is made; its records are copied, so that there are as many runs as asked for. Each figure is of one
reading in a process of its own, with the memory that it added at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

HERE = Path(__file__).parent
WORKFLOW = """
name: demo
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs, dir: /demo/}
tasks:
  web:
    type: transcode
    outputs:
      - {name: a, video_template: {height: 90, effort: fast}}
      - {name: b, video_template: {height: 120, effort: fast}}
      - {name: c, video_template: {height: 144, effort: fast}}
  stills: {type: sample_snapshot, outputs: [{definition: 10}]}
  sprite: {type: image_sprite, outputs: [{definition: 10}]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--read", choices=["instance", "graphql", "file"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(_read(options.read)))
        return
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        project = Path(folder)
        for name in ("workflows", "templates", "dagster", "buckets/inbox/in"):
            (project / name).mkdir(parents=True)
        (project / "workflows" / "demo.yaml").write_text(WORKFLOW)
        (project / "dagster" / "dagster.yaml").write_text((HERE.parent / "dagster.yaml").read_text())
        os.environ |= {
            "DAGSTER_HOME": f"{folder}/dagster",
            "MPS_HOME": folder,
            "MPS_PROJECT": folder,
            "MPS_SETTLE_S": "0",
        }
        os.environ["PYTHONPATH"] = str(HERE.parent)
        started = time.perf_counter()
        _fill(project, options.runs)
        print(f"{options.runs} runs of 5 outputs, copied in {time.perf_counter() - started:.0f} s")
        print(f"{'from':>10} {'rows':>7} {'seconds':>8} {'CPU s':>6} {'memory MB':>10}")
        # The file is written by the second one.
        for way in ("graphql", "instance", "file"):
            argv = [sys.executable, __file__, "--read", way]
            figures = json.loads(
                subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            )
            shown = f"{figures['seconds']:>8.1f} {figures['cpu_s']:>6.1f} {figures['memory_mb']:>10.0f}"
            print(f"{way:>10} {figures['rows']:>7} {shown}")
        files = sorted((project / "usage").iterdir())
        print(", ".join(f"{path.suffix[1:]}: {path.stat().st_size / 1e6:.2f} MB" for path in files))


def _fill(project: Path, runs: int) -> None:
    """Run the workflow once, and copy its run with all events."""
    import dagster as dg

    from mps_dagster.definitions import defs
    from mps_dagster.ffmpeg.program import Ffmpeg
    from mps_dagster.settings import Settings
    from mps_dagster.workflow.naming import uploads_name

    key = "in/clip.mp4"
    made = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2", "-pix_fmt", "yuv420p"]
    Ffmpeg.of(Settings()).run([*made, "file:clip.mp4"], cwd=project / "buckets/inbox/in", on_progress=lambda _: None)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(uploads_name("demo"), [key])
        result = defs.resolve_job_def("demo").execute_in_process(instance=instance, partition_key=key)
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        copies = [str(uuid.uuid4()) for _ in range(runs - 1)]
        for run_id in copies:
            instance.add_run(run._replace(run_id=run_id))
    for run_id in copies:
        _copy_events(project, result.run_id, run_id)
    with sqlite3.connect(project / "dagster/history/runs.db") as runs_db:
        times = runs_db.execute("select start_time, end_time from runs where run_id = ?", [result.run_id]).fetchone()
        runs_db.execute("update runs set start_time = ?, end_time = ?", times)


def _copy_events(project: Path, original: str, run_id: str) -> None:
    """As files: to log as many events again takes Dagster two seconds a run."""
    folder = project / "dagster/history/runs"
    with sqlite3.connect(folder / f"{original}.db") as source, sqlite3.connect(folder / f"{run_id}.db") as target:
        source.backup(target)
        target.execute("update event_logs set run_id = ?, event = replace(event, ?, ?)", [run_id, original, run_id])


def _read(way: str) -> dict[str, float]:
    """Sum up today, one way."""
    import dagster as dg

    from mps_dagster.orchestration.usage import InstanceRecords
    from mps_dagster.settings import Settings
    from mps_dagster.storage.buckets import Buckets
    from mps_dagster.usage.files import DailyFiles, Usage
    from mps_dagster.usage.runs import Days, day_of
    from mps_dagster.usage.table import summed
    from mps_dagster.workflow.project import Project

    settings = Settings()
    files, workflows = DailyFiles.of(settings, Buckets(settings)), Project.load(settings).by_name
    with dg.DagsterInstance.get() as instance:
        today = day_of(instance.get_run_records(limit=1)[0].end_time or 0)
        records = _graphql(instance) if way == "graphql" else InstanceRecords(instance)
        usage, before = Usage(files, records, workflows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, used = time.perf_counter(), time.process_time()
        table = usage.write(today) if way == "instance" else usage.table(Days(today, today))
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - used
        assert summed(table, ["workflow"])["tasks"].sum() * 5 == len(table)
        memory_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
        return {"rows": len(table), "seconds": seconds, "cpu_s": cpu_s, "memory_mb": memory_mb}


def _graphql(instance: object) -> object:
    """A web server of Dagster's in this process."""
    import uvicorn
    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget
    from dagster_webserver.webserver import DagsterWebserver

    from mps_dagster.control.graphql import Dagster

    workspace = create_test_daemon_workspace_context(EmptyWorkspaceTarget(), instance).__enter__()
    config = uvicorn.Config(DagsterWebserver(workspace).create_asgi_app(), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return Dagster(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")


if __name__ == "__main__":
    main()
