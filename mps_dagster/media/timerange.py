"""When streams play, and time ranges by MPS's signed offsets (reference A.4).

All times are on the source's clock: 0 s is the start of the container, as in every player. An output uses some of the
source's streams. It naturally starts with the first of them to start (0 %) and ends with the last to end (100 %).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mps_dagster.errors import InvalidTimeOffset


class Timed(Protocol):
    """A stream or a part of a source, with a start and an end."""

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Span:
    """From the start of the first stream to the end of the last one."""

    start_s: float
    end_s: float

    @classmethod
    def of(cls, streams: Iterable[Timed]) -> Span:
        streams = list(streams)
        return cls(min(stream.start_s for stream in streams), max(stream.end_s for stream in streams))

    @property
    def whole(self) -> TimeRange:
        return TimeRange(self.start_s, self.end_s, self)

    def at_percent(self, percent: float) -> float:
        """The source's time, in seconds, at which this percentage of the span has played."""
        return self.start_s + (self.end_s - self.start_s) * percent / 100


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The part of `span` from `start_s` up to `end_s`."""

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
    """0 = the natural start or end; n > 0 = second n of the source; n < 0 = |n| seconds before the end.

    The range is cut to the span; raises InvalidTimeOffset if nothing is left.
    """
    start = _time(start_offset_s, span) if start_offset_s else span.start_s
    end = _time(end_offset_s, span) if end_offset_s else span.end_s
    start, end = max(span.start_s, start), min(end, span.end_s)
    if start >= end:
        raise InvalidTimeOffset(
            f"the range from {start_offset_s:g} s to {end_offset_s:g} s is empty: the streams play from "
            f"{span.start_s:.3f} s to {span.end_s:.3f} s",
            hint="offsets are seconds from the start; negative ones count from the end; 0 is the start or end itself",
        )
    return TimeRange(start, end, span)


def _time(offset_s: float, span: Span) -> float:
    return offset_s if offset_s > 0 else span.end_s + offset_s
