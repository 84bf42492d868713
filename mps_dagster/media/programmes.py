"""Which streams belong together: a transport stream may carry several programmes, each with its own pictures and sounds."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from av.container import InputContainer

from mps_dagster.media.refuse import listed
from mps_dagster.media.scan import Timings

Programmes = Mapping[int, frozenset[int]]
"""Stream indexes by programme number, in the container's order. A stream may be in several programmes, or in none."""
_SAME_CLOCK_S = 1.0
"""Streams of one clock begin within that."""


def programmes(container: InputContainer) -> Programmes:
    """Empty where the container knows no such thing. PyAV has no access to it; libav's own listing says it."""
    by_number: dict[int, set[int]] = {}
    members: set[int] = set()
    # Names and other tags are indented deeper, so none can pass for such a line.
    for line in re.finditer(r"^  (?:Program (\d+)|(No Program)|Stream #0:(\d+))", listed(container), re.MULTILINE):
        if line[1]:
            members = by_number.setdefault(int(line[1]), set())
        elif line[2]:
            members = set()
        else:
            members.add(int(line[3]))
    return {number: frozenset(indexes) for number, indexes in by_number.items()}


def companions(programmes: Programmes, video: int | None, sounds: frozenset[int]) -> frozenset[int]:
    """The sounds that belong to the video; without one, those of the first programme that has any."""
    if len(programmes) < 2:
        # What a single programme leaves out can belong to nothing else: a change of its tracks, mostly.
        return sounds
    claimed = frozenset[int]().union(*programmes.values())
    if video is None:
        mine = next((members for members in programmes.values() if members & sounds), sounds)
    elif video in claimed:
        mine = next(members for members in programmes.values() if video in members)
    else:
        mine = sounds - claimed
    return sounds & mine


def own_clock(programmes: Programmes, timings: Timings, used: Collection[int]) -> tuple[float, Timings]:
    """How far the used streams' clock is ahead of the container's, and their timings on their own clock.

    Each programme of a broadcast has a clock of its own, and the container's start is that of the earliest one.
    """
    ahead_s = min((timings[index].first_s for index in used if index in timings), default=0.0)
    if len(programmes) < 2 or ahead_s < _SAME_CLOCK_S:
        return 0.0, timings
    moved = {
        index: replace(timing, first_s=timing.first_s - ahead_s, last_s=timing.last_s - ahead_s, end_s=timing.end_s - ahead_s)
        for index, timing in timings.items()
    }  # fmt: skip
    return ahead_s, moved
