"""Which streams belong together: a transport stream may carry several programmes, each with its own video and audio."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from av.container import InputContainer

from mps_dagster.media.refuse import dump_format
from mps_dagster.media.scan import Timings

Programmes = Mapping[int, frozenset[int]]
"""Stream indexes by programme number, in the container's order. A stream may be in several programmes, or in none."""
_SAME_CLOCK_S = 1.0
"""Streams that share a clock start within this time of each other."""


def programmes(container: InputContainer) -> Programmes:
    """Empty where the container has no programmes. Read from libav's listing, because PyAV does not expose them."""
    programmes: dict[int, set[int]] = {}
    members: set[int] = set()
    # Tags are indented deeper, so none can look like one of these lines.
    for line in re.finditer(r"^  (?:Program (\d+)|(No Program)|Stream #0:(\d+))", dump_format(container), re.MULTILINE):
        if line[1]:
            members = programmes.setdefault(int(line[1]), set())
        elif line[2]:
            members = set()
        else:
            members.add(int(line[3]))
    return {number: frozenset(indexes) for number, indexes in programmes.items()}


def programme_audio(programmes: Programmes, video: int | None, audio: frozenset[int]) -> frozenset[int]:
    """The audio that belongs to the video; without a video, that of the first programme with audio."""
    if len(programmes) < 2:
        # Audio outside a single programme still belongs to it: usually the programme changed its tracks.
        return audio
    in_programmes = frozenset[int]().union(*programmes.values())
    if video is None:
        members = next((members for members in programmes.values() if members & audio), audio)
    elif video in in_programmes:
        members = next(members for members in programmes.values() if video in members)
    else:
        members = audio - in_programmes
    return audio & members


def programme_clock(programmes: Programmes, timings: Timings, used: Collection[int]) -> tuple[float, Timings]:
    """How far the used streams' clock is ahead of the container's, and all timings on the used streams' clock.

    Each programme of a broadcast has its own clock; the container starts with the earliest one.
    """
    ahead_s = min((timings[index].first_s for index in used if index in timings), default=0.0)
    if len(programmes) < 2 or ahead_s < _SAME_CLOCK_S:
        return 0.0, timings
    shifted = {
        index: replace(timing, first_s=timing.first_s - ahead_s, last_s=timing.last_s - ahead_s, end_s=timing.end_s - ahead_s)
        for index, timing in timings.items()
    }  # fmt: skip
    return ahead_s, shifted
