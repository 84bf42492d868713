"""Tables that several processes use at once: in a SQLite file, or in PostgreSQL, which several hosts reach.

What was committed survives a killed process and a power cut. The statements are the same for both (PostgreSQL 12, SQLite 3.35):
`{id}` in a schema stands for the type of a counting primary key.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from mps_dagster.errors import StorageFailed
from mps_dagster.settings import Settings

BUSY_S = 10.0
"""How long a transaction waits for that of another process. Ours take milliseconds."""
CONNECT_S = 5

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Transaction:
    """Statements with named parameters (`:name`)."""

    connection: Connection

    def rows(self, statement: str, values: Values | None = None) -> Sequence[RowMapping]:
        """All rows of a SELECT, or of RETURNING. A list is a value for `IN :name`."""
        text = sa.text(statement)
        lists: list[sa.BindParameter[Any]] = [
            sa.bindparam(name, expanding=True) for name, value in (values or {}).items() if isinstance(value, list)
        ]
        return self.connection.execute(text.bindparams(*lists), values or {}).mappings().all()

    def row(self, statement: str, values: Values | None = None) -> RowMapping | None:
        """The first row, if any."""
        return next(iter(self.rows(statement, values)), None)

    def change(self, statement: str, values: Values | Sequence[Values]) -> int:
        """Execute once, or once for each; how many rows were written."""
        return self.connection.execute(sa.text(statement), values).rowcount if values else 0


class Database(Protocol):
    """Holds no connection: opening one takes milliseconds, and so threads and forks need no thought."""

    def write(self) -> AbstractContextManager[Transaction]:
        """One transaction that nobody else writes beside. Everything in it happens or, if it raises, nothing."""

    def read(self) -> AbstractContextManager[Transaction]:
        """For a single SELECT: waits for nobody and holds nobody up."""

    def exists(self) -> bool:
        """Whether anything was ever written to it."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What a database is for."""

    name: str
    schema: str
    """Statements that make version `version`, and that may run twice (IF NOT EXISTS)."""
    version: int


def database_of(settings: Settings, path: Path, tables: Tables) -> Database:
    """PostgreSQL if `MPS_DATABASE_URL` names one, or the SQLite file."""
    if settings.database_url is None:
        return SqliteDatabase(path, tables)
    return PostgresqlDatabase(settings.sqlalchemy_url, tables)


@dataclass(frozen=True, slots=True)
class SqliteDatabase:
    path: Path
    tables: Tables

    def exists(self) -> bool:
        return self.path.exists()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with self.read() as transaction:
            transaction.connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield transaction
            # If it raised, we do not get here, and closing the connection rolls back.
            transaction.connection.commit()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _sqlite(self.path).connect() as connection:
                self._prepare(connection)
                yield Transaction(connection)
        except (SQLAlchemyError, OSError) as error:
            raise StorageFailed(
                f"cannot use {self.path}: {_reason(error)}",
                hint="is the disk full, or the file another user's or damaged?",
            ) from error

    def _prepare(self, connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA synchronous = FULL")
        version, known = connection.exec_driver_sql("PRAGMA user_version").scalar_one(), self.tables.version
        if version > known:
            raise StorageFailed(
                f"cannot use {self.path}: its version is {version}, and this mps_dagster knows versions up to {known}",
                hint="a newer mps_dagster made it; run that one",
            )
        if version < known:
            _turn_on_wal(connection)
            schema = self.tables.schema.format(id="INTEGER PRIMARY KEY AUTOINCREMENT")
            driver: Any = connection.connection.driver_connection
            driver.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {known}; COMMIT;")


@dataclass(frozen=True, slots=True)
class PostgresqlDatabase:
    """Tables in the schema `mps`, beside Dagster's."""

    url: str
    """SQLAlchemy's."""
    tables: Tables

    def exists(self) -> bool:
        return True

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with self._connected() as connection, connection.begin():
            # As SQLite does: readers go on.
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": self.tables.name})
            yield Transaction(connection)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        with self._connected() as connection:
            yield Transaction(connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with _postgresql(self.url, self.tables).connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageFailed(
                f"cannot use PostgreSQL: {_reason(error)}", hint="is the server up? (mps doctor)"
            ) from error


@cache
def _sqlite(path: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)

    return sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)


@cache
def _postgresql(url: str, tables: Tables) -> Engine:
    engine = sa.create_engine(
        url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S, "options": "-c search_path=mps"}
    )
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('mps schema'))"))
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS mps"))
        schema = tables.schema.format(id="BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY")
        connection.exec_driver_sql(schema)
    return engine


def _reason(error: Exception) -> str:
    """The driver's own words: SQLAlchemy adds the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip()


def _turn_on_wal(connection: Connection) -> None:
    """With the write-ahead log readers and the writer do not block each other; the file remembers it."""
    stop = time.monotonic() + BUSY_S
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL").close()
        except sa.exc.OperationalError:
            # Of processes that make the file at the same moment, SQLite lets some fail here without its busy wait.
            if time.monotonic() > stop:
                raise
            time.sleep(0.01)
        else:
            return
