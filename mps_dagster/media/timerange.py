"""When streams play, and parts of that by MPS's signed offsets (reference A.4).

There is one clock, the source's: its 0 s is the start of the container, as in every player. An output is made of some of
the source's streams, and its natural start and end are theirs: 0 % is the beginning of the first of them, 100 % the end
of the last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mps_dagster.errors import InvalidTimeOffset


class Playing(Protocol):
    """What has a beginning and an end: a stream, or a part of a source."""

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Span:
    """From the beginning of the first stream to the end of the last one."""

    start_s: float
    end_s: float

    @classmethod
    def of(cls, streams: Iterable[Playing]) -> Span:
        known = list(streams)
        return cls(min(stream.start_s for stream in known), max(stream.end_s for stream in known))

    @property
    def whole(self) -> TimeRange:
        return TimeRange(self.start_s, self.end_s, self)

    def at_percent(self, percent: float) -> float:
        """The second of the source at which so much of it has played."""
        return self.start_s + (self.end_s - self.start_s) * percent / 100


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `start_s` up to `end_s` of what plays in `span`."""

    start_s: float
    end_s: float
    span: Span

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def from_start(self) -> bool:
        return self.start_s == self.span.start_s

    @property
    def to_end(self) -> bool:
        return self.end_s == self.span.end_s

    @property
    def whole(self) -> bool:
        return self.from_start and self.to_end


def signed_range(start_offset_s: float, end_offset_s: float, span: Span) -> TimeRange:
    """0 = the natural start or end; n > 0 = at second n of the source; n < 0 = |n| seconds before the end.

    What lies outside the span is cut off; a range of which nothing is left is refused.
    """
    start = _at(start_offset_s, span) if start_offset_s else span.start_s
    end = _at(end_offset_s, span) if end_offset_s else span.end_s
    start, end = max(span.start_s, start), min(end, span.end_s)
    if start >= end:
        raise InvalidTimeOffset(
            f"the range from {start_offset_s:g} s to {end_offset_s:g} s holds nothing: what is asked for plays from "
            f"{span.start_s:.3f} s to {span.end_s:.3f} s",
            hint="offsets are seconds from the start; negative ones count from the end; 0 is the start or end itself",
        )
    return TimeRange(start, end, span)


def _at(offset_s: float, span: Span) -> float:
    return offset_s if offset_s > 0 else span.end_s + offset_s
