"""A run of a cluster on the host that got it: from the process of its Ray job, through the host's runner."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
from projects import VOD, make_project, use_project
from servers import aws

from mps_dagster.control import tags
from mps_dagster.control.code_version import code_version
from mps_dagster.control.retries import can_help
from mps_dagster.orchestration.run_request import MODULE
from mps_dagster.orchestration.runs import run_record
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.shipping import ship

from .test_runner import queued, runner, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the runner forks")]

LONG = VOD.replace("height: 90, effort: fast", "height: 1440, effort: quality, codec: av1, bitrate: 9000")


@pytest.fixture(scope="module")
def server():
    with aws() as server:
        server.s3.create_bucket(Bucket="shared")
        yield server


@pytest.fixture
def settings(tmp_path, monkeypatch, server):
    """Of a host; its inbox is a folder, so that only what a cluster adds is on S3."""
    deployment = make_project(tmp_path, vod=VOD, long=LONG.replace("name: vod", "name: long"))
    s3 = server.settings
    use_project(
        deployment, monkeypatch, MPS_SHARED_BUCKET="s3://shared", MPS_HOST_NAME="beta",
        MPS_S3__ENDPOINT_URL=s3.endpoint_url, MPS_S3__REGION=s3.region, MPS_S3__ADDRESSING_STYLE="path",
        MPS_S3__ACCESS_KEY_ID="test", MPS_S3__SECRET_ACCESS_KEY="test",
    )  # fmt: skip
    return deployment.model_copy(update={"shared_bucket": "s3://shared", "s3": s3})


def shipped(settings) -> str:
    return ship(settings, Buckets(settings).get("s3://shared"))


@contextmanager
def job(run_id: str, revision: str, code: str = code_version(), *serves: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", MODULE, run_id, revision, code, "1", *serves]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        yield process
        process.kill()


def encoding(settings) -> bool:
    """Whether an ffmpeg works on an output."""
    return any(settings.scratch_dir.glob("*/*/*.mp4"))


def test_a_run_uses_the_projects_files_as_they_were_at_its_launch(settings, clips):
    with dg.DagsterInstance.get() as instance, runner(settings):
        run_id, revision = queued(instance, settings, clips), shipped(settings)
        shutil.rmtree(settings.workflows_dir)
        with job(run_id, revision) as process:
            assert process.wait(60) == 0
        run = instance.get_run_by_id(run_id)
        assert (run.status, run.tags[tags.HOST]) == (dg.DagsterRunStatus.SUCCESS, "beta")
        assert {info.key for info in Buckets(settings).get("outputs").list()} >= {"vod/clip_transcode_small.mp4"}
        wait_until(lambda: not (settings.scratch_dir / run_id).exists(), 20)


def test_a_run_ends_with_its_job(settings, clips):
    """Ray kills the job's process when its own part of the host died. The run is one that a retry helps."""
    with dg.DagsterInstance.get() as instance, runner(settings):
        run_id = queued(instance, settings, clips, "long")
        with job(run_id, shipped(settings)) as process:
            wait_until(lambda: encoding(settings))
            process.kill()
            wait_until(lambda: instance.get_run_by_id(run_id).is_finished, 20)
        run = instance.get_run_by_id(run_id)
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert run.tags[tags.WILL_RETRY] == "true"
        assert can_help(run_record(instance, run, None), "UNEXPECTED_TERMINATION")
        wait_until(lambda: not (settings.scratch_dir / run_id).exists(), 20)


def test_a_job_that_is_stopped_cancels_its_run(settings, clips):
    with dg.DagsterInstance.get() as instance, runner(settings):
        run_id = queued(instance, settings, clips, "long")
        with job(run_id, shipped(settings)) as process:
            wait_until(lambda: encoding(settings))
            instance.report_run_canceling(instance.get_run_by_id(run_id))
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0, "within the time that Ray gives"
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.CANCELED


def test_a_host_with_other_code_refuses_a_run_with_words(settings, clips):
    with dg.DagsterInstance.get() as instance:
        run_id = queued(instance, settings, clips)
        with job(run_id, "revision", "0.0.9-old") as process:
            assert process.wait(30) == 1
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
        said = f"beta has mps_dagster {code_version()}, and the run needs 0.0.9-old"
        assert any(said in entry.message for entry in instance.all_logs(run_id))


def test_a_worker_with_other_code_leaves_the_run_alone(settings, clips):
    """It goes on without it."""
    with dg.DagsterInstance.get() as instance:
        run_id = queued(instance, settings, clips)
        with job(run_id, "revision", "0.0.9-old", "127.0.0.1:1/job") as process:
            assert process.wait(30) == 1
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTING


def test_a_worker_whose_run_does_not_answer_ends(settings, clips):
    """The run has ended while Ray started it."""
    with dg.DagsterInstance.get() as instance, runner(settings):
        run_id = queued(instance, settings, clips)
        with job(run_id, shipped(settings), code_version(), "127.0.0.1:1/job") as process:
            assert process.wait(30) == 0
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTING


def test_a_run_that_was_given_up_is_not_begun(settings, clips):
    """Its job waited too long for a host, or the host was cut off meanwhile."""
    with dg.DagsterInstance.get() as instance, runner(settings):
        run_id = queued(instance, settings, clips)
        instance.report_run_failed(instance.get_run_by_id(run_id), "given up")
        with job(run_id, shipped(settings)) as process:
            assert process.wait(30) == 0
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
        assert not any("Started process" in entry.message for entry in instance.all_logs(run_id))


def test_without_a_runner_the_job_executes_the_run_itself(settings, clips):
    """On a Ray cluster that somebody else started."""
    with dg.DagsterInstance.get() as instance:
        run_id = queued(instance, settings, clips)
        with job(run_id, shipped(settings)) as process:
            assert process.wait(90) == 0
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS


def test_the_process_of_a_job_imports_nothing_that_takes_time():
    """It is one for each run, beside the runner that has everything imported."""
    code = f"import sys, {MODULE}; print(sorted({{'dagster', 'pydantic', 'boto3', 'sqlalchemy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
