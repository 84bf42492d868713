"""Signed offsets."""

from __future__ import annotations

import pytest

from mps_dagster.errors import InvalidTimeOffset
from mps_dagster.media.timerange import signed_range


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
    """Reference A.4: 0 is the natural end, positive from the start, negative from the end; an end past the source is its end."""
    part = signed_range(start, end, 20.0)
    assert (part.start_s, part.end_s) == expected


@pytest.mark.parametrize(("start", "end"), [(20, 0), (30, 0), (5, 5), (5, 3), (0, -20)])
def test_an_empty_part_is_refused(start, end):
    """With MPS's code, before anything runs."""
    with pytest.raises(InvalidTimeOffset, match="holds nothing"):
        signed_range(start, end, 20.0)
