"""Run launcher of a cluster: a run is a Ray job on one host; dagster-ray submits it.

Three things differ from dagster-ray's own launcher. The command: its instance does not survive a shell, and our runs know
theirs by the host's settings. The health of a run while Ray does not answer: unknown would fail the run. And the jobs that
look after the deployment itself stay on the control host.
"""

from __future__ import annotations

from contextlib import suppress

from dagster import DagsterInstance, DagsterRun
from dagster_ray import RayRunLauncher
from dagster_ray.configs import USER_DEFINED_RAY_KEY
from dagster_ray.core.run_launcher import get_job_submission_id_from_run_id

from mps_dagster.control import tags
from mps_dagster.control.code_version import code_version
from mps_dagster.control.ray import Ray
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.launcher import CheckingRunLauncher
from mps_dagster.orchestration.placement import AT_CONTROL, Demand
from mps_dagster.orchestration.run_request import RunRequest
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.shipping import ship

KEEP_S = 3600
"""How long an ended job is kept: run monitoring may still ask for it."""
UNKNOWN = "status code 404"
"""In the message of Ray's error for a job that it does not have."""


class RayLauncher(RayRunLauncher):
    """For runs on any host of a Ray cluster."""

    def __init__(self, settings: Settings, inst_data: internals.ConfigurableClassData | None = None) -> None:
        super().__init__(address=settings.ray.url, headers=Ray(settings).headers, inst_data=inst_data)
        self._settings, self._buckets = settings, Buckets(settings)
        self._here = CheckingRunLauncher()

    def register_instance(self, instance: DagsterInstance) -> None:
        super().register_instance(instance)
        self._here.register_instance(instance)

    @property
    def supports_resume_run(self) -> bool:
        """A run that died begins anew, as a retry."""
        return False

    def launch_run(self, context: internals.LaunchRunContext) -> None:
        run = context.dagster_run
        if run.job_name in AT_CONTROL:
            self._here.launch_run(context)
            return
        cores = Demand.of_tag(run.tags[tags.DEMAND]).cores
        try:
            revision = ship(self._settings, self._buckets.get(self._settings.shared_bucket))
            asks = run.with_tags({**run.tags, USER_DEFINED_RAY_KEY: run.tags[tags.DEMAND]})
            request = RunRequest(run.run_id, revision, cores)
            self._launch_ray_job(_job(run), request.command(code_version()), asks)
        except Exception as error:
            if not self._is_there(run):
                # The queue tries again later.
                raise internals.DagsterUserCodeUnreachableError(f"the run cannot be given to Ray: {error}") from error

    def _is_there(self, run: DagsterRun) -> bool:
        """Whether Ray has the run's job: its answer may have been lost."""
        with suppress(Exception):
            self.client.get_job_info(_job(run))
            return True
        return False

    def forget_ended_jobs(self, now_s: float) -> int:
        """Ray keeps all jobs in its head's memory until they are deleted. Return how many were."""
        before_ms = (now_s - KEEP_S) * 1000
        jobs = self.client.list_jobs()
        ended = [
            job.submission_id for job in jobs
            if job.submission_id and job.status.is_terminal() and job.end_time and job.end_time < before_ms
        ]  # fmt: skip
        for job in ended:
            self.client.delete_job(job)
        return len(ended)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is not None and run.job_name in AT_CONTROL:
            return self._here.terminate(run_id)
        return bool(super().terminate(run_id))

    def check_run_worker_health(self, run: DagsterRun) -> internals.CheckRunHealthResult:
        if run.job_name in AT_CONTROL:
            return self._here.check_run_worker_health(run)
        try:
            health: internals.CheckRunHealthResult = super().check_run_worker_health(run)
        except Exception as error:
            health = internals.CheckRunHealthResult(internals.WorkerStatus.UNKNOWN, str(error))
        if health.status is not internals.WorkerStatus.UNKNOWN:
            return health
        if UNKNOWN in (health.msg or ""):
            problem = f"Ray has no job {_job(run)}: its head was restarted"
            return internals.CheckRunHealthResult(internals.WorkerStatus.NOT_FOUND, problem)
        return internals.CheckRunHealthResult(internals.WorkerStatus.RUNNING, f"Ray does not answer: {health.msg}")


def _job(run: DagsterRun) -> str:
    return str(get_job_submission_id_from_run_id(run.run_id))
