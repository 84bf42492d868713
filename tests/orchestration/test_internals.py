"""What we rely on of Dagster beyond its public API. After an upgrade, what fails here has to be looked at, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import re
import signal
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage

from mps_dagster.orchestration import internals

PACKAGE = Path(internals.__file__).parent.parent

CALLS = {
    "AssetGraph.from_assets": "assets",
    "PartitionBackfill.from_asset_partitions": "backfill_id asset_graph partition_names asset_selection backfill_timestamp tags dynamic_partitions_store all_partitions title description run_config",
    "make_new_backfill_id": "",
    "ActiveExecution": "execution_plan retry_mode sort_key_fn max_concurrent instance_concurrency_context",
    "ActiveExecution._update": "",
    "ActiveExecution.check_for_interrupts": "",
    "ActiveExecution.concurrency_event_iterator": "plan_context",
    "ActiveExecution.get_known_state": "",
    "ActiveExecution.get_step_by_key": "step_key",
    "ActiveExecution.get_steps_to_execute": "limit",
    "ActiveExecution.handle_event": "dagster_event",
    "ActiveExecution.mark_interrupted": "",
    "ActiveExecution.plan_events_iterator": "job_context",
    "ActiveExecution.sleep_interval": "",
    "ActiveExecution.verify_complete": "job_context step_key",
    "CapturedLogContext": "log_key",
    "CheckRunHealthResult": "status msg",
    "ConfigurableClass.config_type": "",
    "ConfigurableClass.from_config_value": "inst_data config_value",
    "DagsterSqliteStorage": "base_dir inst_data",
    "DagsterDaemonController": "workspace_process_context daemons",
    "DagsterDaemonController.check_daemon_loop": "",
    "DagsterDaemonController.check_daemon_threads": "",
    "EventLogConsumerDaemon": "",
    "EventLogConsumerDaemon.run_iteration": "workspace_process_context",
    "EngineEventData.engine_error": "error",
    "EngineEventData.in_process": "pid",
    "EngineEventData.interrupted": "steps_interrupted",
    "EngineEventData.multiprocess": "pid step_keys_to_execute",
    "ExecutionPlan.build": "job_def resolved_run_config step_keys_to_execute known_state repository_load_data",
    "GrpcServerCodeLocationOrigin": "host port socket location_name",
    "GrpcServerCodeLocationOrigin.create_client": "",
    "InstanceConcurrencyContext": "instance dagster_run",
    "LocalComputeLogManager": "base_dir inst_data",
    "LocalComputeLogManager.capture_logs": "log_key",
    "LocalComputeLogManager.complete_artifact_path": "log_key",
    "LocalComputeLogManager.get_captured_local_path": "log_key extension",
    "PartitionBackfill": "asset_selection asset_backfill_data",
    "PlanOrchestrationContext.for_step": "step",
    "QueuedRunCoordinatorDaemon": "interval_seconds",
    "QueuedRunCoordinatorDaemon.core_loop": "workspace_process_context shutdown_event",
    "QueuedRunCoordinatorDaemon.daemon_type": "",
    "QueuedRunCoordinatorDaemon.run_iteration": "workspace_process_context",
    "QueuedRunCoordinatorDaemon._priority_sort": "runs",
    "ReconstructableJob": "repository job_name",
    "ReconstructableJob.get_definition": "",
    "ReconstructableRepository": "pointer",
    "ResolvedRunConfig.build": "job_def run_config",
    "SensorDaemon": "settings",
    "SensorDaemon.core_loop": "workspace_process_context shutdown_event",
    "SensorDaemon.daemon_type": "",
    "SerializableErrorInfo": "message stack cls_name",
    "SerializableErrorInfo.to_string": "",
    "SqliteEventLogStorage": "base_dir",
    "SqliteEventLogStorage._connect": "shard",
    "SqliteEventLogStorage._initdb": "engine for_index_shard",
    "SqliteEventLogStorage.conn_string_for_shard": "shard_name",
    "SqliteEventLogStorage.has_table": "table_name",
    "SqliteRunStorage": "conn_string inst_data",
    "SqliteRunStorage.connect": "",
    "SqliteRunStorage.from_local": "base_dir inst_data",
    "SqliteScheduleStorage": "conn_string inst_data",
    "SqliteScheduleStorage.connect": "",
    "SqliteScheduleStorage.from_local": "base_dir inst_data",
    "QueuedRunCoordinatorDaemon._get_in_progress_run_records": "instance",
    "QueuedRunCoordinatorDaemon._get_runs_to_dequeue": "instance",
    "WorkspaceProcessContext": "instance workspace_load_target",
    "WorkspaceProcessContext.get_current_workspace": "",
    "CustomPointer": "reconstructor_pointer reconstructable_args reconstructable_kwargs",
    "configure_loggers": "handler log_level",
    "core_execute_run": "recon_job dagster_run instance inject_env_vars",
    "auto_reexecution_should_retry_run": "instance run run_failure_reason",
    "create_daemon_of_type": "daemon_type instance",
    "create_db_conn_string": "base_dir db_name",
    "execute_plan_iterator": "execution_plan job dagster_run instance retry_mode run_config",
    "get_run_crash_explanation": "prefix exit_code",
    "redirect_to_file": "stream filepath",
    "setup_interrupt_handlers": "",
    "retry_run": "failed_run workspace_context",
    "serializable_error_info_from_exc_info": "exc_info",
    "should_retry": "run instance",
}
"""Parameters by which we call, or which we override."""

ATTRIBUTES = {
    "ActiveExecution": "is_complete",
    "BulkActionStatus": "REQUESTED",
    "ExecutionStep": "key tags",
    "BulkActionsFilter": "statuses",
    "CanCancelExecutionRequest": "run_id",
    "CanCancelExecutionResult": "can_cancel",
    "CheckRunHealthResult": "status msg",
    "DagsterDaemonController": "_daemon_uuid _instance _logger",
    "EngineEventData": "metadata error",
    "ExecutionPlan": "repository_load_data step_keys_to_execute",
    "JobFailureData": "failure_reason",
    "LaunchRunContext": "dagster_run",
    "ModuleCodePointer": "module",
    "PlanOrchestrationContext": "reconstructable_job instance dagster_run",
    "RemoteSensor": "name tags min_interval_seconds",
    "RetryMode": "ENABLED for_inner_plan",
    "RunFailureReason": "STEP_FAILURE JOB_INITIALIZATION_FAILURE",
    "SerializableErrorInfo": "cls_name message cause",
    "SpanMarker": "START_SPAN END_SPAN",
    "WorkerStatus": "RUNNING NOT_FOUND UNKNOWN",
}
"""What we read of them."""

NAMES_ONLY = {
    "ConfigurableClassData", "DagsterStorage", "DagsterUserCodeProcessError", "DagsterUserCodeUnreachableError", "GRPC_INFO_TAG", "PRIORITY_TAG", "INDEX_SHARD_NAME",
    "DaemonIterator", "InstanceRef", "KnownExecutionState", "RepositoryLoadData", "SQLITE_BUSY_TIMEOUT_SECONDS",
    "ComputeIOType", "SubmitRunContext", "Workspace", "WorkspaceFileTarget", "capture_interrupts",
}  # fmt: skip
"""Handed on, raised or caught, or with a test below."""

PUBLIC = {"Any", "dg", "math", "time", "contextmanager", "suppress", "Callable", "Iterator", "Mapping", "Sequence"}
"""What the module imports that is not Dagster's own."""


def resolve(path: str) -> object:
    value: object = internals
    for part in path.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(("path", "parameters"), CALLS.items(), ids=list(CALLS))
def test_dagster_takes_what_we_pass(path, parameters):
    """By these names, in this order as far as we pass them by position."""
    taken = list(inspect.signature(resolve(path)).parameters)
    missing = [name for name in parameters.split() if name not in taken]
    assert not missing, f"{path} takes {taken}, no more {missing}"


@pytest.mark.parametrize(("name", "attributes"), ATTRIBUTES.items(), ids=list(ATTRIBUTES))
def test_dagster_s_values_have_what_we_read(name, attributes):
    """As fields or as properties."""
    kind = resolve(name)
    known = {*dir(kind), *vars(kind), *getattr(kind, "__annotations__", ())}
    missing = [attribute for attribute in attributes.split() if attribute not in known]
    assert not missing, f"{name} has no more {missing}"


def test_every_name_is_used_and_has_a_test():
    """Unused imports are removed; used ones are listed here."""
    modules = [path for path in (PACKAGE / "orchestration").glob("*.py") if path.name != "internals.py"]
    wrappers = [value for value in vars(internals).values() if getattr(value, "__module__", "") == internals.__name__]
    text = "".join([*(path.read_text() for path in modules), *map(inspect.getsource, wrappers)])
    ours = {"PRELOADED", *PUBLIC, *(wrapper.__name__ for wrapper in wrappers)}
    names = {name for name in vars(internals) if not name.startswith("_")} - ours
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)] == []
    assert names == {path.partition(".")[0] for path in (*CALLS, *ATTRIBUTES)} | NAMES_ONLY


def test_no_other_module_imports_them():
    """Ruff says so, too; an upgrade breaks in one place."""
    private = re.compile(r"^\s*(from|import) (dagster\._|dagster_shared)|import_module\(.dagster\._", re.MULTILINE)
    importers = [path.name for path in PACKAGE.rglob("*.py") if private.search(path.read_text())]
    assert importers == ["internals.py"]


@pytest.mark.parametrize("module", internals.PRELOADED)
def test_what_the_runner_preloads_is_there(module):
    """Else it would not start."""
    importlib.import_module(module)


def test_an_interrupt_waits_while_it_is_captured():
    """A step ends its ffmpeg before it raises."""
    # A shell's background job, as the tests may be one, has it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with internals.capture_interrupts():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_step_in_a_worker_leaves_its_retry_to_the_run_s_process():
    """Which waits for the right time, while the worker does something else."""
    assert internals.RetryMode.ENABLED.for_inner_plan() is internals.RetryMode.DEFERRED


def launched_by(socket: Path) -> dg.DagsterRun:
    """A run of the code server at this socket."""
    server = internals.GrpcServerCodeLocationOrigin(host="localhost", socket=str(socket), location_name="mps_dagster")
    job = RemoteJobOrigin(repository_origin=RemoteRepositoryOrigin(server, "__repository__"), job_name="backfill")
    return dg.DagsterRun(job_name="backfill", remote_job_origin=job)


def test_the_code_server_that_launched_a_run_is_told_to_load_the_files(instance, tmp_path, monkeypatch):
    """With as much time as Dagster's own web server gives it."""
    client = Mock()
    monkeypatch.setattr(internals.GrpcServerCodeLocationOrigin, "create_client", lambda _: client)
    internals.reload_code(instance, launched_by(tmp_path / "socket"))
    client.reload_code.assert_called_once_with(timeout=instance.code_server_reload_timeout)


def test_a_code_server_that_is_gone_needs_no_reload(instance, tmp_path):
    """Nor does a run that no code server launched."""
    internals.reload_code(instance, launched_by(tmp_path / "gone"))
    internals.reload_code(instance, dg.DagsterRun(job_name="backfill"))


def test_what_is_printed_goes_to_the_file(tmp_path):
    """Also what a child process prints."""
    with (tmp_path / "out").open("w") as stream:
        with internals.redirect_to_file(stream, str(tmp_path / "log")):
            stream.write("said")
            stream.flush()
        stream.write("later")
    assert [(tmp_path / name).read_text() for name in ("log", "out")] == ["said", "later"]


def test_an_error_is_held_with_its_class_and_its_cause():
    """By which the executor tells an interruption from a failure, and a step's failure its reason."""
    with pytest.raises(KeyError) as caught:
        raise KeyError("the error") from ValueError("the cause")
    error = internals.serializable_error_info_from_exc_info((caught.type, caught.value, caught.tb))
    assert (error.cls_name, error.cause.cls_name) == ("KeyError", "ValueError")
    assert "the cause" in error.cause.message


def test_a_process_says_its_number():
    """By which the launcher looks for it."""
    assert internals.EngineEventData.in_process(4711).metadata["pid"].value == "4711"


def test_a_crash_is_explained_with_its_signal():
    """`control.causes` reads it."""
    assert "terminated by signal 9 (SIGKILL)" in internals.get_run_crash_explanation("Run", -9)
    assert "exited with code 3" in internals.get_run_crash_explanation("Run", 3)


def test_records_in_sqlite_lie_where_they_always_did(tmp_path):
    """An upgrade that moves them needs more than new code."""
    folders = [Path(folder).relative_to(tmp_path) for folder in internals.sqlite_folders(str(tmp_path))]
    assert [str(folder) for folder in folders] == ["history", "history/runs", "schedules"]
    assert internals.create_db_conn_string(str(tmp_path), "runs") == f"sqlite:///{tmp_path}/runs.db"


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        (internals.DagsterSqliteStorage, {"base_dir", "_inst_data", "_run_storage", "_event_log_storage", "_schedule_storage"}),
        (internals.SqliteEventLogStorage, {"_db_lock", "_initialized_dbs"}),
        (internals.SqliteRunStorage, {"_conn_string"}),
        (internals.SqliteScheduleStorage, {"_conn_string"}),
        (PostgresRunStorage, {"_engine"}),
        (PostgresEventLogStorage, {"_engine"}),
        (PostgresScheduleStorage, {"_engine"}),
    ],
)  # fmt: skip
def test_storages_keep_in_private_what_we_replace(kind, attributes):
    """Their connections, above all."""
    missing = attributes - set(kind.__init__.__code__.co_names)
    assert not missing, f"{kind.__name__} sets no more {missing}"


def test_our_sqlite_storage_sets_all_that_dagster_s_sets():
    """It does not call its `__init__`, which would open all three databases again."""
    source = inspect.getsource(internals.DagsterSqliteStorage.__init__)
    assert set(re.findall(r"self\.(\w+) =", source)) == {
        "base_dir", "_inst_data", "_run_storage", "_event_log_storage", "_schedule_storage",
    }  # fmt: skip


def test_a_launcher_and_an_executor_have_what_ours_call():
    """Without an underscore they may be, but nobody documents them."""
    assert "run_id" in inspect.signature(dg.DefaultRunLauncher._get_grpc_client_for_termination).parameters
    assert hasattr(dg.DefaultRunLauncher, "_instance")
    retried = inspect.signature(dg.Executor.log_failure_or_retry_event_after_error).parameters
    assert list(retried) == ["self", "step_context", "err_info", "known_state"]
    assert callable(dg.OpExecutionContext.get_step_execution_context)


def test_the_sensor_loop_asks_whether_a_sensor_is_to_tick():
    """Before it hands it to a thread, and in that thread; we decide it."""
    from dagster._daemon import sensor

    assert list(inspect.signature(sensor.is_under_min_interval).parameters)[:2] == ["state", "remote_sensor"]
    for function in (sensor.execute_sensor_iteration, sensor._process_tick_generator):
        assert re.search(r"is_under_min_interval\(sensor_state, (remote_)?sensor\)", inspect.getsource(function))
    assert "shutdown_event.wait(sleep_time)" in inspect.getsource(sensor.execute_sensor_iteration_loop)
