"""The filters every picture passes, in their one right order: fields, colours, size, shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import ffmpeg

from mps_dagster.errors import ContentUnsupported
from mps_dagster.ffmpeg.colour import SCALER, has_alpha, opened, to_rgb
from mps_dagster.ffmpeg.colour import Stream as Stream
from mps_dagster.ffmpeg.plan import SOURCE
from mps_dagster.media.geometry import Geometry
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.timerange import TimeRange

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""ffmpeg's own decoders of these, which it prefers, leave transparency out."""

_FIELD_CODECS = frozenset({"h264", "mpeg2video", "mpeg4", "vc1", "dvvideo", "prores", "dnxhd"})
"""Those of broadcasts and camcorders, which may hold interlaced pictures among others."""

UNINDEXED = frozenset({"mpegts", "mpeg"})
"""Demuxers that find a time by guessing a file offset."""
UNSEEKABLE = frozenset({"webp_anim", "apng", "gif"})
"""Demuxers of animations, which are decoded from their beginning."""
RESTARTING = frozenset({"mpegts", "mpeg", "ogg"})
"""Demuxers whose clock may restart (AVFMT_TS_DISCONT); ffmpeg starts it at the earliest stream that is used."""


def source(media: MediaInfo, **options: str | float) -> Stream:
    """The staged source. Its demuxer is named, so that no playlist in disguise is opened; no protocol but files."""
    video = media.video
    if video and video.alpha and video.codec in _ALPHA_DECODERS:
        options[f"c:{video.index}"] = _ALPHA_DECODERS[video.codec]
    if video and video.untimed and video.times_follow:
        # For a copy: containers want the time of every picture, which a program stream has of some only.
        options["fflags"] = "+genpts"
    return ffmpeg.input(
        f"file:{SOURCE}", f=media.demuxer, protocol_whitelist="file,pipe", format_whitelist=media.container, **options
    )


@dataclass(frozen=True, slots=True)
class Section:
    """A source, opened so that a part of it can be had: time 0 of its streams is the part's start."""

    origin: Stream
    skip_s: float
    """What lies before the part because the seek had to be early; mostly 0."""
    length_s: float | None
    """None = to the end. ffmpeg's own `-t` counts from each stream's first frame, and lets a late one go on for longer."""

    def picture(self, stream: VideoStream) -> Stream:
        track = self.origin[str(stream.index)]
        if self._bounds:
            track = track.filter("trim", **self._bounds)
        if self.skip_s:
            track = track.filter("setpts", f"PTS-{seconds(self.skip_s)}/TB")
        return track

    @property
    def sound_filters(self) -> tuple[str, ...]:
        """What each sound track passes first, in a graph of its own."""
        bounds = ":".join(f"{name}={value}" for name, value in self._bounds.items())
        cut = (f"atrim={bounds}",) if bounds else ()
        return (*cut, f"asetpts=PTS-{seconds(self.skip_s)}/TB") if self.skip_s else cut

    @property
    def _bounds(self) -> dict[str, str]:
        start = {"start": seconds(self.skip_s)} if self.skip_s else {}
        return start if self.length_s is None else {**start, "end": seconds(self.skip_s + self.length_s)}


def section(
    media: MediaInfo, part: TimeRange, used: Sequence[VideoStream | AudioStream], **options: str | float
) -> Section:
    """The part of the source; `used` are the streams that will be mapped, `options` more of the input's."""
    return _opened(media, part, used, 0.0 if part.from_start else _seek_s(media, part, used), **options)


def untouched(media: MediaInfo, part: TimeRange, used: Sequence[VideoStream | AudioStream]) -> Stream:
    """The same for what is copied: no filter can drop what an early seek brings. One input with `section` if equal."""
    if not part.from_start and not media.seekable:
        raise ContentUnsupported(
            "a part of one of several programmes, each with a clock of its own, cannot be copied",
            hint="name a video codec and an audio codec, or copy the whole",
        )
    return _opened(media, part, used, part.start_s).origin


def _opened(
    media: MediaInfo,
    part: TimeRange,
    used: Sequence[VideoStream | AudioStream],
    seek_s: float,
    **options: str | float,
) -> Section:
    if not any(isinstance(stream, VideoStream) and stream.turned for stream in used):
        # A change of size in mid-stream would rebuild the filter graph, and clocks, counters and watermarks would
        # begin again; `shaped` takes every size. (Rotation is undone by a filter of ffmpeg's own, which does not.)
        options["reinit_filter:v"] = 0
    # Where ffmpeg's clock begins without a seek, on the source's.
    clock_s = min(stream.first_packet_s for stream in used) if media.demuxer in RESTARTING else 0.0
    if part.from_start:
        # No seek: one to the very first picture may miss it by a rounding.
        if seconds(part.start_s - clock_s) != "0":
            options["itsoffset"] = seconds(clock_s - part.start_s)
        skip_s = 0.0
    else:
        if seek_s > 0:
            options["ss"] = seconds(seek_s)
        skip_s = part.start_s - max(seek_s, clock_s)
    if not part.to_end:
        options["t"] = seconds(skip_s + part.duration_s)
    return Section(source(media, **options), skip_s, None if part.to_end else part.duration_s)


def _seek_s(media: MediaInfo, part: TimeRange, used: Sequence[VideoStream | AudioStream]) -> float:
    """Where to seek to for a part that does not begin with its streams; what is too early is skipped."""
    if not media.seekable or media.demuxer in UNSEEKABLE:
        return 0.0
    if any(isinstance(stream, VideoStream) and part.start_s <= stream.start_s for stream in used):
        # ffmpeg seeks to a picture, and the sound before the first one would be lost.
        return 0.0
    if media.demuxer in UNINDEXED and media.video:
        # Seeks land after the requested time, by up to a key frame's distance.
        return max(0.0, part.start_s - 2 * media.video.longest_key_gap_s - 2)
    return part.start_s


def arguments(*outputs: Stream) -> tuple[str, ...]:
    """argv without the program."""
    return tuple(ffmpeg.get_args(ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]))


def seconds(value: float) -> str:
    """A time as ffmpeg takes it, to the microsecond and never in exponent form."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def prepared(stream: Stream, video: VideoStream, *, keep_alpha: bool = False) -> Stream:
    """What is wrong with a picture by its origin is put right: interlaced fields, colours that nobody declared."""
    fields = video.interlaced or video.codec in _FIELD_CODECS
    if (fields or video.alpha) and not video.turned and video.color_space != "ycgco":
        # Before `shaped` only these need pictures of one size and pixel format; those of the first one pass as they are.
        # (YCgCo the scaler does not take; screens that record in it stay as they are.)
        stream = stream.filter("scale", video.width, video.height, interl=-1)
    if fields:
        # Only frames that are flagged; all others pass as they are. A broadcast changes at any time, so the first picture
        # says nothing about the rest.
        stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
    return opened(stream, video, keep_alpha=keep_alpha)


def in_rgb(stream: Stream, video: VideoStream, geometry: Geometry, *, keep_alpha: bool) -> Stream:
    """All of that for stills and animations: `to_rgb` of the shaped picture, transparent if it can be."""
    alpha = keep_alpha and has_alpha(video)
    picture = shaped(prepared(stream, video, keep_alpha=alpha), video, geometry, blend="rgb")
    return to_rgb(picture, video, keep_alpha=alpha)


def shaped(stream: Stream, video: VideoStream, geometry: Geometry, *, blend: str = "auto") -> Stream:
    """Scale, then pad or crop to the canvas; square pixels after that. ffmpeg has turned the picture upright before.

    What comes out has one size, also where the source changes its size or shape on the way. `blend` is how the overlay
    filter lays it over its own blurred copy: `rgb` for a picture with alpha, of which `auto` would take 16 away.
    """
    if geometry.fill == "gauss" and geometry.padded:
        upright = _boxed(stream, video, Geometry(video.display_size, video.display_size))
        return _over_blurred(upright, geometry, blend).filter("setsar", 1)
    stream = _boxed(stream, video, geometry)
    if geometry.cropped:
        stream = stream.filter("crop", *geometry.canvas)
    return stream.filter("setsar", 1)


def _boxed(stream: Stream, video: VideoStream, geometry: Geometry) -> Stream:
    """Pictures of the source's shape fill `inner`; others lie in its middle. Then the border."""
    width, height = geometry.inner
    shape = Fraction(*video.display_size)
    size: tuple[str | int, str | int] = geometry.inner
    if geometry.fill != "stretch":
        as_source = f"lt(abs(dar*{shape.denominator}/{shape.numerator}-1),0.02)"
        size = (
            f"if({as_source},{width},2*round(min({width},{height}*dar)/2))",
            f"if({as_source},{height},2*round(min({height},{width}/dar)/2))",
        )
    # Of the same size too: the pixel format is made here, behind what `prepared` says about the colours.
    stream = stream.filter("scale", *size, eval="frame", flags=SCALER)
    color = "white" if geometry.fill == "white" else "black"
    outer = geometry.inner if geometry.cropped else geometry.canvas
    return stream.filter("pad", *outer, "(ow-iw)/2", "(oh-ih)/2", color=color, eval="frame")


def _over_blurred(stream: Stream, geometry: Geometry, blend: str) -> Stream:
    """The picture in front of itself, enlarged to cover the canvas and blurred."""
    copies = stream.split()
    width, height = geometry.canvas
    back = (
        copies[0]
        .filter("scale", width, height, force_original_aspect_ratio="increase", flags=SCALER)
        .filter("crop", width, height)
        .filter("gblur", sigma=20)
    )
    front = copies[1].filter("scale", *geometry.inner, flags=SCALER)
    return ffmpeg.overlay(back, front, format=blend, x="(W-w)/2", y="(H-h)/2")
