"""The progress of running subtasks: one small, temporary file each."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

EVERY_S = 0.5

Report = Callable[[float, float], None]
"""Fraction done (0 to 1), speed (media seconds per second)."""


@dataclass(slots=True)
class ProgressFile:
    """Writes `<folder>/<run>/<step>.json` at most twice a second. Errors in writing it do not fail the subtask."""

    path: Path
    _written: float = field(default=0.0)
    _failed: bool = field(default=False)

    @classmethod
    def of(cls, folder: Path, run_id: str, step: str) -> ProgressFile:
        path = folder / run_id / f"{step}.json"
        with suppress(OSError):  # The first report logs the error.
            path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path)

    def report(self, fraction: float, speed: float) -> None:
        now = time.monotonic()
        if now - self._written < EVERY_S and fraction < 1:
            return
        self._written = now
        # Renamed, so that a reader sees either the old or the new content.
        draft = self.path.with_suffix(".new")
        try:
            draft.write_text(json.dumps({"fraction": round(min(1.0, fraction), 4), "speed": round(speed, 2)}))
            draft.replace(self.path)
        except OSError as error:
            if not self._failed:
                log.warning("progress cannot be shown: %s", error)
            self._failed = True


def read_progress(folder: Path, run_id: str) -> dict[str, float]:
    """Fraction done by step key, for the steps of one run that have begun."""
    fractions = {}
    for path in (folder / run_id).glob("*.json"):
        try:
            fractions[path.stem] = float(json.loads(path.read_text())["fraction"])
        except (OSError, ValueError, KeyError):
            continue
    return fractions


def forget(folder: Path, run_id: str) -> None:
    shutil.rmtree(folder / run_id, ignore_errors=True)
