"""Processes are killed in the middle of their work: what was asked for is still known and done."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from deployments import leftovers, official_sdk, process_of, start, wait_until, with_ports
from projects import make_project

from mps_dagster.control.deployment import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deaths")]

SLOW = {
    "TranscodeTaskSet": [
        {"Definition": 0, "RawParameter": {"Container": "mp4", "RemoveAudio": 1,
         "VideoTemplate": {"Codec": "h265", "Fps": 60, "Bitrate": 9000, "Width": 3840, "Height": 2160}}},
    ],
}  # fmt: skip
QUICK = {"SampleSnapshotTaskSet": [{"Definition": 10}]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stop", ["kill", "terminate"])
def test_what_was_asked_for_outlives_a_stop_of_everything(tmp_path, clips, stop):
    """Finished tasks are described as before, running ones go on and can still be ended, waiting ones are done."""
    settings = with_ports(make_project(tmp_path))
    sdk = official_sdk(settings)
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(40), "clip.mp4")
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "", "Object": "/clip.mp4"}}

    def ask(task: dict) -> str:
        return sdk("ProcessMedia", InputInfo=source, OutputDir="/out/", MediaProcessTask=task)["TaskId"]

    def described(task: str) -> dict:
        return {**sdk("DescribeTaskDetail", TaskId=task), "RequestId": ""}

    with start(settings) as first:
        finished = ask(QUICK)
        wait_until(lambda: described(finished)["Status"] == "FINISH")
        before = described(finished)
        # More than are run at once, so that the last one waits.
        running = [ask(SLOW) for _ in range(3)]
        waiting = ask(QUICK)
        # Begun, and not just being started: that is a moment in which Dagster ends none.
        wait_until(lambda: not any(described(task)["BeginProcessTime"].startswith("0000") for task in running[:2]))
        getattr(first, stop)()
        first.wait(90)
    with start(settings) as second:
        assert described(finished) == before
        assert described(running[0])["Status"] == "PROCESSING"
        for task in running:
            sdk("ManageTask", OperationType="Abort", TaskId=task)
        wait_until(lambda: described(waiting)["Status"] == "FINISH")
        [result] = described(waiting)["WorkflowTask"]["MediaProcessResultSet"]
        assert result["SampleSnapshotTask"]["Status"] == "SUCCESS"
        second.terminate()
    wait_until(lambda: not leftovers(settings), 60)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
def test_what_waits_outlives_the_process_that_holds_the_code(tmp_path, clips):
    """As when memory runs out. Dagster does not notice by itself, and would fail all that wait."""
    settings = with_ports(make_project(tmp_path))
    sdk = official_sdk(settings)
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(), "clip.mp4")
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "", "Object": "/clip.mp4"}}
    with start(settings) as up:
        tasks = [
            sdk("ProcessMedia", InputInfo=source, OutputDir=f"/{number}/", MediaProcessTask=QUICK)["TaskId"]
            for number in range(2)
        ]
        os.kill(process_of(settings, "dagster api grpc"), signal.SIGKILL)
        for task in tasks:
            wait_until(lambda task=task: sdk("DescribeTaskDetail", TaskId=task)["Status"] == "FINISH")
            [result] = sdk("DescribeTaskDetail", TaskId=task)["WorkflowTask"]["MediaProcessResultSet"]
            assert result["SampleSnapshotTask"]["Status"] == "SUCCESS"
        up.terminate()
