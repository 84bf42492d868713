"""Everything we use of Dagster beyond its public API, and what for: an upgrade that changes it breaks here.

tests/orchestration/test_internals.py checks what we rely on; ruff keeps other modules from importing Dagster's internals.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

# Executor: its arguments, and the bookkeeping of steps that wait, run, fail and are retried.
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import RetryMode

# Workers: a job and an instance that another process can open, and the execution of one step.
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.definitions.repository_definition import RepositoryLoadData
from dagster._core.execution.api import execute_plan_iterator
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.instance import InstanceRef
from dagster._core.system_config.objects import ResolvedRunConfig

# Processes of a run: reports to its event log, and interrupts.
from dagster._core.events import EngineEventData
from dagster._utils import get_run_crash_explanation
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster._utils.interrupts import capture_interrupts
from dagster_shared.error import SerializableErrorInfo

# Runner: the execution of a whole run, as in the code server's process.
from dagster._core.code_pointer import CustomPointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._grpc.impl import core_execute_run

# Launcher: which code a run uses, health checks by run monitoring, and answers of a code server.
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeProcessError, DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG, PRIORITY_TAG
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

# Queue: what it is given with a run.
from dagster._core.run_coordinator.base import SubmitRunContext

# Instance: classes that dagster.yaml can name, and the logs of steps.
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData

# Database: storages of runs, events and schedules.
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage, _event_logs_directory, _runs_directory, _schedule_directory,
)  # fmt: skip

# Daemon: its threads, and the signs of life of all daemons of an instance.
from dagster._core.workspace.context import IWorkspaceProcessContext as Workspace
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._core.remote_representation.external import RemoteSensor
from dagster._daemon import sensor as _sensor_loop
from dagster._daemon.controller import DagsterDaemonController, create_daemon_of_type
from dagster._daemon.daemon import DaemonIterator, SensorDaemon, SpanMarker
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster._utils.log import configure_loggers

# Retries: whether and how Dagster runs a run again, and the daemon threads that do it.
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import retry_run, should_retry
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon

# Backfills: listing and queueing them, and the code server whose files they are of.
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.utils import make_new_backfill_id

PRELOADED = ("dagster._core.executor.child_process_executor", "dagster._core.storage.legacy_storage")
"""Modules that a run imports besides those above."""


class HoldingExecution(ActiveExecution):
    """The bookkeeping of steps, where some that are ready can be held back."""

    def __init__(self, plan: ExecutionPlan, retry_mode: RetryMode, **options: Any) -> None:
        self.held: set[str] = set()
        super().__init__(plan, retry_mode, sort_key_fn=self._place, **options)

    def ready(self) -> list[str]:
        """Keys of the steps that may begin now."""
        # Takes in what has ended since.
        self._update()
        return list(self._executable)

    def unfinished(self) -> set[str]:
        """Keys of the steps that may begin now, that run, and that will be retried."""
        return {*self._executable, *self._in_flight, *self._waiting_to_retry}

    def sleep_interval(self) -> float:
        # Without types.
        interval: Any = super().sleep_interval
        return float(interval())

    def _place(self, step: ExecutionStep) -> float:
        return math.inf if step.key in self.held else -priority(step)


def priority(step: ExecutionStep) -> int:
    return int(step.tags.get(PRIORITY_TAG, 0))


def execute_run(
    run: dg.DagsterRun, instance: dg.DagsterInstance, definitions: Callable[..., dg.Definitions], *args: Any
) -> None:
    """Execute a whole run, as the code server's process for it does, with the definitions that the function returns."""
    for _ in core_execute_run(job_of(run, definitions, *args), run, instance, inject_env_vars=True):
        pass


def job_of(run: dg.DagsterRun, definitions: Callable[..., dg.Definitions], *args: Any) -> ReconstructableJob:
    """The run's job, of the definitions that the function returns."""
    pointer = CustomPointer(ModuleCodePointer(definitions.__module__, definitions.__name__), args, [])
    return ReconstructableJob(ReconstructableRepository(pointer), run.job_name)


def sqlite_folders(home: str) -> tuple[str, str, str]:
    """Where Dagster keeps runs, events and schedules in SQLite."""
    return _runs_directory(home), _event_logs_directory(home), _schedule_directory(home)


def add_backfill(
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetsDefinition],
    selection: Sequence[dg.AssetKey],
    partitions: Sequence[str],
    *,
    title: str,
    tags: Mapping[str, str],
) -> str:
    """Queue a backfill for Dagster's daemon, as its web server does; return the id. `assets` are all of the workflow's."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=make_new_backfill_id(), asset_graph=AssetGraph.from_assets(assets), partition_names=partitions,
        asset_selection=selection, backfill_timestamp=time.time(), tags=tags, dynamic_partitions_store=instance,
        all_partitions=False, title=title, description=None, run_config=None,
    )  # fmt: skip
    instance.add_backfill(backfill)
    return backfill.backfill_id


def reload_code(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Have the code server that launched the run load the project's files again; daemon and web server follow it.

    One that is gone needs no reload: its successor loads the files as they are. A run in a test has none.
    """
    origin = run.remote_job_origin and run.remote_job_origin.repository_origin.code_location_origin
    if isinstance(origin, GrpcServerCodeLocationOrigin):
        with suppress(DagsterUserCodeUnreachableError):
            origin.create_client().reload_code(timeout=instance.code_server_reload_timeout)


@contextmanager
def sensor_intervals(rests: Callable[[RemoteSensor, float], bool]) -> Iterator[None]:
    """Decide in place of Dagster's sensor loop whether a sensor is not to tick yet, by the seconds since its last tick began."""

    def is_under_min_interval(state: object, remote_sensor: RemoteSensor, *_: object) -> bool:
        elapsed_s = _sensor_loop.get_elapsed(state)  # type: ignore[arg-type]
        return elapsed_s is not None and rests(remote_sensor, elapsed_s)

    original = _sensor_loop.is_under_min_interval
    _sensor_loop.is_under_min_interval = is_under_min_interval  # type: ignore[assignment]
    try:
        yield
    finally:
        _sensor_loop.is_under_min_interval = original
