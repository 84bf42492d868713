"""A SQLite file that several processes use at once. What was committed survives a killed process and a power cut."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mps_dagster.errors import StorageFailed

BUSY_S = 10.0
"""How long a transaction waits for that of another process. Ours take milliseconds."""


@dataclass(frozen=True, slots=True)
class Database:
    """Holds no connection: opening one takes a millisecond, and so threads and forks need no thought."""

    path: Path
    schema: str
    """Statements that make version `version` of a new file, and that may run twice (IF NOT EXISTS)."""
    version: int

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that nobody else writes beside. Everything in it happens or, if it raises, nothing."""
        with self.read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            # If it raised, we do not get here, and closing the connection rolls back.
            connection.execute("COMMIT")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """For a single SELECT: waits for nobody and holds nobody up."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA synchronous = FULL")
                self._prepare(connection)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(
                f"cannot use {self.path}: {error}", hint="is the disk full, or the file another user's or damaged?"
            ) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > self.version:
            raise StorageFailed(
                f"cannot use {self.path}: its version is {version}, and this mps_dagster knows versions up to {self.version}",
                hint="a newer mps_dagster made it; run that one",
            )
        if version < self.version:
            _turn_on_wal(connection)
            connection.executescript(f"BEGIN IMMEDIATE; {self.schema} PRAGMA user_version = {self.version}; COMMIT;")


def _turn_on_wal(connection: sqlite3.Connection) -> None:
    """With the write-ahead log readers and the writer do not block each other; the file remembers it."""
    stop = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # Of processes that make the file at the same moment, SQLite lets some fail here without its busy wait.
            if time.monotonic() > stop:
                raise
            time.sleep(0.01)
        else:
            return
