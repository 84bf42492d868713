"""Reads what ffmpeg's measuring filters wrote: entries with a time, and messages between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

TOGETHER_S = 1.0
"""Faults of single frames no further apart are one finding."""
_ENTRY = re.compile(r"^frame:\d+\s+pts:\S+\s+pts_time:(\S+)")
_VALUE = re.compile(r"^lavfi\.([^=]+)=(.*)")


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured at one time."""

    at_s: float
    values: dict[str, float] = field(default_factory=dict)

    def get(self, name: str) -> float:
        """Not a number if it was not measured: no comparison with it holds."""
        return self.values.get(name, float("nan"))


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive readings, and the time from the first to the one after the last."""

    start_s: float
    end_s: float
    readings: tuple[Reading, ...]

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def mean(self, name: str) -> float:
        values = [value for reading in self.readings if (value := reading.get(name)) == value]
        return sum(values) / len(values) if values else 0.0


def read(path: Path) -> list[Reading]:
    """All entries of a file; none if it was not written."""
    if not path.is_file():
        return []
    with path.open(errors="replace") as lines:
        return list(readings(lines))


def readings(lines: Iterable[str]) -> Iterator[Reading]:
    current: Reading | None = None
    for line in lines:
        if entry := _ENTRY.match(line):
            if current:
                yield current
            at_s = _number(entry[1])
            current = None if at_s is None else Reading(at_s)
        elif current and (value := _VALUE.match(line)):
            number = _number(value[2])
            if number is not None:
                current.values[value[1]] = number
    if current:
        yield current


@dataclass(frozen=True, slots=True)
class Message:
    """One line of ffmpeg's messages, and about when it was about."""

    at_s: float
    text: str


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """The messages between the entries; each has the time of the entry before it.

    What the demuxer says before the first entry is left out: it looks ahead then, and says it again when it comes to it.
    """
    at_s: float | None = None
    for line in lines:
        if entry := _ENTRY.match(line):
            at_s = _number(entry[1]) or 0.0
        elif line.strip() and not _VALUE.match(line) and (at_s is not None or not line.startswith("[in#")):
            yield Message(at_s or 0.0, line.strip())


def parts(
    measured: list[Reading],
    holds: Callable[[Reading], bool],
    *,
    end_s: float,
    step_s: float,
    may_miss: Callable[[Reading], bool] = lambda _: False,
) -> Iterator[Part]:
    """Runs of readings for which `holds` is true, with single others between them if they `may_miss`.

    A reading lasts until the next one, but no longer than twice the step; the last one until `end_s` at most.
    """
    begun, last = -1, -1
    for index in range(len(measured) + 1):
        if index < len(measured) and holds(measured[index]):
            begun, last = (index if begun < 0 else begun), index
        elif begun >= 0 and (index == len(measured) or index - last > 1 or not may_miss(measured[index])):
            after = measured[last + 1].at_s if last + 1 < len(measured) else end_s
            until = min(after, measured[last].at_s + 2 * step_s)
            yield Part(measured[begun].at_s, until, tuple(measured[begun : last + 1]))
            begun = -1


def together(times: Iterable[float], *, apart_s: float = TOGETHER_S) -> list[list[float]]:
    """Groups of times that follow one another closely."""
    groups: list[list[float]] = []
    for at_s in times:
        if groups and at_s - groups[-1][-1] <= apart_s:
            groups[-1].append(at_s)
        else:
            groups.append([at_s])
    return groups


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
