"""The parts of the Dagster instance that our settings configure; dagster.yaml, a static file, names them.

Every Dagster process builds them from the environment, so that no file or command line holds a password.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterRun, QueuedRunCoordinator

from mps_dagster.control import tags
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.database import SqliteRecords, postgresql_records
from mps_dagster.orchestration.wakes import QUEUE, wake
from mps_dagster.settings import Settings

MOST_CLUSTER_RUNS = 1000
"""At once, whatever room the hosts have."""


class Storage(internals.DagsterStorage, internals.ConfigurableClass):
    """Dagster's runs, events and schedules: PostgreSQL if `MPS_DATABASE_URL` names one, or SQLite in the home."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls,
        inst_data: internals.ConfigurableClassData | None,
        config_value: Any,  # noqa: ARG003
    ) -> internals.DagsterStorage:
        settings = Settings()
        if settings.database_url is None:
            # Not DAGSTER_HOME, which a shell may have set for something else.
            return SqliteRecords(str(settings.dagster_home), inst_data)
        return postgresql_records(settings.sqlalchemy_url, inst_data)


class StepLogs(internals.LocalComputeLogManager):
    """Writes what a step prints only to a file of its own, which the UI shows.

    Dagster also copies it to the server's output, with four more processes per step: 0.15 CPU-seconds.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: internals.ConfigurableClassData | None, config_value: Any) -> Any:  # noqa: ARG003
        """In a cluster, the logs go to the bucket that all hosts share."""
        settings = Settings()
        folder = str(settings.dagster_home / "storage")
        if not settings.cluster:
            return cls(folder, inst_data=inst_data)
        from mps_dagster.orchestration.shared_logs import SharedLogs

        return SharedLogs(settings, cls(folder), inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[internals.CapturedLogContext, None, None]:
        stdout, stderr = (self.get_captured_local_path(log_key, kind) for kind in ("out", "err"))
        Path(stdout).parent.mkdir(parents=True, exist_ok=True)
        with internals.redirect_to_file(sys.stdout, stdout), internals.redirect_to_file(sys.stderr, stderr):
            yield internals.CapturedLogContext(log_key)
        # Tells the UI that the log is complete.
        Path(self.complete_artifact_path(log_key)).touch()  # type: ignore[no-untyped-call]


class RunQueue(QueuedRunCoordinator):
    """Dagster's run queue with the limits of `MPS_MAX_…RUNS`; wakes the daemon for a new run."""

    _home: Path
    """Dagster's; kept, because reading the settings for each run of a burst takes longer than the message."""

    def submit_run(self, context: internals.SubmitRunContext) -> DagsterRun:
        run = super().submit_run(context)
        wake(self._home, QUEUE)
        return run

    @classmethod
    def from_config_value(cls, inst_data: internals.ConfigurableClassData | None, config_value: Any) -> RunQueue:
        settings = Settings()
        each = {"applyLimitPerUniqueValue": True}
        limits: list[dict[str, Any]] = []
        if settings.cluster != "ray" or settings.max_backfill_runs:
            limits.append({"key": tags.BACKFILL, "limit": settings.backfill_runs})
        # Two backfill plans at once would launch the same uploads.
        limits.append({"key": tags.PLANS, "limit": 1, "value": each})
        if settings.max_account_runs:
            limits.append({"key": tags.ACCOUNT, "limit": settings.max_account_runs, "value": each})
        # With Ray, hosts have room or not (cluster_queue.py).
        most = MOST_CLUSTER_RUNS if settings.cluster == "ray" else settings.max_runs
        queue = cls(inst_data=inst_data, max_concurrent_runs=most, tag_concurrency_limits=limits, **config_value)
        queue._home = settings.dagster_home
        return queue
