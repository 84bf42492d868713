"""A run of a cluster is a Ray job; what a job's end, or its absence, says of the run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from ray.job_submission import JobStatus

from mps_dagster.control import tags
from mps_dagster.orchestration import internals, ray_launcher
from mps_dagster.orchestration.placement import Demand
from mps_dagster.orchestration.ray_launcher import RayLauncher
from mps_dagster.orchestration.run_request import MODULE, RunRequest
from mps_dagster.settings import RaySettings, Settings
from mps_dagster.workflow.naming import BACKFILL

RUN_ID = "8b3a8de0-e212-4bc9-a9af-1f341f9192d4"
STARTED = dg.DagsterRunStatus.STARTED
WorkerStatus = internals.WorkerStatus


class Jobs:
    """Ray's client, over jobs that a test names; `broken` is what it raises instead of answering."""

    def __init__(self, **statuses: JobStatus) -> None:
        self.statuses = statuses
        self.submitted: list[dict] = []
        self.stopped: list[str] = []
        self.broken: Exception | None = None

    def get_job_info(self, job: str) -> SimpleNamespace:
        if self.broken:
            raise self.broken
        if job not in self.statuses:
            raise RuntimeError(f"Request failed with status code 404: Job {job} does not exist.")
        return SimpleNamespace(status=self.statuses[job], message="said by Ray", submission_id=job)

    def get_job_status(self, job: str) -> JobStatus:
        return self.get_job_info(job).status

    def submit_job(self, **job) -> None:
        self.submitted.append(job)
        if self.broken:
            raise self.broken

    def stop_job(self, job: str) -> bool:
        self.stopped.append(job)
        return True


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def launcher(tmp_path, monkeypatch, jobs) -> RayLauncher:
    settings = Settings(
        project=tmp_path, home=tmp_path, cluster="ray", shared_bucket="s3://shared",
        ray=RaySettings(host="127.0.0.1", dashboard_port=1, token="a token of twenty signs"),
    )  # fmt: skip
    monkeypatch.setattr(ray_launcher, "ship", lambda *_: "revision")
    made = RayLauncher(settings)
    made.__dict__["client"] = jobs
    return made


@pytest.fixture
def instance(launcher):
    with dg.DagsterInstance.ephemeral() as instance:
        launcher.register_instance(instance)
        yield instance


def a_run(instance, job: str = "vod", status=STARTED) -> dg.DagsterRun:
    @dg.job(name=job)
    def made(): ...

    pointer = internals.ModuleCodePointer("mps_dagster.definitions", "defs")
    origin = JobPythonOrigin(job, RepositoryPythonOrigin(sys.executable, pointer))
    demand = {tags.DEMAND: Demand(3, 5).as_tag()}
    return instance.create_run_for_job(made, run_id=RUN_ID, tags=demand, status=status, job_code_origin=origin)


JOB = f"dagster-run-{RUN_ID}"
HEALTH = {
    "it runs": (JobStatus.RUNNING, WorkerStatus.RUNNING),
    "it waits for a host": (JobStatus.PENDING, WorkerStatus.RUNNING),
    "its host died": (JobStatus.FAILED, WorkerStatus.FAILED),
    "somebody stopped it in the dashboard": (JobStatus.STOPPED, WorkerStatus.FAILED),
    "its process ended and the run did not": (JobStatus.SUCCEEDED, WorkerStatus.FAILED),
}


@pytest.mark.parametrize(("status", "expected"), HEALTH.values(), ids=HEALTH)
def test_the_job_says_how_its_run_is(launcher, instance, jobs, status, expected):
    jobs.statuses[JOB] = status
    assert launcher.check_run_worker_health(a_run(instance)).status is expected


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("refused"),
        RuntimeError("Request failed with status code 500: the head is busy"),
        RuntimeError("Request failed with status code 503"),
        TimeoutError(),
    ],
)
def test_a_run_lives_while_the_dashboard_does_not_answer(launcher, instance, jobs, error):
    """dagster-ray calls it unknown, and run monitoring fails a run of unknown health."""
    jobs.broken = error
    assert launcher.check_run_worker_health(a_run(instance)).status is WorkerStatus.RUNNING


def test_a_dashboard_that_is_down_is_such_an_error(launcher, instance):
    """With Ray's own client."""
    del launcher.__dict__["client"]
    assert launcher.check_run_worker_health(a_run(instance)).status is WorkerStatus.RUNNING


def test_a_job_that_ray_has_forgotten_is_gone(launcher, instance):
    """Its head was restarted, and knows nothing of earlier jobs."""
    health = launcher.check_run_worker_health(a_run(instance))
    assert health.status is WorkerStatus.NOT_FOUND
    assert "restarted" in health.msg


@pytest.mark.slow
def test_the_command_survives_the_shell_of_the_host():
    """dagster-ray wraps its last argument in quotes that our instance's YAML breaks. Run as Ray runs it."""
    argv = RunRequest("a run's id; echo 'x'", "r", 3).command("0.1.0-abc")
    environment = {**os.environ, "MPS_PYTHON": "/bin/echo"}
    done = subprocess.run(argv, shell=True, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"-m {MODULE} a run's id; echo 'x' r 0.1.0-abc 3"


def test_a_host_that_was_not_started_by_us_uses_its_own_python():
    assert shlex.split(RunRequest("id", "r", 1).command("c"))[:2] == ["exec", "${MPS_PYTHON:-python3}"]


def launched(launcher, run) -> None:
    launcher.launch_run(SimpleNamespace(dagster_run=run))


@pytest.fixture
def run(instance) -> dg.DagsterRun:
    """As the queue has left it."""
    return a_run(instance, status=dg.DagsterRunStatus.STARTING)


def test_a_job_always_asks_for_cores(launcher, jobs, run):
    """Without, Ray runs it on the head."""
    launched(launcher, run)
    [job] = jobs.submitted
    assert (job["entrypoint_num_cpus"], job["submission_id"]) == (3, JOB)
    assert job["entrypoint_resources"]["scratch_gb"] == 5
    assert f"{RUN_ID} revision" in job["entrypoint"]


def test_a_launch_that_ray_refuses_stays_in_the_queue(launcher, jobs, run):
    """Dagster fails a run for any other error."""
    jobs.broken = RuntimeError("Request failed with status code 500")
    with pytest.raises(internals.DagsterUserCodeUnreachableError, match="500"):
        launched(launcher, run)


def test_a_launch_whose_answer_was_lost_has_happened(launcher, jobs, run, monkeypatch):
    def submit(**job) -> None:
        jobs.statuses[job["submission_id"]] = JobStatus.PENDING
        raise ConnectionError("cut off")

    monkeypatch.setattr(jobs, "submit_job", submit)
    launched(launcher, run)


def test_a_run_is_stopped_by_its_job(launcher, instance, jobs):
    a_run(instance)
    assert launcher.terminate(RUN_ID)
    assert jobs.stopped == [JOB]


def test_jobs_that_ended_an_hour_ago_are_forgotten(launcher, jobs, monkeypatch):
    """Ray's head would keep them in memory for ever."""
    ended = {"old": (JobStatus.SUCCEEDED, 1_000), "new": (JobStatus.FAILED, 4_000_000), "on": (JobStatus.RUNNING, None)}
    jobs.list_jobs = lambda: [
        SimpleNamespace(submission_id=name, status=status, end_time=at) for name, (status, at) in ended.items()
    ]
    deleted = []
    jobs.delete_job = deleted.append
    assert launcher.forget_ended_jobs(now_s=3700.0) == 1
    assert deleted == ["old"]


def test_jobs_that_look_after_the_deployment_stay_on_the_control_host(launcher, jobs, monkeypatch):
    here = []
    monkeypatch.setattr(launcher._here, "launch_run", lambda context: here.append(context.dagster_run.job_name))
    launched(launcher, dg.DagsterRun(BACKFILL, run_id=RUN_ID))
    assert (here, jobs.submitted) == ([BACKFILL], [])
