"""Parts of a source by MPS's signed offsets (reference A.4)."""

from __future__ import annotations

from dataclasses import dataclass

from mps_dagster.errors import InvalidTimeOffset


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `start_s` up to `end_s`, seconds into a source of length `source_s`."""

    start_s: float
    end_s: float
    source_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def whole(self) -> bool:
        return self.start_s == 0 and self.end_s == self.source_s


def signed_range(start_offset_s: float, end_offset_s: float, source_s: float) -> TimeRange:
    """0 = the natural start or end; n > 0 = at second n; n < 0 = |n| seconds before the end.

    An end past the source is the source's end; a start past it, or a range that is empty, is refused.
    """
    start = start_offset_s if start_offset_s >= 0 else source_s + start_offset_s
    end = source_s if end_offset_s == 0 else end_offset_s if end_offset_s > 0 else source_s + end_offset_s
    start, end = max(0.0, start), min(end, source_s)
    if start >= end:
        raise InvalidTimeOffset(
            f"the range from {start_offset_s:g} s to {end_offset_s:g} s holds nothing of a source of {source_s:.3f} s",
            hint="offsets are seconds from the start; negative ones count from the end; 0 is the start or end itself",
        )
    return TimeRange(start, end, source_s)
