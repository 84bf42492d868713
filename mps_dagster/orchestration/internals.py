"""All that we use of Dagster beyond its public API, and what for: an upgrade that changes it breaks here.

tests/orchestration/test_internals.py says for each what we rely on; ruff keeps other modules from importing it.
"""

import dagster as dg

# How the launcher knows whether a run's code is ours.
from dagster._core.code_pointer import ModuleCodePointer as ModuleCodePointer

# A job that a worker process can load anew.
from dagster._core.definitions.reconstruct import ReconstructableJob as ReconstructableJob
from dagster._core.definitions.repository_definition import RepositoryLoadData as RepositoryLoadData

# What a launcher raises when a code server is gone, or refuses to terminate a run.
from dagster._core.errors import DagsterUserCodeProcessError as DagsterUserCodeProcessError
from dagster._core.errors import DagsterUserCodeUnreachableError as DagsterUserCodeUnreachableError

# Events of a run that are not a step's: processes that start, end and are interrupted.
from dagster._core.events import EngineEventData as EngineEventData

# Runs one step in a worker process.
from dagster._core.execution.api import execute_plan_iterator as execute_plan_iterator

# Backfills that are under way.
from dagster._core.execution.backfill import BulkActionsFilter as BulkActionsFilter
from dagster._core.execution.backfill import BulkActionStatus as BulkActionStatus
from dagster._core.execution.backfill import PartitionBackfill as PartitionBackfill

# Sends what a step prints to a file.
from dagster._core.execution.compute_logs import redirect_to_file as redirect_to_file

# What an executor is given, and keeps account with of steps that wait, run, fail and are tried again.
from dagster._core.execution.context.system import PlanOrchestrationContext as PlanOrchestrationContext
from dagster._core.execution.plan.active import ActiveExecution as ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import (
    InstanceConcurrencyContext as InstanceConcurrencyContext,
)
from dagster._core.execution.plan.plan import ExecutionPlan as ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState as KnownExecutionState
from dagster._core.execution.retries import RetryMode as RetryMode

# An instance as a worker process opens it again.
from dagster._core.instance import InstanceRef as InstanceRef

# What a launcher is asked by run monitoring, and answers.
from dagster._core.launcher.base import CheckRunHealthResult as CheckRunHealthResult
from dagster._core.launcher.base import LaunchRunContext as LaunchRunContext
from dagster._core.launcher.base import WorkerStatus as WorkerStatus
from dagster._core.origin import JobPythonOrigin

# Runs, events and schedules of an instance: in PostgreSQL, or in SQLite over connections that we keep.
from dagster._core.storage.base_storage import DagsterStorage as DagsterStorage

# Where steps' logs lie.
from dagster._core.storage.compute_log_manager import CapturedLogContext as CapturedLogContext

# Events in SQLite, one database for each run and one for all.
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME as INDEX_SHARD_NAME
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage as SqliteEventLogStorage

# Logs as local files.
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager as LocalComputeLogManager

# Runs and schedules in SQLite, and the three storages together.
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage as SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import (
    SqliteScheduleStorage as SqliteScheduleStorage,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS as SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite import create_db_conn_string as create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage as DagsterSqliteStorage
from dagster._core.storage.sqlite_storage import _event_logs_directory, _runs_directory, _schedule_directory

# On a run that a code server started: where that is.
from dagster._core.storage.tags import GRPC_INFO_TAG as GRPC_INFO_TAG

# A run's config as its steps take it; resolved once for all of them.
from dagster._core.system_config.objects import ResolvedRunConfig as ResolvedRunConfig
from dagster._grpc.impl import core_execute_run

# Whether a code server has a run's process.
from dagster._grpc.types import CanCancelExecutionRequest as CanCancelExecutionRequest
from dagster._grpc.types import CanCancelExecutionResult as CanCancelExecutionResult

# What dagster.yaml can name.
from dagster._serdes import ConfigurableClass as ConfigurableClass
from dagster._serdes import ConfigurableClassData as ConfigurableClassData

# The text about a process that died, by its exit code.
from dagster._utils import get_run_crash_explanation as get_run_crash_explanation

# An error as an event holds it.
from dagster._utils.error import serializable_error_info_from_exc_info as serializable_error_info_from_exc_info
from dagster._utils.hosted_user_process import recon_job_from_origin

# A termination waits until Dagster raises it in a step.
from dagster._utils.interrupts import capture_interrupts as capture_interrupts
from dagster_shared.error import SerializableErrorInfo as SerializableErrorInfo

PRELOADED = ("dagster._core.executor.child_process_executor", "dagster._core.storage.legacy_storage")
"""What a run imports on top of what is imported here."""


def execute_run(origin: JobPythonOrigin, run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """All of a run, as the code server's process for it does. `origin` is where its job is."""
    for _ in core_execute_run(recon_job_from_origin(origin), run, instance, inject_env_vars=True):
        pass


def sqlite_folders(home: str) -> tuple[str, str, str]:
    """Where Dagster keeps runs, events and schedules in SQLite."""
    return _runs_directory(home), _event_logs_directory(home), _schedule_directory(home)
