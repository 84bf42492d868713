"""The cost of an HLS output with 1 800 segments: publishing, and the data in Dagster and the API.

    python bench/hls.py [--hours 2] [--s3 MILLISECONDS]

Starts its own deployment and a long, tiny source (64x36, one picture per second), which ProcessMedia copies into segments
of 4 s. They go to a folder, or with --s3 to an S3 server (moto, in this process) that delays each answer. Needs the tests'
dependencies (make test installs them).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from api import HERE, _client, _prepare

SEGMENT_S = 4
DESCRIBED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--s3", type=float, metavar="MILLISECONDS")
    options = parser.parse_args()
    seconds = round(options.hours * 3600)
    # Started runs live a little longer than the servers, and may still write.
    with (
        tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder,
        nullcontext() if options.s3 is None else _s3(options.s3 / 1000),
    ):
        _prepare(Path(folder))
        for what, figure in _figures(seconds):
            print(f"{what:<44} {figure:>12}", flush=True)


@contextmanager
def _s3(latency_s: float) -> Iterator[None]:
    sys.path.insert(0, str(HERE.parent / "tests"))
    from s3_servers import layered

    from mps_dagster.settings import S3Settings
    from mps_dagster.storage.s3 import make_client

    with layered(lambda _: time.sleep(latency_s)) as address:
        access = {"endpoint_url": address, "region": "us-east-1", "addressing_style": "path", "access_key_id": "k"}
        os.environ |= {f"MPS_S3__{name.upper()}": value for name, value in access.items()}
        os.environ["MPS_S3__SECRET_ACCESS_KEY"] = "s"
        make_client(S3Settings(**access, secret_access_key="s")).create_bucket(Bucket="hls")
        yield


def _figures(seconds: int) -> Iterator[tuple[str, str]]:
    from dagster import DagsterInstance

    from mps_dagster.cli.services import services
    from mps_dagster.control.deployment import Deployment
    from mps_dagster.settings import Settings

    settings = Settings()
    with services(settings), DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        call = _client(settings.api.port)
        source = settings.home / "long.mp4"
        _make_source(settings.ffmpeg, source, seconds)
        buckets = Deployment.of(settings).buckets
        (settings.buckets_dir / "inbox").mkdir(parents=True)
        buckets.get("inbox").publish(source, "long.mp4")
        task = _process(call)
        run = _wait(call, task)
        failed = run["WorkflowTask"]["MediaProcessResultSet"][0]["TranscodeTask"]
        if failed["ErrCode"]:
            raise SystemExit(f"the run failed: {failed['Message']}")
        [run_id] = [record.run_id for record in instance.get_runs() if record.job_name == "process_media"]
        outputs = buckets.get("s3://hls" if settings.s3.endpoint_url else "inbox")
        segments = sum(1 for info in outputs.list("bench/") if info.key.endswith(".ts"))
        yield "segments", f"{segments:,}"
        result = _result(instance, run_id)
        step_s = _step_seconds(instance, run_id)
        yield "ffmpeg, seconds", f"{result['wall_s']:.1f}"
        yield "publishing and the rest of the subtask, seconds", f"{step_s - result['wall_s']:.1f}"
        values = settings.dagster_home / "values" / run_id
        yield "step values, bytes", f"{sum(path.stat().st_size for path in values.iterdir()):,}"
        yield "event log, bytes", f"{_event_bytes(instance, run_id):,}"
        for kind in ("records", "manifests"):
            yield f"{kind}, bytes", f"{sum(info.size for info in outputs.list(f'_mps/{kind}/')):,}"
        yield "DescribeTaskDetail, median milliseconds", f"{_milliseconds(call, task):.1f}"
        _wait(call, _process(call))
        [run_id] = {record.run_id for record in instance.get_runs()} - {run_id}
        yield "the subtask again (reused), seconds", f"{_step_seconds(instance, run_id):.1f}"


def _make_source(ffmpeg: Path | None, path: Path, seconds: int) -> None:
    import imageio_ffmpeg

    picture = f"testsrc2=s=64x36:r=1:d={seconds}"
    args = [
        "-f",
        "lavfi",
        "-i",
        picture,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        str(SEGMENT_S),
        "-sc_threshold",
        "0",
    ]
    program = str(ffmpeg or imageio_ffmpeg.get_ffmpeg_exe())
    subprocess.run([program, "-v", "error", "-nostdin", "-y", *args, "-pix_fmt", "yuv420p", str(path)], check=True)


def _process(call: Callable[..., dict[str, Any]]) -> str:
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "", "Object": "/long.mp4"}}
    video = {"Codec": "copy", "Fps": 0, "Bitrate": 0, "HlsTime": SEGMENT_S}
    raw = {"Container": "hls", "RemoveVideo": 0, "RemoveAudio": 1, "VideoTemplate": video}
    task = {"TranscodeTaskSet": [{"Definition": 0, "RawParameter": raw}]}
    place: dict[str, Any] = {}
    if "MPS_S3__ENDPOINT_URL" in os.environ:
        place = {"OutputStorage": {"Type": "AWS-S3", "S3OutputStorage": {"S3Bucket": "hls", "S3Region": "us-east-1"}}}
    task_id: str = call("ProcessMedia", InputInfo=source, OutputDir="/bench/", MediaProcessTask=task, **place)["TaskId"]
    return task_id


def _wait(call: Callable[..., dict[str, Any]], task: str) -> dict[str, Any]:
    while (run := call("DescribeTaskDetail", TaskId=task))["Status"] != "FINISH":
        time.sleep(1)
    return run


def _result(instance: Any, run_id: str) -> dict[str, Any]:
    for event in _events(instance, run_id):
        if event.event_type_value == "STEP_OUTPUT" and "subtask[" in event.step_key:
            result: dict[str, Any] = event.event_specific_data.metadata["result"].value
            return result
    raise SystemExit("the subtask has no result")


def _step_seconds(instance: Any, run_id: str) -> float:
    [step] = [stats for stats in instance.get_run_step_stats(run_id) if "subtask[" in stats.step_key]
    return float(step.end_time - step.start_time)


def _events(instance: Any, run_id: str) -> Iterator[Any]:
    return (entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event)


def _event_bytes(instance: Any, run_id: str) -> int:
    from dagster._serdes import serialize_value

    return sum(len(serialize_value(entry)) for entry in instance.all_logs(run_id))


def _milliseconds(call: Callable[..., dict[str, Any]], task: str) -> float:
    durations_s = []
    for _ in range(DESCRIBED):
        started = time.perf_counter()
        call("DescribeTaskDetail", TaskId=task)
        durations_s.append(time.perf_counter() - started)
    return 1000 * statistics.median(durations_s)


if __name__ == "__main__":
    main()
