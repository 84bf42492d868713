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
from mps_dagster.execution.pace import Listener, Pace, StepProgress
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
    " speed DOUBLE PRECISION NOT NULL, PRIMARY KEY (run_id, step));"
    "ALTER TABLE progress ADD COLUMN IF NOT EXISTS left_s DOUBLE PRECISION;",
    version=2,
)
_ROW = (
    "INSERT INTO progress (run_id, step, fraction, speed, left_s) VALUES (:run_id, :step, :fraction, :speed, :left_s)"
    " ON CONFLICT (run_id, step) DO UPDATE"
    " SET fraction = excluded.fraction, speed = excluded.speed, left_s = excluded.left_s"
)


class ProgressStore(Protocol):
    """Errors in reporting are logged, and do not fail a subtask."""

    def keep(self, run_id: str, step: str) -> Listener:
        """Stores the progress of one step, as often as it is worth it."""

    def read(self, run_id: str) -> dict[str, StepProgress]:
        """By step key, for the steps of a run that have begun."""

    def forget(self, run_ids: Iterable[str]) -> None: ...


def reporter(*listeners: Listener) -> Report:
    """What one attempt of a subtask calls as often as it likes."""
    pace = Pace()

    def report(fraction: float, speed: float) -> None:
        progress = pace.after(fraction, speed)
        for hear in listeners:
            hear(progress)

    return report


def progress_store(settings: Settings) -> ProgressStore:
    if settings.database_url:
        return ProgressTable(PostgresqlDatabase(settings.sqlalchemy_url, TABLES))
    return ProgressFolder(settings.progress_dir)


@dataclass(frozen=True, slots=True)
class ProgressFolder:
    """One file per step, in a folder per run."""

    root: Path

    def keep(self, run_id: str, step: str) -> Listener:
        path = self.root / run_id / f"{step}.json"
        with suppress(OSError):  # The first report logs the error.
            path.parent.mkdir(parents=True, exist_ok=True)
        return _File(path).write

    def read(self, run_id: str) -> dict[str, StepProgress]:
        steps = {}
        for path in (self.root / run_id).glob("*.json"):
            # A file may be gone meanwhile, or of another version.
            with suppress(OSError, ValueError, TypeError):
                steps[path.stem] = StepProgress(**json.loads(path.read_text()))
        return steps

    def forget(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            shutil.rmtree(self.root / run_id, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class ProgressTable:
    """One row per step, in the database of Dagster's records."""

    database: Database

    def keep(self, run_id: str, step: str) -> Listener:
        return _Row(self.database, run_id, step).write

    def read(self, run_id: str) -> dict[str, StepProgress]:
        columns = "SELECT step, fraction, speed, left_s FROM progress WHERE run_id = :run_id"
        with self.database.read() as db:
            rows = db.rows(columns, {"run_id": run_id})
        return {row["step"]: StepProgress(row["fraction"], row["speed"], row["left_s"]) for row in rows}

    def forget(self, run_ids: Iterable[str]) -> None:
        if ended := [{"run_id": run_id} for run_id in run_ids]:
            with self.database.write() as db:
                db.change("DELETE FROM progress WHERE run_id = :run_id", ended)


@dataclass(slots=True)
class _File:
    path: Path
    _written: float = field(default=0.0)
    _failed: bool = field(default=False)

    def write(self, progress: StepProgress) -> None:
        now = time.monotonic()
        if now - self._written < FILE_EVERY_S and progress.fraction < 1:
            return
        self._written = now
        # Renamed, so that a reader sees either the old or the new content.
        draft = self.path.with_suffix(".new")
        try:
            draft.write_text(json.dumps(_rounded(progress)))
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

    def write(self, progress: StepProgress) -> None:
        if time.monotonic() < self._due:
            return
        wait_s = ROW_EVERY_S
        row = {"run_id": self.run_id, "step": self.step, **_rounded(progress)}
        try:
            with self.database.write() as db:
                db.change(_ROW, row)
        except StorageFailed as error:
            log.warning("progress cannot be shown: %s", error)
            wait_s = AWAY_S
        self._due = time.monotonic() + wait_s


def _rounded(progress: StepProgress) -> dict[str, float | None]:
    left_s = None if progress.left_s is None else round(progress.left_s, 1)
    return {"fraction": round(progress.fraction, 4), "speed": round(progress.speed, 2), "left_s": left_s}
