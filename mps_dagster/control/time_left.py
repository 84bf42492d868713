"""How long subtasks will take that run or wait, from how far those are that run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mps_dagster.control.task_run import SubtaskState


def time_left_s(subtasks: Sequence[SubtaskState]) -> float | None:
    """Seconds until all of them have ended; None if none of them says how long it takes.

    One that waits will take as long as the others of its type do on average, or else all others. What is left is shared by as
    many as run now, and lasts no less than the longest.
    """
    units = [unit for subtask in subtasks for unit in _units(subtask)]
    pending = [unit for unit in units if unit.status == "PROCESSING"]
    known_s = [unit.left_s for unit in pending if unit.left_s is not None]
    waiting = [unit for unit in pending if unit.left_s is None]
    if not known_s or (waiting and not _durations_s(units)):
        return None
    waiting_s = sum((1 - unit.progress) * _usual_s(unit, units) for unit in waiting)
    at_once = sum(unit.progress > 0 or unit.started_s is not None for unit in pending)
    return max(*known_s, (sum(known_s) + waiting_s) / max(1, at_once))


def _units(subtask: SubtaskState) -> Sequence[SubtaskState]:
    """Its parts; when they are there, it joins them itself."""
    joins = subtask.status == "PROCESSING" and not any(part.status == "PROCESSING" for part in subtask.parts)
    return (subtask,) if joins or not subtask.parts else subtask.parts


def _usual_s(unit: SubtaskState, units: Sequence[SubtaskState]) -> float:
    """How long those take of which it is known."""
    return mean(_durations_s([other for other in units if other.type == unit.type]) or _durations_s(units))


def _durations_s(units: Sequence[SubtaskState]) -> list[float]:
    return [seconds for unit in units for seconds in _duration_s(unit)]


def _duration_s(unit: SubtaskState) -> Iterator[float]:
    # One whose last report is there, and its end not yet, does not tell how long it took.
    if unit.left_s is not None and unit.progress < 1:
        yield unit.left_s / (1 - unit.progress)
    elif unit.status == "SUCCESS" and unit.started_s is not None and unit.ended_s is not None:
        yield unit.ended_s - unit.started_s
