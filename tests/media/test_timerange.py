"""Signed offsets."""

from __future__ import annotations

import pytest

from mps_dagster.errors import InvalidTimeOffset
from mps_dagster.media.timerange import Span, signed_range


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, (0, 20)),
        (5, 0, (5, 20)),
        (0, 5, (0, 5)),
        (-5, 0, (15, 20)),
        (0, -5, (0, 15)),
        (2, 99, (2, 20)),
        (-99, 3, (0, 3)),
    ],
)
def test_offsets_count_from_either_end(start, end, expected):
    """Reference A.4: 0 is the natural start or end; positive from the start, negative from the end; cut to the source."""
    part = signed_range(start, end, Span(0, 20))
    assert (part.start_s, part.end_s) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0, (4, 12)),
        (2, 0, (4, 12)),
        (5, 0, (5, 12)),
        (0, 6, (4, 6)),
        (-3, -1, (9, 11)),
        (-99, 0, (4, 12)),
    ],
)
def test_offsets_count_on_the_source_s_clock(start, end, expected):
    """For a video that starts at 4 s, second 5 is the source's, but the natural start is the video's."""
    part = signed_range(start, end, Span(4, 12))
    assert (part.start_s, part.end_s) == expected
    assert (part.from_start, part.to_end) == (part.start_s == 4, part.end_s == 12)


def test_streams_together_play_from_the_first_beginning_to_the_last_end():
    assert Span.of([Span(4, 10), Span(0.5, 6)]) == Span(0.5, 10)


@pytest.mark.parametrize(("start", "end"), [(20, 0), (30, 0), (5, 5), (5, 3), (0, -20)])
def test_an_empty_range_is_refused(start, end):
    """With MPS's code, before anything runs."""
    with pytest.raises(InvalidTimeOffset, match="is empty"):
        signed_range(start, end, Span(0, 20))
