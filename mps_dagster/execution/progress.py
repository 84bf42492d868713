"""The progress of running subtasks: a small temporary file each, or a row in the database, which all hosts reach."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mps_dagster.errors import StorageFailed
from mps_dagster.settings import Settings
from mps_dagster.storage.database import Database, PostgresqlDatabase, Tables

log = logging.getLogger(__name__)

FILE_EVERY_S = 0.5
ROW_EVERY_S = 2.0
"""Also before the first row, so that short subtasks need no connection."""
AWAY_S = 30.0
"""How long a database that failed is left alone: a subtask must not wait for it."""

Report = Callable[[float, float], None]
"""Fraction done (0 to 1), speed (media seconds per second)."""

TABLES = Tables(
    "progress",
    "CREATE TABLE IF NOT EXISTS progress (run_id TEXT NOT NULL, step TEXT NOT NULL, fraction DOUBLE PRECISION NOT NULL,"
    " speed DOUBLE PRECISION NOT NULL, PRIMARY KEY (run_id, step));",
    version=1,
)
_ROW = (
    "INSERT INTO progress VALUES (:run_id, :step, :fraction, :speed)"
    " ON CONFLICT (run_id, step) DO UPDATE SET fraction = excluded.fraction, speed = excluded.speed"
)


class ProgressStore(Protocol):
    """Errors in reporting are logged, and do not fail a subtask."""

    def reporter(self, run_id: str, step: str) -> Report:
        """What a subtask calls as often as it likes."""

    def read(self, run_id: str) -> dict[str, float]:
        """Fraction done by step key, for the steps of a run that have begun."""

    def forget(self, run_ids: Iterable[str]) -> None: ...


def progress_store(settings: Settings) -> ProgressStore:
    if settings.database_url:
        return ProgressTable(PostgresqlDatabase(settings.sqlalchemy_url, TABLES))
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
    """One row per step, in the database of Dagster's records."""

    database: Database

    def reporter(self, run_id: str, step: str) -> Report:
        return _Row(self.database, run_id, step).report

    def read(self, run_id: str) -> dict[str, float]:
        with self.database.read() as db:
            rows = db.rows("SELECT step, fraction FROM progress WHERE run_id = :run_id", {"run_id": run_id})
        return {row["step"]: row["fraction"] for row in rows}

    def forget(self, run_ids: Iterable[str]) -> None:
        if ended := [{"run_id": run_id} for run_id in run_ids]:
            with self.database.write() as db:
                db.change("DELETE FROM progress WHERE run_id = :run_id", ended)


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
    database: Database
    run_id: str
    step: str
    _due: float = field(default_factory=lambda: time.monotonic() + ROW_EVERY_S)

    def report(self, fraction: float, speed: float) -> None:
        if time.monotonic() < self._due:
            return
        wait_s = ROW_EVERY_S
        row = {"run_id": self.run_id, "step": self.step, "fraction": _rounded(fraction), "speed": round(speed, 2)}
        try:
            with self.database.write() as db:
                db.change(_ROW, row)
        except StorageFailed as error:
            log.warning("progress cannot be shown: %s", error)
            wait_s = AWAY_S
        self._due = time.monotonic() + wait_s


def _rounded(fraction: float) -> float:
    return round(min(1.0, fraction), 4)
