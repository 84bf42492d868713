"""Timing of a file's streams, from its packets: headers may be wrong."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_DECODE_TRIES = 1000
"""Packets to try before a video counts as undecodable; any broadcast has a key frame much earlier."""
_TS_DISCONT = 0x0200
"""libav's AVFMT_TS_DISCONT; PyAV's enum member does not work with `&`."""
_FINE_S = Fraction(1, 10_000)
"""A tick up to this long is fine enough for a frame's time."""
_JUMP_S, _JUMP_BACK_S = 10, 0.1
"""ffmpeg's own thresholds (`-dts_delta_threshold`), so that our times equal ffmpeg's."""


@dataclass(slots=True)
class Track:
    """The packets of one stream as columns, because one object each would be too much for half a million packets."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    """All times are in the stream's time base."""
    dts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    """0 = unknown."""
    key: bytearray = field(default_factory=bytearray)
    size_bytes: int = 0
    hidden: int = 0
    """Total duration of the packets that an edit list hides."""
    encrypted: bool = False

    def add(self, packet: Packet[Any]) -> None:
        if packet.is_discard:
            # An edit list leaves it out: it is decoded, but not shown.
            self.hidden += packet.duration or 0
            return
        pts, dts = packet.pts, packet.dts
        if pts is None:
            pts = dts if dts is not None else self._next_pts()
        if not self.pts:
            self.encrypted = packet.has_sidedata("encryption_info")
        self.pts.append(pts)
        self.dts.append(pts if dts is None else dts)
        self.durations.append(packet.duration or 0)
        self.key.append(packet.is_keyframe)
        self.size_bytes += packet.size

    def drop_before(self, picture: VideoFrame) -> None:
        """Drop the packets before the first picture: they depend on a key frame that the file lacks."""
        if picture.pts is None or self.key[0]:
            return
        indexes = [index for index, pts in enumerate(self.pts) if pts >= picture.pts]
        for column in (self.pts, self.dts, self.durations):
            column[:] = array("q", (column[index] for index in indexes))
        self.key[:] = bytes(self.key[index] for index in indexes)

    def remove_jumps(self, time_base: Fraction) -> None:
        """Undo restarts of the clock, as ffmpeg does: joined transport streams restart it at every join."""
        jump, jump_back = int(_JUMP_S / time_base), int(_JUMP_BACK_S / time_base)
        offset = 0
        previous = expected = self.dts[0] if self.dts else 0
        for index, dts in enumerate(self.dts):
            now = dts + offset
            if abs(now - expected) > jump or now + jump_back < previous:
                offset += expected - now
                now = expected
            self.pts[index] += offset
            previous, expected = now, now + self.durations[index]

    def _next_pts(self) -> int:
        return self.pts[-1] + self.durations[-1] if self.pts else 0


@dataclass(frozen=True, slots=True)
class Timing:
    """When a stream plays, in seconds from the container's start."""

    first_s: float
    last_s: float
    """Start of the last packet that is shown."""
    end_s: float
    frames: int
    rate: Fraction | None = None
    variable: bool = False
    rounded: bool = False
    """Whether the times follow `rate`, but are rounded to ticks longer than `_FINE_S`."""
    longest_key_gap_s: float = 0.0
    size_bytes: int = 0
    hidden_s: float = 0.0


Timings = Mapping[int, Timing]
"""By stream index."""


def start_s(container: InputContainer) -> Fraction:
    """Where the container's clock starts; ffmpeg's `-ss` counts from there."""
    return Fraction(container.start_time or 0, av.time_base)


def may_jump(container: InputContainer) -> bool:
    """Whether the clock may restart in this format, as in MPEG-TS."""
    return bool(container.format.flags & _TS_DISCONT)


def read_packets(
    container: InputContainer, video: VideoStream | None, *, whole: bool
) -> tuple[list[Track], VideoFrame | None]:
    """Demux the file, to the end if `whole`, and decode the first picture of `video`."""
    tracks = [Track() for _ in container.streams]
    picture: VideoFrame | None = None
    tries = _DECODE_TRIES if video else 0
    try:
        for packet in container.demux():
            # Empty packets at the end flush the decoders.
            if packet.size or packet.dts is not None:
                tracks[packet.stream_index].add(packet)
            if tries and packet.stream is video:
                tries -= 1
                if picture := _first_picture(video, packet):
                    tracks[video.index].drop_before(picture)
                    tries = 0
            if not (tries or whole):
                break
    except (av.error.InvalidDataError, av.error.PatchWelcomeError):
        # ffmpeg ends the data here too.
        pass
    except IndexError:
        # PyAV fails on a stream that first appears at the very end; ffmpeg does not use it either.
        pass
    return tracks, picture


def stream_timings(container: InputContainer, tracks: Sequence[Track], *, whole: bool) -> Timings:
    """All streams except cover art and streams that show nothing."""
    timings = {}
    for stream, track in zip(container.streams, tracks, strict=True):
        if stream.disposition & Disposition.attached_pic or (whole and not track.pts):
            continue
        if container.format.name.endswith("_pipe"):
            # A still picture; libav claims that it lasts 1/25 s.
            timings[stream.index] = Timing(0.0, 0.0, 0.0, frames=1)
        elif whole:
            if may_jump(container) and stream.type in ("video", "audio"):
                track.remove_jumps(_tick(stream))
            timings[stream.index] = _measured_timing(track, stream, container)
        else:
            timings[stream.index] = _declared_timing(stream, container)
    return timings


def _measured_timing(track: Track, stream: Stream, container: InputContainer) -> Timing:
    tick, start = _tick(stream), start_s(container)
    pts = sorted(track.pts)
    first, last = pts[0], pts[-1]
    steps = sorted(after - before for before, after in pairwise(pts))
    median = steps[len(steps) // 2] if steps else 0
    end = last + (track.durations[track.pts.index(last)] or median)
    keys = sorted(at for at, key in zip(track.pts, track.key, strict=True) if key)
    key_gap = max(after - before for before, after in pairwise((first, *keys, end)))
    if stream.type == "audio" and stream.start_time is not None:
        # The first packets may only warm up the decoder; libav knows where the audio begins.
        first = max(first, stream.start_time)
    rate = _rate(len(pts), (last - first) * tick, stream)
    return Timing(
        # Nothing before the container's start is shown.
        first_s=max(0.0, float(first * tick - start)),
        last_s=float(last * tick - start),
        end_s=float(end * tick - start),
        frames=len(pts),
        rate=rate,
        variable=_is_variable(steps, median),
        rounded=rate is not None and tick > _FINE_S and _on_grid(pts, tick * rate, start * rate),
        longest_key_gap_s=float(key_gap * tick),
        size_bytes=track.size_bytes,
        hidden_s=float(track.hidden * tick),
    )


def _declared_timing(stream: Stream, container: InputContainer) -> Timing:
    tick = _tick(stream)
    first_s = first_packet_s(stream, container)
    length_s = float(stream.duration * tick) if stream.duration else (container.duration or 0) / av.time_base
    rate = stream.average_rate if isinstance(stream, VideoStream) else None
    last_s = first_s + max(0.0, length_s - (float(1 / rate) if rate else 0.0))
    return Timing(first_s, last_s, first_s + length_s, frames=stream.frames, rate=rate)


def first_packet_s(stream: Stream, container: InputContainer) -> float:
    """Where libav, and so ffmpeg, begins a stream: at its first packet, whether or not that can be decoded."""
    return float(stream.start_time * _tick(stream) - start_s(container)) if stream.start_time is not None else 0.0


def _tick(stream: Stream) -> Fraction:
    return stream.time_base or Fraction(1, av.time_base)


def _first_picture(video: VideoStream, packet: Packet[Any]) -> VideoFrame | None:
    try:
        return next(iter(video.decode(packet)), None)
    except av.FFmpegError:
        # It depends on a key frame before the start of the file, or is damaged; the next one may be fine.
        return None


def _rate(frames: int, span_s: Fraction, stream: Stream) -> Fraction | None:
    """Average pictures per second. The declared rate where time stamps agree with it, because those are rounded."""
    if frames < 2 or not span_s or not isinstance(stream, VideoStream):
        return None
    for declared in (stream.average_rate, stream.base_rate):
        if declared and abs((frames - 1) / declared - span_s) <= _tick(stream):
            return declared
    return (frames - 1) / span_s


def _on_grid(pts: Sequence[int], frames_a_tick: Fraction, start_frames: Fraction) -> bool:
    """Whether each time is a different whole number of frames from the start, give or take a tick."""
    tick, start = float(frames_a_tick), float(start_frames)
    frames = [at * tick - start for at in pts]
    is_near = all(abs(frame - round(frame)) <= min(tick, 0.4) for frame in frames)
    return is_near and all(round(after) > round(before) for before, after in pairwise(frames))


def _is_variable(steps: Sequence[int], median: int) -> bool:
    """Whether more than 1 % of the steps differ from the median by over 20 %; a single gap does not count."""
    # One tick is rounding: milliseconds are too coarse for 23.976 pictures a second.
    slack = max(median / 5, 1 if median > 2 else 0)
    return sum(abs(step - median) > slack for step in steps) > max(1, len(steps) / 100)
