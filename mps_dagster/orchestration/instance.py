"""The parts of the Dagster instance that our settings decide; dagster.yaml, which stays one static file, names them.

Every process of Dagster makes them anew from the environment, so that a password is in no file and in no list of processes.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import QueuedRunCoordinator

from mps_dagster.control import tags
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.database import SqliteRecords, postgresql_records
from mps_dagster.settings import Settings


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
            # Not DAGSTER_HOME, which may be set in a shell for something else.
            return SqliteRecords(str(settings.dagster_home), inst_data)
        return postgresql_records(settings.sqlalchemy_url, inst_data)


class StepLogs(internals.LocalComputeLogManager):
    """What a step prints, in a file of its own, which the UI shows. In no other place.

    Stock copies it to the server's own output, too, by four more processes a step (two of them Python): 0.15 CPU-seconds.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: internals.ConfigurableClassData | None, config_value: Any) -> StepLogs:  # noqa: ARG003
        return cls(str(Settings().dagster_home / "storage"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[internals.CapturedLogContext, None, None]:
        stdout, stderr = (self.get_captured_local_path(log_key, kind) for kind in ("out", "err"))
        Path(stdout).parent.mkdir(parents=True, exist_ok=True)
        with internals.redirect_to_file(sys.stdout, stdout), internals.redirect_to_file(sys.stderr, stderr):
            yield internals.CapturedLogContext(log_key)
        # By this the UI knows that there will be no more.
        Path(self.complete_artifact_path(log_key)).touch()  # type: ignore[no-untyped-call]


class RunQueue(QueuedRunCoordinator):
    """Dagster's own queue, its limits from `MPS_MAX_RUNS` and `MPS_MAX_BACKFILL_RUNS`."""

    @classmethod
    def from_config_value(cls, inst_data: internals.ConfigurableClassData | None, config_value: Any) -> RunQueue:
        settings = Settings()
        limits = [
            {"key": tags.BACKFILL, "limit": settings.backfill_runs},
            # Two plans at once would ask for the same.
            {"key": tags.PLANS, "limit": 1, "value": {"applyLimitPerUniqueValue": True}},
        ]
        return cls(
            inst_data=inst_data, max_concurrent_runs=settings.max_runs, tag_concurrency_limits=limits, **config_value
        )
