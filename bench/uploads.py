"""A burst of uploads through the real sensor, with Dagster's daemon code and a code server; runs are counted, not launched.

    python bench/uploads.py [--objects 10000] [--bucket local|s3] [--queue] [--standing 0]

`--standing` is the number of other objects in the bucket, which are not media and need no run, as in a large archive. With
`--queue`, every upload is also announced in SQS. Prints ticks, seconds per tick, memory and requests per object, and
whether each upload got exactly one run. Dagster's records are in SQLite, or in PostgreSQL with MPS_DATABASE_URL.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
WORKFLOW = """
name: burst
trigger: {trigger}
tasks:
  still: {{type: snapshot_by_time_offset, outputs: [{{definition: 10, ext_time_offset_set: [0s]}}]}}
"""
BUCKET = "burst"
SUBMITTERS = 4
"""As in dagster.yaml."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--standing", type=int, default=0)
    parser.add_argument("--bucket", choices=("local", "s3"), default="s3")
    parser.add_argument("--queue", action="store_true")
    options = parser.parse_args()
    if options.queue and options.bucket == "local":
        parser.error("a folder has no queue: --queue needs --bucket s3")
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder, _server() as (endpoint, requests):
        home = Path(folder)
        _prepare(home, endpoint, s3=options.bucket == "s3", queue=options.queue)
        _fill(home, endpoint, options)
        requests.value = 0
        report = _measure(options.objects)
        report["requests per object"] = round(requests.value / max(1, options.objects + options.standing), 3)
        for name, value in report.items():
            print(f"{name:28} {value}")


@contextmanager
def _server() -> Iterator[tuple[str, Counter]]:
    """S3 and SQS in a separate process that counts requests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    count = multiprocessing.Value("q", 0)
    process = multiprocessing.Process(target=_serve, args=(port, count), daemon=True)
    process.start()
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}", count
    process.kill()
    process.join()


def _serve(port: int, count: Counter) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    app = DomainDispatcherApplication(create_backend_app)

    def count_requests(environ: dict, start_response: object) -> object:
        with count.get_lock():
            count.value += 1
        return app(environ, start_response)

    class Silent(WSGIRequestHandler):
        def log_request(self, *_: object) -> None: ...

    make_server("127.0.0.1", port, count_requests, threaded=True, request_handler=Silent).serve_forever()


def _prepare(home: Path, endpoint: str, *, s3: bool, queue: bool) -> None:
    project = home / "project"
    (project / "workflows").mkdir(parents=True)
    (home / "dagster").mkdir()
    # Nothing dequeues runs here, so none is launched.
    shutil.copyfile(HERE.parent / "dagster.yaml", home / "dagster" / "dagster.yaml")
    trigger = {"bucket": f"s3://{BUCKET}" if s3 else BUCKET, "dir": "/in/", "list_every_s": 0}
    if queue:
        trigger["queue"] = BUCKET
    (project / "workflows" / "burst.yaml").write_text(WORKFLOW.format(trigger=json.dumps(trigger)))
    os.environ |= {
        "DAGSTER_HOME": str(home / "dagster"), "MPS_HOME": str(home), "MPS_PROJECT": str(project), "MPS_SETTLE_S": "0",
        "MPS_S3__ENDPOINT_URL": endpoint, "MPS_S3__REGION": "us-east-1", "MPS_S3__ADDRESSING_STYLE": "path",
        "MPS_SQS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip


def _fill(home: Path, endpoint: str, options: argparse.Namespace) -> None:
    keys = [f"in/{number % 100:02d}/clip {number:07d}.mp4" for number in range(options.objects)]
    keys += [f"in/{number % 100:02d}/note {number:07d}.txt" for number in range(options.standing)]
    if options.bucket == "local":
        for key in keys:
            path = home / "buckets" / BUCKET / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return
    import boto3
    from botocore.config import Config

    arguments = {"endpoint_url": endpoint, "config": Config(s3={"addressing_style": "path"})}
    s3 = boto3.client("s3", **arguments)
    s3.create_bucket(Bucket=BUCKET)
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    if options.queue:
        sqs = boto3.client("sqs", **arguments)
        url = sqs.create_queue(QueueName=BUCKET)["QueueUrl"]
        for key in keys[: options.objects]:
            item = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}}
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [item]}))


def _measure(uploads: int) -> dict[str, object]:
    """Run ticks until a complete scan finds nothing new."""
    import dagster as dg
    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.sensor import execute_sensor_iteration

    logger = logging.getLogger("bench")
    target = ModuleTarget("mps_dagster.definitions", None, None, "mps_dagster")
    started = time.monotonic()
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        submitters = ThreadPoolExecutor(SUBMITTERS)
        server = _code_server()
        while True:
            list(execute_sensor_iteration(workspace, logger, None, submitters))
            ticks = _ticks(instance)
            if ticks and _is_quiet(ticks[0]):
                break
            time.sleep(0.5)
        keys = Counter(run.tags["mps/key"] for run in instance.get_runs())
        seconds = [tick.end_timestamp - tick.timestamp for tick in ticks]
        return {
            "runs": sum(keys.values()),
            "uploads without a run": uploads - len(keys),
            "uploads with two": sum(count > 1 for count in keys.values()),
            "ticks": len(ticks),
            "failed ticks": sum(tick.status.value == "FAILURE" for tick in ticks),
            "seconds per tick, median": round(statistics.median(seconds), 2),
            "seconds per tick, longest": round(max(seconds), 2),
            "seconds in all": round(time.monotonic() - started, 1),
            "code server, most memory MB": _peak_mb(server),
        }


def _ticks(instance: object) -> list:
    state = next((s for s in instance.all_instigator_state() if s.instigator_name.startswith("uploads_")), None)
    return list(instance.get_ticks(state.instigator_origin_id, state.selector_id)) if state else []


def _is_quiet(tick: object) -> bool:
    return tick.status.value == "SKIPPED" and "goes on" not in (tick.tick_data.skip_reason or "")


def _code_server() -> int:
    """The process id of our newest Dagster code server."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line, environ = entry.read_bytes(), (entry.parent / "environ").read_bytes()
        except OSError:
            continue
        if b"dagster" in line and b"grpc" in line and os.environ["MPS_HOME"].encode() in environ:
            processes.append(int(entry.parent.name))
    return max(processes)


def _peak_mb(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.exit(main())
