"""How a run's steps are run: a process each, forked from a server that has everything imported already."""

from __future__ import annotations

import dagster as dg

PRELOADED = (
    "mps_dagster.definitions",
    # What a step process would import on top, 0.4 s of CPU each time; PYTHONPROFILEIMPORTTIME=1 shows what is left.
    "dagster._core.execution.api",
    "dagster._core.execution.plan.execute_plan",
    "dagster._core.executor.child_process_executor",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
    "dagster._core.storage.local_compute_log_manager",
    "sqlalchemy.dialects.sqlite",
    "alembic.config",
    "av",
    "PIL.Image",
)


def subtask_executor(cores: int) -> dg.ExecutorDefinition:
    """As many subtasks at once as there are cores."""
    return dg.multiprocess_executor.configured(
        {"max_concurrent": cores, "start_method": {"forkserver": {"preload_modules": list(PRELOADED)}}}
    )
