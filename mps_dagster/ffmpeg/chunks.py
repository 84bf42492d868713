"""Where a long picture is cut into chunks, each of which is encoded alone.

Borders lie on the output's own grid of frames and key frames, never at the source's key frames: joined, the chunks have the
frames, times and key frames of an output that is encoded whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from mps_dagster.media.info import MediaInfo, VideoStream

CHUNK = "chunk_"
"""Chunks' names begin with it."""
FINE = 90_000
"""Ticks per second of outputs that keep the source's times."""
SEEKABLE = frozenset({"mov", "matroska", "mpegts"})
"""Demuxers that find a time again by a seek."""
WARM_UP_S = 4
"""How long an encoder with a bitrate to keep needs until it knows the content; measured with bench/chunks.py."""
TINY_S = Fraction(1, 1_000_000)
HIDDEN_S = 0.1
"""Most of a stream that an edit list may hide; more is a cut, after which seeks are not trusted."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """From which length on, and how long the chunks are."""

    from_s: float
    chunk_s: float

    def suits(self, media: MediaInfo, video: VideoStream) -> bool:
        """Whether chunks of this source have the frames of the whole: every seek must find a key frame before a border.

        Key frames far apart would be decoded many times. Times that a decoder guesses depend on where it begins.
        """
        return (
            media.seekable
            and media.demuxer in SEEKABLE
            and not video.untimed
            and video.hidden_s <= HIDDEN_S
            and video.longest_key_gap_s <= self.chunk_s / 2
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """When an output may have a frame, and when it has a key frame, in seconds from its start."""

    key_every_s: Fraction
    forced: bool = False
    """Whether there is a key frame at each of these times: segments begin there."""
    zero: Fraction = Fraction(0)
    """Time of the first frame, from which ffmpeg counts to force key frames."""
    rate: Fraction | None = None
    """Frames per second if frames are at multiples of 1/rate; None = at any time."""
    converted: bool = False
    """Whether a filter makes frames of this rate; otherwise the source's times are rounded to it."""
    warm_up: bool = False
    """Whether the encoder begins before a chunk, and what it makes until then is dropped: quality is low at first when there
    is a bitrate to keep."""

    @property
    def timescale(self) -> int:
        """A clock that is exact for all frames."""
        return self.rate.numerator if self.rate else FINE


@dataclass(frozen=True, slots=True)
class Chunk:
    """The frames from `start` up to `end`; the first and the last chunk also have those outside."""

    number: int
    start: Fraction
    end: Fraction
    grid: Grid
    last: bool = False

    @property
    def name(self) -> str:
        return f"{CHUNK}{self.number:03d}"

    @property
    def first(self) -> bool:
        return self.number == 0

    @property
    def frames(self) -> int:
        """How many there are; 0 = not known before."""
        inside = self.grid.converted and self.grid.rate and not (self.first or self.last)
        return int((self.end - self.start) * self.grid.rate) if inside and self.grid.rate else 0

    @property
    def key_times(self) -> tuple[str, ...]:
        """When there must be a key frame besides the encoder's own, for a chunk that is not the first one.

        A little early, as one that is rounded up would miss its frame.
        """
        every = self.grid.key_every_s
        count = math.ceil((self.end - self.start) / every) if self.grid.forced else 1
        first = round((self.start - self.grid.zero) / every)
        keys = (self.grid.zero + (first + number) * every for number in range(count))
        return tuple(f"{float(self._before(key)):.6f}" for key in (keys if self.grid.forced else (self.start,)))

    @property
    def begins(self) -> Fraction:
        """When encoding begins."""
        if self.first or not self.grid.warm_up:
            return self.start
        rate = self.grid.rate
        warm_up = Fraction(math.ceil(WARM_UP_S * rate)) / rate if rate else Fraction(WARM_UP_S)
        return max(self.start - warm_up, Fraction(0))

    @property
    def dropped_before(self) -> str:
        """Packets before this second are dropped; empty if there are none. Frames are never as close to a border as this."""
        return f"{float(self._before(self.start)):.6f}" if self.begins < self.start else ""

    @property
    def bounds(self) -> Mapping[str, str | int]:
        """For the `trim` filter. Every frame is in one chunk only, as both sides round a border alike."""
        start = {} if self.first else self._bound("start", self.begins)
        end = {} if self.last else self._bound("end", self.end)
        return {**start, **end}

    def _before(self, at: Fraction) -> Fraction:
        """Between the frame at this time and the one before."""
        rate = self.grid.rate
        return Fraction(math.ceil(at * rate) * 2 - 1) / (2 * rate) if rate else at - TINY_S

    def _bound(self, side: str, at: Fraction) -> Mapping[str, str | int]:
        rate = self.grid.rate
        if rate and self.grid.converted:
            return {f"{side}_pts": int(at * rate)}
        return {side: f"{float(self._before(at) if rate else at):.6f}"}


def chunks(start_s: float, end_s: float, grid: Grid, chunking: Chunking) -> tuple[Chunk, ...]:
    """The chunks of a picture that is shown from `start_s` to `end_s` of the output; none if it is too short."""
    if not chunking.from_s or end_s - start_s < chunking.from_s:
        return ()
    borders = _borders(Fraction(start_s), Fraction(end_s), grid, chunking.chunk_s)
    spans = list(pairwise([Fraction(0), *borders, Fraction(end_s)]))
    if len(spans) == 1:
        return ()
    last = len(spans) - 1
    return tuple(Chunk(number, start, end, grid, number == last) for number, (start, end) in enumerate(spans))


def _borders(start: Fraction, end: Fraction, grid: Grid, chunk_s: float) -> list[Fraction]:
    """At key frames, at about equal distances: no worker is left with a long last chunk."""
    count = max(1, round((end - start) / Fraction(chunk_s)))
    borders, before = [], start
    for number in range(1, count):
        near = start + (end - start) * number / count
        key = grid.zero + grid.key_every_s * round((near - grid.zero) / grid.key_every_s)
        border = Fraction(math.ceil(key * grid.rate)) / grid.rate if grid.rate else key
        if min(border - before, end - border) * 2 > chunk_s:
            borders.append(border)
            before = border
    return borders
