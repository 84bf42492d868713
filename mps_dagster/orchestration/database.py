"""Dagster's own storages, with pooled connections.

Dagster opens a connection and compiles the statement again for each event and each query, and each process loads all of
alembic's migrations for each database only to see that there is nothing to do: a third of a step's time. Here a process
keeps one engine for each database, shared by its instances, and does not check a database that has a schema.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from mps_dagster.orchestration import internals
from mps_dagster.orchestration.retries import DecidesRetries

if TYPE_CHECKING:
    from dagster_postgres import DagsterPostgresStorage

FILES = 16
"""Databases that a process keeps open at most. Each run has one; the web server opens those of the runs it shows."""
CONNECTIONS = 5
"""To one database that a process keeps open: the daemon queues four runs at once. More threads get connections that are closed
after use."""


@dataclass(slots=True)
class _File:
    engine: Engine
    inode: int
    """Of the file that was opened: writes to a file that was removed are lost."""


class _Files:
    """The SQLite databases that this process used last, by path."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._lock = threading.Lock()

    def engine(self, url: str) -> Engine:
        path = url.removeprefix("sqlite:///")
        with self._lock:
            file = self._files.get(path)
            if file is None or file.inode != _inode(path):
                file = self._files[path] = _open(url, path)
            self._files.move_to_end(path)
            while len(self._files) > FILES:
                self._files.popitem(last=False)[1].engine.dispose()
            return file.engine

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                file.engine.dispose()


_FILES = _Files()
_SERVERS: dict[str, Engine] = {}


def close_idle_connections() -> None:
    """Call before a fork, as two processes cannot share a connection; it is opened again when needed.

    Call before a process ends, too: SQLite removes a database's log when its last connection is closed.
    """
    _FILES.close()
    for engine in _SERVERS.values():
        engine.dispose()


SCHEMA_CHECKS = {
    "run_storage": (
        "has_built_index", "has_run_stats_index_cols", "has_bulk_actions_selector_cols", "has_backfill_id_column",
        "has_bulk_action_job_name_column", "has_backfill_tags_table",
    ),
    "event_log_storage": ("has_table", "has_asset_key_col", "_has_asset_key_col_on_connection", "has_secondary_index"),
    "schedule_storage": (
        "has_built_index", "has_secondary_index_table", "has_instigators_table", "_has_instigators_table",
        "_has_asset_daemon_asset_evaluations_table",
    ),
}  # fmt: skip
"""Questions that Dagster's storages ask the database over and over: what is there stays there."""
_SCHEMA: set[tuple[str, ...]] = set()
"""The answers that were yes, by URL, question and arguments."""


def _remember_schema(storage: internals.DagsterStorage, url: str) -> None:
    for part, checks in SCHEMA_CHECKS.items():
        for name in checks:
            check = getattr(getattr(storage, part), name)
            setattr(getattr(storage, part), name, _remembered(check, (url, part, name)))


def _remembered(check: Callable[..., bool], place: tuple[str, ...]) -> Callable[..., bool]:
    def answer(*arguments: object) -> bool:
        # The others are connections.
        fact = (*place, *(argument for argument in arguments if isinstance(argument, str)))
        if fact not in _SCHEMA and check(*arguments):
            _SCHEMA.add(fact)
        return fact in _SCHEMA

    return answer


def _open(url: str, path: str) -> _File:
    engine = sa.create_engine(
        url,
        poolclass=QueuePool,
        pool_size=CONNECTIONS,
        max_overflow=-1,
        connect_args={"timeout": internals.SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    # Connecting creates the file.
    with engine.connect():
        return _File(engine, _inode(path))


def _inode(path: str) -> int:
    with suppress(FileNotFoundError):
        return Path(path).stat().st_ino
    return 0


def _has_schema(engine: Engine) -> bool:
    """As Dagster decides it: the revision of the tables is recorded."""
    try:
        with engine.connect() as connection:
            return connection.scalar(sa.text("SELECT version_num FROM alembic_version LIMIT 1")) is not None
    except DatabaseError:
        # There is no such table, or it is being created.
        return False


@contextmanager
def _transaction(url: str) -> Iterator[Connection]:
    with _FILES.engine(url).connect() as connection, connection.begin():
        yield connection


class _PooledConnections:
    """Mixin for Dagster's run and schedule storages."""

    database: ClassVar[str]
    _conn_string: str

    @classmethod
    def from_local(cls, base_dir: str, inst_data: internals.ConfigurableClassData | None = None) -> Any:
        url = internals.create_db_conn_string(base_dir, cls.database)
        if Path(base_dir).is_dir() and _has_schema(_FILES.engine(url)):
            return cls(url, inst_data)  # type: ignore[call-arg]
        return super().from_local(base_dir, inst_data)  # type: ignore[misc]

    def connect(self) -> AbstractContextManager[Connection]:
        return _transaction(self._conn_string)


class SqliteRuns(DecidesRetries, _PooledConnections, internals.SqliteRunStorage):  # type: ignore[misc]
    database = "runs"


class SqliteSchedules(_PooledConnections, internals.SqliteScheduleStorage):  # type: ignore[misc]
    database = "schedules"


class SqliteEvents(internals.SqliteEventLogStorage):
    """Dagster's event storage with pooled connections."""

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        if not _has_schema(engine):
            super()._initdb(engine, for_index_shard)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = _FILES.engine(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def has_table(self, table_name: str) -> bool:
        return sa.inspect(_FILES.engine(self.conn_string_for_shard(internals.INDEX_SHARD_NAME))).has_table(table_name)


class SqliteRecords(internals.DagsterSqliteStorage):
    """The three storages together, in Dagster's own folders."""

    def __init__(self, base_dir: str, inst_data: internals.ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._inst_data = inst_data
        runs, events, schedules = internals.sqlite_folders(base_dir)
        self._run_storage = SqliteRuns.from_local(runs)
        self._event_log_storage = SqliteEvents(events)
        self._schedule_storage = SqliteSchedules.from_local(schedules)
        # The parent's __init__ would open all three again.
        super(internals.DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        _remember_schema(self, base_dir)


def postgresql_records(url: str, inst_data: internals.ConfigurableClassData | None) -> DagsterPostgresStorage:
    """dagster-postgres's storage; all storages of this process share one pool."""
    from dagster_postgres import DagsterPostgresStorage
    from dagster_postgres.run_storage import PostgresRunStorage

    class PostgresqlRuns(DecidesRetries, PostgresRunStorage):
        pass

    storage = DagsterPostgresStorage(url, should_autocreate_tables=url not in _SERVERS, inst_data=inst_data)
    storage._run_storage = PostgresqlRuns(url, should_autocreate_tables=False)  # noqa: SLF001
    if url not in _SERVERS:
        # As dagster-postgres creates it, except for the pool. The ping notices a server that was restarted.
        _SERVERS[url] = sa.create_engine(
            url, isolation_level="AUTOCOMMIT", pool_size=CONNECTIONS, max_overflow=-1, pool_pre_ping=True
        )
    part: Any
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part._engine = _SERVERS[url]  # noqa: SLF001
    _remember_schema(storage, url)
    return storage
