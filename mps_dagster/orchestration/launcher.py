"""Run launcher that notices when a run's process is gone.

`DefaultRunLauncher` learns of a dead worker from the code server that started it. When both died (reboot, container
killed) nobody tells, and the run would stay STARTED for ever. Run monitoring asks this one.
"""

from __future__ import annotations

import os
from contextlib import suppress

from dagster import DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class CheckingRunLauncher(DefaultRunLauncher):
    """For one host: workers are processes that can be looked for."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is not None:
            with suppress(DagsterUserCodeUnreachableError):
                reply = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=5)
                if deserialize_value(reply, CanCancelExecutionResult).can_cancel:
                    return CheckRunHealthResult(WorkerStatus.RUNNING)
        # The code server is gone, or another one: the worker itself may live on.
        pid = _worker_pid(self._instance, run.run_id)
        if pid is None or _alive(pid):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, msg=f"the run's process {pid} is gone")


def _worker_pid(instance: DagsterInstance, run_id: str) -> int | None:
    """The process that the run says it is; None before it said so (the start timeout covers that)."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or event.step_key is not None or not isinstance(event.event_specific_data, EngineEventData):
            continue
        if pid := event.event_specific_data.metadata.get("pid"):
            return int(str(pid.value))
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
