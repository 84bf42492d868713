"""MPS's API with 1, 10 and 1 000 finished task runs in the instance: requests per second, median and 99th percentile.

    python bench/api.py [--runs 1 10 1000]

Starts its own deployment. Calls go through Tencent's SDK, one after the other; ProcessMedia's tasks stay in the queue.
Records are in SQLite, or in PostgreSQL with MPS_DATABASE_URL. Needs the tests' dependencies (make test installs them).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
CALLS = {"DescribeTaskDetail": 200, "DescribeTasks": 100, "ProcessMedia": 30}
KEY = ("AKIDbench", "a key of sixteen characters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 10, 1000])
    options = parser.parse_args()
    # Started runs live a little longer than the servers, and may still write.
    with tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder:
        _prepare(Path(folder))
        _measure(options.runs)


def _prepare(home: Path) -> None:
    project = home / "project"
    (project / "workflows").mkdir(parents=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(HERE.parent / name, project / name)
    os.environ |= {
        "MPS_HOME": str(home / "home"), "MPS_PROJECT": str(project), "DAGSTER_HOME": str(home / "home" / "dagster"),
        "MPS_UI_PORT": "3910", "MPS_FILES_PORT": "3911", "MPS_API__PORT": "3912", "MPS_SETTLE_S": "0",
        "MPS_API__SECRET_ID": KEY[0], "MPS_API__SECRET_KEY": KEY[1], "MPS_API__RATES": '{"*": 100000}',
    }  # fmt: skip


def _measure(sizes: list[int]) -> None:
    from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

    from mps_dagster.cli.demo_source import make_demo_source
    from mps_dagster.cli.services import services
    from mps_dagster.control.deployment import Deployment
    from mps_dagster.ffmpeg.program import Ffmpeg
    from mps_dagster.settings import Settings

    settings = Settings()
    with services(settings), DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        call = _client(settings.api.port)
        source = settings.home / "clip.mp4"
        make_demo_source(Ffmpeg.of(settings), source, seconds=2)
        (settings.buckets_dir / "inbox").mkdir(parents=True)
        Deployment.of(settings).buckets.get("inbox").publish(source, "clip.mp4")
        task = _process(call)
        while call("DescribeTaskDetail", TaskId=task)["Status"] != "FINISH":
            time.sleep(0.5)
        print(f"{'runs':>6} {'action':<20} {'per second':>10} {'median ms':>10} {'p99 ms':>8}")
        runs = 1
        for size in sizes:
            for _ in range(size - runs):
                instance.add_run(DagsterRun("process_media", str(uuid.uuid4()), status=DagsterRunStatus.SUCCESS))
            runs = max(runs, size)
            _report(size, "DescribeTaskDetail", lambda: call("DescribeTaskDetail", TaskId=task))
            _report(size, "DescribeTasks", lambda: call("DescribeTasks", Status="FINISH"))
            _report(size, "ProcessMedia", lambda: _process(call))
            for run in instance.get_runs():
                if not run.is_finished:
                    instance.report_run_canceled(run)


def _client(port: int) -> Callable[..., dict]:
    from tencentcloud.common.credential import Credential
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile
    from tencentcloud.mps.v20190612 import models
    from tencentcloud.mps.v20190612.mps_client import MpsClient

    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=f"127.0.0.1:{port}"))
    client = MpsClient(Credential(*KEY), "ap-guangzhou", profile)

    def call(action: str, **parameters: object) -> dict:
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return json.loads(getattr(client, action)(request).to_json_string())

    return call


def _process(call: Callable[..., dict]) -> str:
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "", "Object": "/clip.mp4"}}
    task = {"SampleSnapshotTaskSet": [{"Definition": 10}]}
    return call("ProcessMedia", InputInfo=source, OutputDir="/bench/", MediaProcessTask=task)["TaskId"]


def _report(runs: int, action: str, call: Callable[[], object]) -> None:
    durations_s = []
    for _ in range(CALLS[action]):
        started = time.perf_counter()
        call()
        durations_s.append(time.perf_counter() - started)
    rate = len(durations_s) / sum(durations_s)
    p99 = statistics.quantiles(durations_s, n=100)[98]
    print(
        f"{runs:>6} {action:<20} {rate:>10.1f} {1000 * statistics.median(durations_s):>10.1f} {1000 * p99:>8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
