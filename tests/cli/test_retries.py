"""What dies in a deployment is mended by itself, and told of once."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading

import pytest
from deployments import start, wait_until, with_ports
from projects import make_project
from s3_servers import CUT, layered

from mps_dagster.control.deployment import Deployment
from mps_dagster.control.task_run import TaskRun
from mps_dagster.control.tasks import describe, list_tasks
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.settings import S3Settings
from mps_dagster.storage.s3 import make_client

pytestmark = [
    pytest.mark.slow, pytest.mark.xdist_group("deaths"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc"),
]  # fmt: skip

ONE = """
name: one
trigger: {bucket: inbox}
output: {bucket: outputs, dir: "/{inputName}/"}
notify: [{type: local, queue: events}]
tasks:
  web:
    type: transcode
    outputs: [{name: a, video_template: {height: 1080, codec: h265}}]
  stills:
    type: sample_snapshot
    outputs: [{definition: 10}]
"""
STARTED = "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on EngineEvent { message } } } } }"


def task_of(deployment: Deployment, key: str, done) -> TaskRun:
    found: list[TaskRun] = []

    def there() -> bool:
        found[:] = [
            full for run in list_tasks(deployment, limit=50)
            if run.key == key and done(full := describe(deployment, run.task_id))
        ]  # fmt: skip
        return bool(found)

    wait_until(there, 200)
    return found[0]


def ended(run: TaskRun) -> bool:
    return run.state == "FINISH"


def encoding(run: TaskRun) -> bool:
    return any(subtask.progress > 0 for subtask in run.subtasks)


def attempts_told(settings, count: int) -> list[int]:
    """How many attempts the events in the queue say there were, oldest first; those of a run that carries on are not there."""
    told: list[int] = []

    def enough() -> bool:
        messages = LocalQueue(settings.queue_path).receive("events", visibility_s=3600)
        told.extend(json.loads(json.loads(message.body)["ExtInfo"])["Attempts"] for message in messages)
        return len(told) >= count

    wait_until(enough, 60)
    return told


@pytest.mark.timeout(500)
def test_a_run_whose_process_is_killed_is_run_again_and_announced_once(tmp_path, clips):
    """A source at fault has one attempt."""
    settings = with_ports(make_project(tmp_path, one=ONE))
    deployment = Deployment.of(settings)
    with start(settings) as up:
        deployment.buckets.get("inbox").publish(clips.video(6), "killed.mp4")
        run = task_of(deployment, "killed.mp4", encoding)
        logged = json.dumps(deployment.dagster.ask(STARTED, id=run.run_id))
        os.kill(int(re.findall(r"Started process for run \(pid: (\d+)\)", logged)[0]), signal.SIGKILL)
        task_of(deployment, "killed.mp4", lambda run: run.state == "WAITING")
        (tmp_path / "notes.mp4").write_text("no film")
        deployment.buckets.get("inbox").publish(tmp_path / "notes.mp4", "notes.mp4")
        again = task_of(deployment, "killed.mp4", ended)
        assert (again.task_id, again.outcome, again.attempts, again.failed) == (run.task_id, "SUCCESS", 2, False)
        assert again.run_id != run.run_id
        broken = task_of(deployment, "notes.mp4", ended)
        assert (broken.outcome, broken.attempts) == ("FAILURE", 1)
        assert sorted(attempts_told(settings, 2)) == [1, 2]
        up.terminate()


@pytest.mark.timeout(500)
def test_a_bucket_that_was_away_for_a_whole_run_costs_only_time(tmp_path, clips, monkeypatch):
    """Each step was tried three times in vain."""
    away = threading.Event()

    def layer(environ):
        return CUT if away.is_set() and "/results" in environ["PATH_INFO"] else None

    with layered(layer) as address:
        s3 = S3Settings(
            endpoint_url=address,
            region="us-east-1",
            addressing_style="path",
            access_key_id="test",
            secret_access_key="test",
        )
        for name in ("endpoint_url", "region", "addressing_style", "access_key_id"):
            monkeypatch.setenv(f"MPS_S3__{name.upper()}", getattr(s3, name))
        monkeypatch.setenv("MPS_S3__SECRET_ACCESS_KEY", "test")
        make_client(s3).create_bucket(Bucket="results")
        text = ONE.replace("bucket: outputs", "bucket: s3://results")
        settings = with_ports(make_project(tmp_path, one=text)).model_copy(update={"s3": s3})
        deployment = Deployment.of(settings)
        with start(settings) as up:
            away.set()
            deployment.buckets.get("inbox").publish(clips.video(), "away.mp4")
            task_of(deployment, "away.mp4", lambda run: run.state == "WAITING" and run.attempts == 2)
            away.clear()
            run = task_of(deployment, "away.mp4", ended)
            assert (run.outcome, run.attempts, run.failed) == ("SUCCESS", 2, False)
            assert attempts_told(settings, 1) == [2]
            up.terminate()
