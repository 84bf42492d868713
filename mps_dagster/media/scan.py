"""What the packets of a file say about its streams. Headers only claim; packets are what a decoder gets."""

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
"""Packets to try before a video counts as undecodable; a broadcast cut anywhere has a key frame long before."""
_TS_DISCONT = 0x0200
"""libav's AVFMT_TS_DISCONT; PyAV's own enum of it takes part in no arithmetic."""
_FINE_S = Fraction(1, 10_000)
"""A tick of so much tells one frame's time well enough."""
_JUMP_S, _JUMP_BACK_S = 10, 0.1
"""ffmpeg's own thresholds (`-dts_delta_threshold`), so that our times are its times."""


@dataclass(slots=True)
class Track:
    """The packets of one stream as columns: half a million of them must not become half a million objects."""

    shown: array[int] = field(default_factory=lambda: array("q"))
    """When (pts). All times are in the stream's time base."""
    decoded: array[int] = field(default_factory=lambda: array("q"))
    """When (dts)."""
    lasting: array[int] = field(default_factory=lambda: array("q"))
    """How long; 0 = not known."""
    key: bytearray = field(default_factory=bytearray)
    size_bytes: int = 0
    hidden: int = 0
    """How long all packets last that an edit list hides."""
    encrypted: bool = False

    def add(self, packet: Packet[Any]) -> None:
        if packet.is_discard:
            # Outside of an edit list: decoded, but never shown.
            self.hidden += packet.duration or 0
            return
        shown, decoded = packet.pts, packet.dts
        if shown is None:
            shown = decoded if decoded is not None else self._next()
        if not self.shown:
            self.encrypted = packet.has_sidedata("encryption_info")
        self.shown.append(shown)
        self.decoded.append(shown if decoded is None else decoded)
        self.lasting.append(packet.duration or 0)
        self.key.append(packet.is_keyframe)
        self.size_bytes += packet.size

    def begin_with(self, picture: VideoFrame) -> None:
        """Forget the packets before the first picture: they lean on a key frame that is not in the file."""
        if picture.pts is None or self.key[0]:
            return
        kept = [at for at, shown in enumerate(self.shown) if shown >= picture.pts]
        for column in (self.shown, self.decoded, self.lasting):
            column[:] = array("q", (column[at] for at in kept))
        self.key[:] = bytes(self.key[at] for at in kept)

    def close_jumps(self, time_base: Fraction) -> None:
        """Undo restarts of the clock, as ffmpeg does: joined transport streams start again at every join."""
        jump, jump_back = int(_JUMP_S / time_base), int(_JUMP_BACK_S / time_base)
        offset = 0
        previous = expected = self.decoded[0] if self.decoded else 0
        for at, decoded in enumerate(self.decoded):
            now = decoded + offset
            if abs(now - expected) > jump or now + jump_back < previous:
                offset += expected - now
                now = expected
            self.shown[at] += offset
            previous, expected = now, now + self.lasting[at]

    def _next(self) -> int:
        return self.shown[-1] + self.lasting[-1] if self.shown else 0


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
    """Whether the times are those of `rate`, rounded to a tick that is longer than `_FINE_S`."""
    longest_key_gap_s: float = 0.0
    size_bytes: int = 0
    hidden_s: float = 0.0


Timings = Mapping[int, Timing]
"""By stream index."""


def start_s(container: InputContainer) -> Fraction:
    """Where the container's clock starts; ffmpeg's `-ss` counts from there."""
    return Fraction(container.start_time or 0, av.time_base)


def has_jumps(container: InputContainer) -> bool:
    """Is it a format in which the clock may restart, such as MPEG-TS?"""
    return bool(container.format.flags & _TS_DISCONT)


def read(container: InputContainer, video: VideoStream | None, *, whole: bool) -> tuple[list[Track], VideoFrame | None]:
    """Demux the file, to the end if `whole`, and decode the first picture of `video` on the way."""
    tracks = [Track() for _ in container.streams]
    picture: VideoFrame | None = None
    tries = _DECODE_TRIES if video else 0
    try:
        for packet in container.demux():
            # At the end come empty packets, to flush the decoders.
            if packet.size or packet.dts is not None:
                tracks[packet.stream_index].add(packet)
            if tries and packet.stream is video:
                tries -= 1
                if picture := _first_picture(video, packet):
                    tracks[video.index].begin_with(picture)
                    tries = 0
            if not (tries or whole):
                break
    except (av.error.InvalidDataError, av.error.PatchWelcomeError):
        # The data ends here; for ffmpeg too.
        pass
    except IndexError:
        # PyAV stumbles at the very end over a stream that did not show before; ffmpeg does not use that one either.
        pass
    return tracks, picture


def timings(container: InputContainer, tracks: Sequence[Track], *, whole: bool) -> Timings:
    """All streams but cover art and those that have nothing to show."""
    by_stream = {}
    for stream, track in zip(container.streams, tracks, strict=True):
        if stream.disposition & Disposition.attached_pic or (whole and not track.shown):
            continue
        if container.format.name.endswith("_pipe"):
            # A still picture; libav gives it 1/25 s.
            by_stream[stream.index] = Timing(0.0, 0.0, 0.0, frames=1)
        elif whole:
            if has_jumps(container) and stream.type in ("video", "audio"):
                track.close_jumps(_tick(stream))
            by_stream[stream.index] = _measured(track, stream, container)
        else:
            by_stream[stream.index] = _claimed(stream, container)
    return by_stream


def _measured(track: Track, stream: Stream, container: InputContainer) -> Timing:
    tick, start = _tick(stream), start_s(container)
    shown = sorted(track.shown)
    first, last = shown[0], shown[-1]
    steps = sorted(after - before for before, after in pairwise(shown))
    usual = steps[len(steps) // 2] if steps else 0
    end = last + (track.lasting[track.shown.index(last)] or usual)
    keys = sorted(at for at, key in zip(track.shown, track.key, strict=True) if key)
    key_gap = max(after - before for before, after in pairwise((first, *keys, end)))
    if stream.type == "audio" and stream.start_time is not None:
        # The first packets may only warm up the decoder; libav knows where the sound begins.
        first = max(first, stream.start_time)
    rate = _rate(len(shown), (last - first) * tick, stream)
    return Timing(
        # What lies before the start is not shown.
        first_s=max(0.0, float(first * tick - start)),
        last_s=float(last * tick - start),
        end_s=float(end * tick - start),
        frames=len(shown),
        rate=rate,
        variable=_variable(steps, usual),
        rounded=rate is not None and tick > _FINE_S and _on_grid(shown, tick * rate, start * rate),
        longest_key_gap_s=float(key_gap * tick),
        size_bytes=track.size_bytes,
        hidden_s=float(track.hidden * tick),
    )


def _claimed(stream: Stream, container: InputContainer) -> Timing:
    """What the headers say."""
    tick = _tick(stream)
    first_s = first_packet_s(stream, container)
    length_s = float(stream.duration * tick) if stream.duration else (container.duration or 0) / av.time_base
    rate = stream.average_rate if isinstance(stream, VideoStream) else None
    last_s = first_s + max(0.0, length_s - (float(1 / rate) if rate else 0.0))
    return Timing(first_s, last_s, first_s + length_s, frames=stream.frames, rate=rate)


def first_packet_s(stream: Stream, container: InputContainer) -> float:
    """Where libav, and so ffmpeg, says that a stream begins: it looks at packets, whether or not they can be decoded."""
    return float(stream.start_time * _tick(stream) - start_s(container)) if stream.start_time is not None else 0.0


def _tick(stream: Stream) -> Fraction:
    return stream.time_base or Fraction(1, av.time_base)


def _first_picture(video: VideoStream, packet: Packet[Any]) -> VideoFrame | None:
    try:
        return next(iter(video.decode(packet)), None)
    except av.FFmpegError:
        # It leans on a key frame before the start of the file, or is damaged; the next may be whole.
        return None


def _rate(frames: int, span_s: Fraction, stream: Stream) -> Fraction | None:
    """Pictures per second on average; the declared rate where it explains the time stamps, because those are rounded."""
    if frames < 2 or not span_s or not isinstance(stream, VideoStream):
        return None
    for declared in (stream.average_rate, stream.base_rate):
        if declared and abs((frames - 1) / declared - span_s) <= _tick(stream):
            return declared
    return (frames - 1) / span_s


def _on_grid(shown: Sequence[int], frames_a_tick: Fraction, start_frames: Fraction) -> bool:
    """Whether each time is a whole number of frames from the start, within a tick, and no two are the same number."""
    a_tick, start = float(frames_a_tick), float(start_frames)
    frames = [at * a_tick - start for at in shown]
    near = all(abs(frame - round(frame)) <= min(a_tick, 0.4) for frame in frames)
    return near and all(round(after) > round(before) for before, after in pairwise(frames))


def _variable(steps: Sequence[int], usual: int) -> bool:
    """More than one picture in a hundred comes 20 % too early or too late; a single gap is no variable rate."""
    # Milliseconds are too coarse for 23.976 pictures a second: one tick more or less is rounding.
    slack = max(usual / 5, 1 if usual > 2 else 0)
    return sum(abs(step - usual) > slack for step in steps) > max(1, len(steps) / 100)
