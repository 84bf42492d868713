"""How a run's steps are run: a process each, forked from a server that has everything imported already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from functools import cache
from multiprocessing.process import BaseProcess

import dagster as dg

from mps_dagster.settings import Settings

PRELOADED = (
    "mps_dagster.definitions",
    "mps_dagster.orchestration.instance",
    # What a step process would import on top, 0.4 s of CPU each time; PYTHONPROFILEIMPORTTIME=1 shows what is left.
    "dagster._core.execution.api",
    "dagster._core.execution.plan.execute_plan",
    "dagster._core.executor.child_process_executor",
    "dagster._core.storage.local_compute_log_manager",
    "alembic.config",
    "av",
    "PIL.Image",
)
SQLITE = (
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
    "sqlalchemy.dialects.sqlite",
)
POSTGRESQL = ("dagster_postgres.storage", "psycopg2", "sqlalchemy.dialects.postgresql.psycopg2")

ENDING_S = 10
"""How long a step may take to end its ffmpeg and to remove what it has begun."""


def subtask_executor(settings: Settings) -> dg.ExecutorDefinition:
    """As many subtasks at once as there are cores."""
    modules = [*PRELOADED, *(POSTGRESQL if settings.database_url else SQLITE)]
    return dg.multiprocess_executor.configured(
        {"max_concurrent": settings.cores, "start_method": {"forkserver": {"preload_modules": modules}}}
    )


def end_with_the_run(context: dg.OpExecutionContext) -> None:
    """From now on this step ends when its run does, however that ends; fail if it was told to end already.

    The executor forwards a termination to the steps that have a process, and to no other: one that was just about to
    get it would go on for as long as it takes, and publish for a run that was canceled.
    """
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None and (run.is_finished or run.status is dg.DagsterRunStatus.CANCELING):
        raise dg.Failure("the run had ended before this step began", allow_retries=False)
    end_with_its_process()


@cache
def end_with_its_process() -> None:
    """Between a run's process and this one stands the forkserver, which ends nobody."""
    run = multiprocessing.parent_process()
    if run is not None:  # Not forked at all: a test.
        threading.Thread(target=_end_after, args=(run,), name="end-with-the-run", daemon=True).start()


def _end_after(run: BaseProcess) -> None:
    run.join()
    # What Dagster's Terminate sends: ffmpeg is ended, drafts are removed.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(ENDING_S)
    os._exit(1)
