"""The parts of the Dagster instance that our settings decide; dagster.yaml, which stays one static file, names them.

Every process of Dagster makes them anew from the environment, so that a password is in no file and in no list of processes.
"""

from __future__ import annotations

from typing import Any

from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from mps_dagster.settings import Settings

BACKFILL_TAG = "dagster/backfill"
PLAN_TAG = "mps/plans"
"""The workflow whose backfill a run plans."""


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
            return DagsterSqliteStorage(str(settings.dagster_home), inst_data)
        from dagster_postgres import DagsterPostgresStorage

        return DagsterPostgresStorage(settings.sqlalchemy_url, should_autocreate_tables=True, inst_data=inst_data)


class RunQueue(QueuedRunCoordinator):
    """Dagster's own queue, its limits from `MPS_MAX_RUNS` and `MPS_MAX_BACKFILL_RUNS`."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> RunQueue:
        settings = Settings()
        limits = [
            {"key": BACKFILL_TAG, "limit": settings.backfill_runs},
            # Two plans at once would ask for the same.
            {"key": PLAN_TAG, "limit": 1, "value": {"applyLimitPerUniqueValue": True}},
        ]
        return cls(
            inst_data=inst_data, max_concurrent_runs=settings.max_runs, tag_concurrency_limits=limits, **config_value
        )
