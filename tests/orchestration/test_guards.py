"""What Dagster alone would let through."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus

from mps_dagster.errors import StorageFailed
from mps_dagster.execution.assemble import MemberMissing, assemble
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.subtask import Members
from mps_dagster.orchestration import launcher as launcher_module
from mps_dagster.orchestration import ops
from mps_dagster.orchestration.launcher import CheckingRunLauncher, RunProcess
from mps_dagster.workflow.model import Source, Task


def test_an_assembly_with_a_member_missing_fails():
    """Dagster loses mapped steps when a run is retried from failure after a crash, and would call that a success."""
    task = Task(name="web", type="sample_snapshot", outputs=({},))
    source = Source.model_construct(bucket="inbox", key="in/a.mp4", etag="e")
    members = Members.model_construct(workflow="vod", task=task, source=source, ids=("b",))
    with pytest.raises(MemberMissing, match="no result came from b") as caught:
        assemble(members, "run", [], None)
    assert "all steps" in caught.value.hint


def test_a_full_disk_is_named_and_retried_wherever_a_step_meets_it(house, clips, monkeypatch):
    """Also by a small file that nobody counted: here the one that says which outputs could be made together."""
    calls = []

    def disk_is_full_at_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ops, "register", disk_is_full_at_first)
    house.upload(clips.video(), "in/clip.mp4")
    result = house.run("in/clip.mp4")
    assert result.success
    retried = [event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]
    [event] = retried
    assert "cannot write a file of this run: no space left on the disk of" in str(event.event_specific_data.error)


def test_a_failure_that_a_retry_can_help_is_retried(house, clips, monkeypatch):
    """A bucket that does not answer at first; it only causes a delay."""
    calls = []
    perform = Worker.perform

    def flaky(worker, subtask, *rest):
        calls.append(subtask.label)
        if calls.count(subtask.label) == 1 and subtask.label == "small":
            raise StorageFailed("the bucket did not answer")
        return perform(worker, subtask, *rest)

    monkeypatch.setattr(Worker, "perform", flaky)
    house.upload(clips.video(), "in/clip.mp4")
    assert house.run("in/clip.mp4").success
    assert calls.count("small") == 2


def test_an_upload_that_cannot_be_fetched_at_first_is_fetched_again(house, clips, monkeypatch):
    """As its outputs are made again; not if the upload itself is bad."""
    fetch_source, calls = Worker.fetch_source, []

    def flaky(worker, *upload):
        calls.append(upload)
        if len(calls) == 1:
            raise StorageFailed("the bucket did not answer")
        return fetch_source(worker, *upload)

    monkeypatch.setattr(Worker, "fetch_source", flaky)
    house.upload(clips.video(), "in/clip.mp4")
    assert house.run("in/clip.mp4").success
    assert len(calls) == 2
    (house.settings.buckets_dir / "inbox" / "in" / "bad.mp4").write_bytes(b"no video")
    assert not house.run("in/bad.mp4").success
    assert len(calls) == 3


def test_a_failure_that_no_retry_can_help_is_not_retried(house, clips, monkeypatch):
    """A silent clip has no sound the second time either."""
    calls = []
    perform = Worker.perform
    monkeypatch.setattr(
        Worker, "perform", lambda worker, job, *rest: calls.append(job.label) or perform(worker, job, *rest)
    )
    house.upload(clips.no_audio(), "in/clip.mp4")
    house.run("in/clip.mp4")
    assert calls.count("sound") == 1


@pytest.mark.parametrize(
    ("worker", "status"),
    [
        (None, WorkerStatus.RUNNING),
        (RunProcess(os.getpid(), time.time()), WorkerStatus.RUNNING),
        (RunProcess(2**30, time.time()), WorkerStatus.NOT_FOUND),
        pytest.param(
            RunProcess(os.getpid(), time.time() - 24 * 3600), WorkerStatus.NOT_FOUND,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc"),
        ),
    ],
    ids=["not started yet", "living on without its code server", "gone with its host", "another with its number"],
)  # fmt: skip
def test_a_run_whose_process_is_gone_is_noticed(monkeypatch, worker, status):
    """Otherwise it would stay STARTED for ever."""
    monkeypatch.setattr(launcher_module, "_worker", lambda *_: worker)
    launcher = CheckingRunLauncher()
    monkeypatch.setattr(launcher, "_get_grpc_client_for_termination", lambda _: None)
    monkeypatch.setattr(CheckingRunLauncher, "_instance", property(lambda _: None))
    assert launcher.check_run_worker_health(SimpleNamespace(run_id="r")).status is status


def test_a_step_that_was_about_to_begin_when_its_run_was_canceled_does_not(house, clips, monkeypatch):
    """Dagster's executor tells only those that have a process."""
    fetch_source, performed = Worker.fetch_source, []

    def canceled(worker, bucket, key, etag, run_id):
        house.instance.report_run_canceling(house.instance.get_run_by_id(run_id))
        return fetch_source(worker, bucket, key, etag, run_id)

    monkeypatch.setattr(Worker, "fetch_source", canceled)
    monkeypatch.setattr(Worker, "perform", lambda *_: performed.append(1))
    house.upload(clips.video(), "in/clip.mp4")
    house.run("in/clip.mp4")
    [run] = house.instance.get_runs()
    assert (run.status, performed) == (dg.DagsterRunStatus.CANCELED, [])


@pytest.mark.slow
def test_the_definitions_load_in_a_fresh_interpreter(tmp_path):
    """With nothing in the environment, in a folder that holds no workflow; import order is not luck."""
    code = "from mps_dagster.definitions import defs; print(sorted(job.name for job in defs.get_repository_def().get_all_jobs()))"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=tmp_path, env={"PATH": os.defpath}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # The asset job is Dagster's own, of the usage.
    jobs = "['__ASSET_JOB', 'backfill', 'daily_usage', 'process_media', 'retention']"
    assert (done.returncode, done.stdout.strip()) == (0, jobs), done.stderr


@pytest.mark.slow
def test_the_command_line_does_not_import_dagster():
    """It would cost 0.7 s each time."""
    code = "import sys, mps_dagster.cli; print('dagster' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
