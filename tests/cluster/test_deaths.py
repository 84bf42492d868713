"""A process, a host or the network between hosts dies: every upload is processed once, and its event is sent."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from deployments import wait_until

from cluster.cluster import Cluster
from cluster.hosts import Host
from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.ray import Ray
from mps_dagster.control.task_run import StoredRun, task_id
from mps_dagster.control.tasks import describe

pytestmark = [
    pytest.mark.slow, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600),
    pytest.mark.usefixtures("no_earlier_events"),
]  # fmt: skip


def runs_of(up: Cluster, key: str) -> list[StoredRun]:
    """Oldest first."""
    return up.runs(key)[::-1]


def begun(up: Cluster, workers: dict[str, Host], clip: Path, key: str) -> Host:
    """The host on which ffmpeg works on the upload."""
    up.s3.upload_file(str(clip), "inbox", key)
    wait_until(lambda: [run.tags.get(tags.HOST) for run in runs_of(up, key) if run.status == "STARTED"])
    host = workers[runs_of(up, key)[0].tags[tags.HOST]]
    wait_until(lambda: host.pids("ffmpeg"))
    return host


def check_done_once(up: Cluster, key: str) -> list[StoredRun]:
    """The last of its runs succeeded, and one event says so."""
    deployment = Deployment.of(up.settings)
    wait_until(lambda: runs_of(up, key)[-1].status == "SUCCESS", 240)
    runs = runs_of(up, key)
    root = task_id(runs[0].run_id)
    message = json.loads(up.mps("notifications", "receive", "--wait", "60", "--acknowledge"))
    event = message["event"]["WorkflowTaskEvent"]
    assert (event["TaskId"], event["Status"], event["ErrCode"]) == (root, "FINISH", 0)
    [subtask] = describe(deployment, root).subtasks
    # A run may have published at the very moment of its death; then its successor has found the output as it should be.
    assert subtask.result.reused or subtask.result.run_id == runs[-1].run_id, "the record is of the run that succeeded"
    [output] = subtask.result.outputs
    stored = up.s3.head_object(Bucket="outputs", Key=output.key)
    assert stored["ContentLength"] == output.size_bytes
    assert stored["ETag"].strip('"') == output.md5
    return runs


def names(up: Cluster) -> set[str]:
    return {host.name for host in Ray(up.settings).hosts()}


def test_rays_part_of_a_host_is_killed(up, workers, clips):
    """Its runs end with it, are run again, and the host comes back by itself."""
    host = begun(up, workers, clips.video(), "long/raylet.mp4")
    [raylet] = host.pids("raylet/raylet")
    os.kill(raylet, signal.SIGKILL)
    wait_until(lambda: not host.pids("ffmpeg"), 30)
    runs = check_done_once(up, "long/raylet.mp4")
    assert [run.status for run in runs] == ["FAILURE", "SUCCESS"]
    wait_until(lambda: not host.run("ls", "/var/mps/scratch").split(), 30)
    wait_until(lambda: names(up) == set(workers))


def test_a_host_is_cut_off_for_a_minute(up, workers, clips):
    """Its run is given up and run elsewhere. When it is back, it does not publish over its successor, and takes runs again."""
    host = begun(up, workers, clips.video(), "long/cut.mp4")
    host.cut_off()
    cut = time.monotonic()
    wait_until(lambda: len(runs_of(up, "long/cut.mp4")) == 2)
    time.sleep(max(0.0, 60 - (time.monotonic() - cut)))
    host.connect()
    first, second = check_done_once(up, "long/cut.mp4")
    assert first.tags[tags.HOST] != second.tags[tags.HOST]
    wait_until(lambda: names(up) == set(workers))
    wait_until(lambda: not host.pids("ffmpeg"), 30)
    [subtask] = describe(Deployment.of(up.settings), task_id(second.root_run_id)).subtasks
    assert subtask.result.run_id == second.run_id, "it is still the successor's"


def test_the_head_is_killed(up, workers, clips):
    """Ray's jobs end with it. `mps up --restart` starts it again, and hosts join again."""
    begun(up, workers, clips.video(), "long/head.mp4")
    [head] = up.control.pids("gcs_server")
    os.kill(head, signal.SIGKILL)
    runs = check_done_once(up, "long/head.mp4")
    assert [run.status for run in runs] == ["FAILURE", "SUCCESS"]
    wait_until(lambda: names(up) == set(workers))


def test_a_host_dies(up, workers, clips):
    """It does not come back; another one takes its place."""
    host = begun(up, workers, clips.video(), "long/host.mp4")
    host.die()
    first, second = check_done_once(up, "long/host.mp4")
    assert first.tags[tags.HOST] == host.name != second.tags[tags.HOST]
    assert names(up) == set(workers) - {host.name}
    up.worker("delta")
