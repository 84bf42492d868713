"""The progress of running subtasks: a small temporary file each, or a row in the database, which all hosts reach."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mps_dagster.settings import Settings

log = logging.getLogger(__name__)

FILE_EVERY_S = 0.5
ROW_EVERY_S = 2.0
"""Also before the first row, so that short subtasks need no connection."""
AWAY_S = 30.0
"""How long a database that failed is left alone: a subtask must not wait for it."""
CONNECT_S = 3

Report = Callable[[float, float], None]
"""Fraction done (0 to 1), speed (media seconds per second)."""

_TABLE = """
CREATE TABLE IF NOT EXISTS mps_progress (
    run_id TEXT NOT NULL, step TEXT NOT NULL, fraction REAL NOT NULL, speed REAL NOT NULL, PRIMARY KEY (run_id, step)
)
"""
_ROW = """
INSERT INTO mps_progress VALUES (%s, %s, %s, %s)
ON CONFLICT (run_id, step) DO UPDATE SET fraction = excluded.fraction, speed = excluded.speed
"""


class ProgressStore(Protocol):
    """Errors in reporting are logged, and do not fail a subtask."""

    def reporter(self, run_id: str, step: str) -> Report:
        """What a subtask calls as often as it likes."""

    def read(self, run_id: str) -> dict[str, float]:
        """Fraction done by step key, for the steps of a run that have begun."""

    def forget(self, run_ids: Iterable[str]) -> None: ...


def progress_store(settings: Settings) -> ProgressStore:
    if settings.database_url:
        return ProgressTable(settings.database_url.get_secret_value())
    return ProgressFolder(settings.progress_dir)


@dataclass(frozen=True, slots=True)
class ProgressFolder:
    """One file per step, in a folder per run."""

    root: Path

    def reporter(self, run_id: str, step: str) -> Report:
        path = self.root / run_id / f"{step}.json"
        with suppress(OSError):  # The first report logs the error.
            path.parent.mkdir(parents=True, exist_ok=True)
        return _File(path).report

    def read(self, run_id: str) -> dict[str, float]:
        fractions = {}
        for path in (self.root / run_id).glob("*.json"):
            with suppress(OSError, ValueError, KeyError):
                fractions[path.stem] = float(json.loads(path.read_text())["fraction"])
        return fractions

    def forget(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            shutil.rmtree(self.root / run_id, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class ProgressTable:
    """One row per step, in the PostgreSQL database of Dagster's records."""

    url: str

    def reporter(self, run_id: str, step: str) -> Report:
        return _Row(self, run_id, step).report

    def read(self, run_id: str) -> dict[str, float]:
        with self._cursor() as cursor:
            cursor.execute("SELECT step, fraction FROM mps_progress WHERE run_id = %s", (run_id,))
            return dict(cursor.fetchall())

    def forget(self, run_ids: Iterable[str]) -> None:
        ended = list(run_ids)
        if ended:
            with self._cursor() as cursor:
                cursor.execute("DELETE FROM mps_progress WHERE run_id = ANY(%s)", (ended,))

    def connect(self) -> Any:
        import psycopg2
        from psycopg2.errors import UniqueViolation

        connection = psycopg2.connect(self.url, connect_timeout=CONNECT_S)
        connection.autocommit = True
        # Of several that create the table at the same moment, PostgreSQL lets all but one fail.
        with connection.cursor() as cursor, suppress(UniqueViolation):
            cursor.execute(_TABLE)
        return connection

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            yield cursor


@dataclass(slots=True)
class _File:
    path: Path
    _written: float = field(default=0.0)
    _failed: bool = field(default=False)

    def report(self, fraction: float, speed: float) -> None:
        now = time.monotonic()
        if now - self._written < FILE_EVERY_S and fraction < 1:
            return
        self._written = now
        # Renamed, so that a reader sees either the old or the new content.
        draft = self.path.with_suffix(".new")
        try:
            draft.write_text(json.dumps({"fraction": _rounded(fraction), "speed": round(speed, 2)}))
            draft.replace(self.path)
        except OSError as error:
            if not self._failed:
                log.warning("progress cannot be shown: %s", error)
            self._failed = True


@dataclass(slots=True)
class _Row:
    table: ProgressTable
    run_id: str
    step: str
    _due: float = field(default_factory=lambda: time.monotonic() + ROW_EVERY_S)
    _connection: Any = field(default=None)

    def report(self, fraction: float, speed: float) -> None:
        if time.monotonic() < self._due:
            return
        import psycopg2

        wait_s = ROW_EVERY_S
        try:
            self._connection = self._connection or self.table.connect()
            with self._connection.cursor() as cursor:
                cursor.execute(_ROW, (self.run_id, self.step, _rounded(fraction), round(speed, 2)))
        except psycopg2.Error as error:
            log.warning("progress cannot be shown: %s", str(error).strip())
            self._connection, wait_s = None, AWAY_S
        self._due = time.monotonic() + wait_s


def _rounded(fraction: float) -> float:
    return round(min(1.0, fraction), 4)
