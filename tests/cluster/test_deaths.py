"""A process, a host or the network between hosts dies: every upload is processed once, and its event is sent."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from cluster.cluster import Cluster, new
from cluster.hosts import Host
from mps_dagster.control import tags
from mps_dagster.control.task_run import StoredRun, task_id
from mps_dagster.control.tasks import describe

pytestmark = [
    pytest.mark.slow, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600),
    pytest.mark.usefixtures("no_earlier_events"),
]  # fmt: skip


@pytest.fixture
def key() -> str:
    return new("long/upload.mp4")


def begun(up: Cluster, workers: dict[str, Host], clip: Path, key: str) -> Host:
    """The host on which ffmpeg works on the upload."""
    up.s3.upload_file(str(clip), "inbox", key)

    def encode_it() -> list[Host]:
        started = [run.tags.get(tags.HOST) for run in up.runs(key) if run.status == "STARTED"]
        return [host for name, host in workers.items() if name in started and host.pids("ffmpeg")]

    return up.wait_until(encode_it)[0]


def check_done_once(up: Cluster, key: str) -> list[StoredRun]:
    """The last of its runs succeeded, and one event says so. Return them, the oldest first."""
    up.wait_until(lambda: up.runs(key)[0].status == "SUCCESS", 240)
    runs = up.runs(key)[::-1]
    root = task_id(runs[0].run_id)
    message = json.loads(up.mps("notifications", "receive", "--wait", "60", "--acknowledge"))
    event = message["event"]["WorkflowTaskEvent"]
    assert (event["TaskId"], event["Status"], event["ErrCode"]) == (root, "FINISH", 0)
    [subtask] = describe(up.deployment, root).subtasks
    # A run may have published at the very moment of its death; then its successor has found the output as it should be.
    assert subtask.result.reused or subtask.result.run_id == runs[-1].run_id, "the record is of the run that succeeded"
    [output] = subtask.result.outputs
    stored = up.s3.head_object(Bucket="outputs", Key=output.key)
    assert stored["ContentLength"] == output.size_bytes
    assert stored["ETag"].strip('"') == output.md5
    return runs


def test_rays_part_of_a_host_is_killed(up, workers, clips, key):
    """Its runs end with it, are run again, and the host comes back by itself."""
    host = begun(up, workers, clips.video(), key)
    [raylet] = host.pids("raylet/raylet")
    os.kill(raylet, signal.SIGKILL)
    up.wait_until(lambda: not host.pids("ffmpeg"), 30)
    runs = check_done_once(up, key)
    assert [run.status for run in runs] == ["FAILURE", "SUCCESS"]
    up.wait_until(lambda: not host.run("ls", "/var/mps/scratch").split(), 30)
    up.wait_until(lambda: up.joined() == set(workers))


def test_a_host_is_cut_off_for_a_minute(up, workers, clips, key):
    """Its run is given up and run elsewhere. When it is back, it does not publish over its successor, and takes runs again."""
    host = begun(up, workers, clips.video(), key)
    host.cut_off()
    cut = time.monotonic()
    first, second = check_done_once(up, key)
    assert first.tags[tags.HOST] != second.tags[tags.HOST]
    time.sleep(max(0.0, 60 - (time.monotonic() - cut)))
    # Not before the successor is done: if the first one is quicker, its output stands, and is not made again.
    host.connect()
    up.wait_until(lambda: up.joined() == set(workers))
    up.wait_until(lambda: not host.pids("ffmpeg"), 30)
    [subtask] = describe(up.deployment, task_id(second.root_run_id)).subtasks
    assert subtask.result.run_id == second.run_id, "it is still the successor's"


def test_the_head_is_killed(up, workers, clips, key):
    """Ray's jobs end with it. `mps up --restart` starts it again, and hosts join again."""
    begun(up, workers, clips.video(), key)
    [head] = up.control.pids("gcs_server")
    os.kill(head, signal.SIGKILL)
    runs = check_done_once(up, key)
    assert [run.status for run in runs] == ["FAILURE", "SUCCESS"]
    up.wait_until(lambda: up.joined() == set(workers))


def test_a_host_dies(up, workers, clips, key):
    """It does not come back; another one does its work."""
    host = begun(up, workers, clips.video(), key)
    host.die()
    first, second = check_done_once(up, key)
    assert first.tags[tags.HOST] == host.name != second.tags[tags.HOST]
    assert up.joined() == set(workers) - {host.name}
