"""Run launcher that starts runs through the runner, and notices when a run's process is gone.

`DefaultRunLauncher` learns of a dead worker from the code server that started it. When both died (reboot, container
killed), the run would stay STARTED for ever. Run monitoring calls this launcher instead.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DefaultRunLauncher, deserialize_value

from mps_dagster.orchestration import internals
from mps_dagster.orchestration.runner import start_run
from mps_dagster.settings import Settings

DEFINITIONS = "mps_dagster.definitions"
CLOCKS_DIFFER_S = 2
"""/proc has the boot time in whole seconds."""


class CheckingRunLauncher(DefaultRunLauncher):
    """For one host, where the process of a run can be checked."""

    @classmethod
    def from_config_value(cls, inst_data: internals.ConfigurableClassData, config_value: Any) -> Any:
        """As dagster.yaml names it: with `MPS_CLUSTER=ray`, that of the cluster."""
        settings = Settings()
        if settings.cluster != "ray":
            return super().from_config_value(inst_data, config_value)
        from mps_dagster.orchestration.ray_launcher import RayLauncher

        return RayLauncher(settings, inst_data)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def launch_run(self, context: internals.LaunchRunContext) -> None:
        """Through the runner, if it is up and has the run's code; else through the code server."""
        run = context.dagster_run
        if not (_is_ours(run) and start_run(Settings().dagster_home, run.run_id)):
            super().launch_run(context)

    def check_run_worker_health(self, run: DagsterRun) -> internals.CheckRunHealthResult:
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is not None:
            with suppress(internals.DagsterUserCodeUnreachableError):
                reply = client.can_cancel_execution(internals.CanCancelExecutionRequest(run_id=run.run_id), timeout=5)
                if deserialize_value(reply, internals.CanCancelExecutionResult).can_cancel:
                    return internals.CheckRunHealthResult(internals.WorkerStatus.RUNNING)
        # The code server is gone or was replaced: the worker itself may live on.
        worker = _worker(self._instance, run.run_id)
        if worker is None or worker.alive:
            return internals.CheckRunHealthResult(internals.WorkerStatus.RUNNING)
        return internals.CheckRunHealthResult(
            internals.WorkerStatus.NOT_FOUND, msg=f"the run's process {worker.pid} is gone"
        )

    def terminate(self, run_id: str) -> bool:
        """Also a run that the code server does not know: one of the runner, or of an earlier code server."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if internals.GRPC_INFO_TAG in run.tags:
            with suppress(internals.DagsterUserCodeUnreachableError, internals.DagsterUserCodeProcessError):
                if super().terminate(run_id):  # type: ignore[no-untyped-call]
                    return True
        else:
            self._instance.report_run_canceling(run)
        worker = _worker(self._instance, run_id)
        if worker is None or not worker.alive:
            return False
        # As the code server does.
        os.kill(worker.pid, signal.SIGINT)
        return True


@dataclass(frozen=True, slots=True)
class RunProcess:
    """The process that a run reported as its own."""

    pid: int
    reported_s: float
    """Unix seconds."""

    @property
    def alive(self) -> bool:
        """Process ids are reused, in a container soon: a process that started after the report is another one."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        started_s = _started_s(self.pid)
        return started_s is None or started_s < self.reported_s + CLOCKS_DIFFER_S


def _is_ours(run: DagsterRun) -> bool:
    """Whether the runner has the run's code; a workspace may hold other projects, too."""
    if run.job_code_origin is None:
        return False
    pointer = run.job_code_origin.get_repo_pointer()
    ours = isinstance(pointer, internals.ModuleCodePointer) and pointer.module == DEFINITIONS
    return ours and run.job_code_origin.executable_path == sys.executable


def _worker(instance: DagsterInstance, run_id: str) -> RunProcess | None:
    """None until the process has reported itself (the start timeout covers that)."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if (
            event is None
            or event.step_key is not None
            or not isinstance(event.event_specific_data, internals.EngineEventData)
        ):
            continue
        if pid := event.event_specific_data.metadata.get("pid"):
            return RunProcess(int(str(pid.value)), entry.timestamp)
    return None


def _started_s(pid: int) -> float | None:
    """When a process was started, in seconds since 1970; None where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    # Field 22; the second is the program's name in parentheses and may hold spaces.
    ticks = int(stat.rpartition(")")[2].split()[19])
    return int(booted[1]) + ticks / os.sysconf("SC_CLK_TCK") if booted else None
