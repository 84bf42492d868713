"""The parts of the Dagster instance that our settings decide; dagster.yaml, which stays one static file, names them.

Every process of Dagster makes them anew from the environment, so that a password is in no file and in no list of processes.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from mps_dagster.control import tags
from mps_dagster.orchestration.database import SqliteRecords, postgresql_records
from mps_dagster.settings import Settings


class Storage(DagsterStorage, ConfigurableClass):
    """Dagster's runs, events and schedules: PostgreSQL if `MPS_DATABASE_URL` names one, or SQLite in the home."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> DagsterStorage:  # type: ignore[override]  # noqa: ARG003
        settings = Settings()
        if settings.database_url is None:
            # Not DAGSTER_HOME, which may be set in a shell for something else.
            return SqliteRecords(str(settings.dagster_home), inst_data)
        return postgresql_records(settings.sqlalchemy_url, inst_data)


class StepLogs(LocalComputeLogManager):
    """What a step prints, in a file of its own, which the UI shows. In no other place.

    Stock copies it to the server's own output, too, by four more processes a step (two of them Python): 0.15 CPU-seconds.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> StepLogs:  # noqa: ARG003
        return cls(str(Settings().dagster_home / "storage"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        stdout, stderr = (self.get_captured_local_path(log_key, kind) for kind in ("out", "err"))
        Path(stdout).parent.mkdir(parents=True, exist_ok=True)
        with redirect_to_file(sys.stdout, stdout), redirect_to_file(sys.stderr, stderr):
            yield CapturedLogContext(log_key)
        # By this the UI knows that there will be no more.
        Path(self.complete_artifact_path(log_key)).touch()  # type: ignore[no-untyped-call]


class RunQueue(QueuedRunCoordinator):
    """Dagster's own queue, its limits from `MPS_MAX_RUNS` and `MPS_MAX_BACKFILL_RUNS`."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> RunQueue:
        settings = Settings()
        limits = [
            {"key": tags.BACKFILL, "limit": settings.backfill_runs},
            # Two plans at once would ask for the same.
            {"key": tags.PLANS, "limit": 1, "value": {"applyLimitPerUniqueValue": True}},
        ]
        return cls(
            inst_data=inst_data, max_concurrent_runs=settings.max_runs, tag_concurrency_limits=limits, **config_value
        )
