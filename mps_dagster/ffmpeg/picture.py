"""Opening a source's part, and the filters for every picture in their fixed order: fields, colours, size, shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import ffmpeg

from mps_dagster.errors import ContentUnsupported
from mps_dagster.ffmpeg.colour import SCALER, has_alpha, prepare_colours, to_rgb
from mps_dagster.ffmpeg.colour import Stream as Stream
from mps_dagster.ffmpeg.plan import SOURCE
from mps_dagster.media.geometry import Geometry
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.timerange import TimeRange

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""ffmpeg prefers its own decoders for these codecs, but they drop transparency."""

_FIELD_CODECS = frozenset({"h264", "mpeg2video", "mpeg4", "vc1", "dvvideo", "prores", "dnxhd"})
"""Codecs of broadcasts and camcorders, which may mix interlaced and progressive pictures."""

UNINDEXED = frozenset({"mpegts", "mpeg"})
"""Demuxers that seek by guessing a file offset."""
UNSEEKABLE = frozenset({"webp_anim", "apng", "gif"})
"""Demuxers of animations, which can only be decoded from the beginning."""
RESTARTING = frozenset({"mpegts", "mpeg", "ogg"})
"""Demuxers whose clock may restart (AVFMT_TS_DISCONT); with these, ffmpeg's time 0 is the start of the first used stream."""


def source(media: MediaInfo, **options: str | float) -> Stream:
    """The staged source as an input: only its probed demuxer and local files, so that no hidden playlist is opened."""
    video = media.video
    if video and video.alpha and video.codec in _ALPHA_DECODERS:
        options[f"c:{video.index}"] = _ALPHA_DECODERS[video.codec]
    if video and video.untimed and video.times_follow:
        # For copies: containers need the time of every picture, but program streams store only some.
        options["fflags"] = "+genpts"
    return ffmpeg.input(
        f"file:{SOURCE}", f=media.demuxer, protocol_whitelist="file,pipe", format_whitelist=media.container, **options
    )


@dataclass(frozen=True, slots=True)
class Section:
    """A source opened at a part: time 0 of the filtered streams is the part's start."""

    origin: Stream
    skip_s: float
    """Duration to drop before the part, if the seek had to be early; mostly 0."""
    length_s: float | None
    """None = to the end. `-t` is not exact: it counts from each stream's first frame, so a late stream would last longer."""

    def picture(self, stream: VideoStream) -> Stream:
        track = self.origin[str(stream.index)]
        if self._bounds:
            track = track.filter("trim", **self._bounds)
        if self.skip_s:
            track = track.filter("setpts", f"PTS-{seconds(self.skip_s)}/TB")
        return track

    @property
    def audio_filters(self) -> tuple[str, ...]:
        """The first filters of each audio track's own graph."""
        bounds = ":".join(f"{name}={value}" for name, value in self._bounds.items())
        trim = (f"atrim={bounds}",) if bounds else ()
        return (*trim, f"asetpts=PTS-{seconds(self.skip_s)}/TB") if self.skip_s else trim

    @property
    def _bounds(self) -> dict[str, str]:
        start = {"start": seconds(self.skip_s)} if self.skip_s else {}
        return start if self.length_s is None else {**start, "end": seconds(self.skip_s + self.length_s)}


def section(
    media: MediaInfo, part: TimeRange, used: Sequence[VideoStream | AudioStream], **options: str | float
) -> Section:
    """The part of the source to filter and encode; `used` are the streams to map, `options` further input options."""
    return _open_section(media, part, used, 0.0 if part.from_start else _seek_s(media, part, used), **options)


def copy_section(media: MediaInfo, part: TimeRange, used: Sequence[VideoStream | AudioStream]) -> Stream:
    """The part of the source to copy: an exact seek, because no filter can drop anything. Merges with an equal `section`."""
    if not part.from_start and not media.seekable:
        raise ContentUnsupported(
            "the source has several programmes, each with a clock of its own, so a part of one cannot be copied",
            hint="name a video codec and an audio codec, or copy it from start to end",
        )
    return _open_section(media, part, used, part.start_s).origin


def late_section(media: MediaInfo, part: TimeRange, video: VideoStream, from_s: float) -> Stream:
    """The video of the part, from some key frame before its second `from_s` on. Time 0 stays the part's start.

    Where the section begins changes no time stamp, so filters behave as if it had been decoded from the start.
    """
    options: dict[str, str | float] = {} if video.turned else {"reinit_filter:v": 0}
    clock_s = video.first_packet_s if media.demuxer in RESTARTING else 0.0
    # One key frame more: pictures after the first one may refer to what lies before it (open GOP, intra refresh).
    early_s = video.longest_key_gap_s + 1
    if media.demuxer in UNINDEXED:
        early_s = 2 * early_s
    # Whole seconds: what is subtracted here and added again has no rounding error.
    seek_s = math.floor(part.start_s + from_s - early_s)
    if seek_s > max(video.start_s, clock_s, 0.0):
        options["ss"] = seek_s
        clock_s = seek_s
    shift_s = clock_s - part.start_s
    if seconds(shift_s) != "0":
        options["itsoffset"] = seconds(shift_s)
    start = {} if part.from_start else {"start": "0"}
    end = {} if part.to_end else {"end": seconds(part.duration_s)}
    track = source(media, **options)[str(video.index)]
    return track.filter("trim", **start, **end) if start or end else track


def _open_section(
    media: MediaInfo, part: TimeRange, used: Sequence[VideoStream | AudioStream], seek_s: float, **options: str | float
) -> Section:
    if not any(isinstance(stream, VideoStream) and stream.turned for stream in used):
        # A change of size would rebuild the filter graph and restart clocks, counters and watermarks. `fit_canvas` accepts
        # every size, but the filter with which ffmpeg undoes rotation does not.
        options["reinit_filter:v"] = 0
    # Where ffmpeg's time 0 is on the source's clock, without a seek.
    clock_s = min(stream.first_packet_s for stream in used) if media.demuxer in RESTARTING else 0.0
    if part.from_start:
        # No seek: rounding could make it miss the first picture.
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
    """Where to seek to for a part that starts later than its streams; it may be early, `skip_s` drops the rest."""
    if not media.seekable or media.demuxer in UNSEEKABLE:
        return 0.0
    if any(isinstance(stream, VideoStream) and part.start_s <= stream.start_s for stream in used):
        # ffmpeg seeks to a picture, so audio before the first picture would be lost.
        return 0.0
    if media.demuxer in UNINDEXED and media.video:
        # Seeks may land late, by up to one key-frame interval.
        return max(0.0, part.start_s - 2 * media.video.longest_key_gap_s - 2)
    return part.start_s


def arguments(*outputs: Stream) -> tuple[str, ...]:
    """ffmpeg's arguments, without the program."""
    return tuple(ffmpeg.get_args(ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]))


def seconds(value: float) -> str:
    """A time in ffmpeg's syntax, to the microsecond and never with an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def prepare(stream: Stream, video: VideoStream, *, keep_alpha: bool = False) -> Stream:
    """Deinterlace and declare the colours."""
    fields = video.interlaced or video.codec in _FIELD_CODECS
    if (fields or video.alpha) and not video.turned and video.color_space != "ycgco":
        # The filters for fields and alpha need pictures of one size and pixel format. Not for YCgCo, which the scaler does
        # not support; screen recordings keep their size anyway.
        stream = stream.filter("scale", video.width, video.height, interl=-1)
    if fields:
        # Only frames flagged as interlaced change. A broadcast may switch at any time, so the first picture does not
        # decide for the rest.
        stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
    return prepare_colours(stream, video, keep_alpha=keep_alpha)


def rgb_picture(stream: Stream, video: VideoStream, geometry: Geometry, *, keep_alpha: bool) -> Stream:
    """All filters for stills and animations: the fitted picture in RGB, with transparency if possible."""
    alpha = keep_alpha and has_alpha(video)
    picture = fit_canvas(prepare(stream, video, keep_alpha=alpha), video, geometry, blend="rgb")
    return to_rgb(picture, video, keep_alpha=alpha)


def fit_canvas(stream: Stream, video: VideoStream, geometry: Geometry, *, blend: str = "auto") -> Stream:
    """Scale, then pad or crop to the canvas, with square pixels. ffmpeg has already turned the picture upright.

    The output has one size even if the source changes its size or shape. `blend` is the overlay filter's format for the
    blurred background: `rgb` for a picture with alpha, because `auto` would darken it by 16.
    """
    if geometry.fill == "gauss" and geometry.padded:
        upright = _scale_and_pad(stream, video, Geometry(video.display_size, video.display_size))
        return _over_blurred_copy(upright, geometry, blend).filter("setsar", 1)
    stream = _scale_and_pad(stream, video, geometry)
    if geometry.cropped:
        stream = stream.filter("crop", *geometry.canvas)
    return stream.filter("setsar", 1)


def _scale_and_pad(stream: Stream, video: VideoStream, geometry: Geometry) -> Stream:
    """Pictures of the source's shape fill `inner`; others are centred in it. Then the border is added."""
    width, height = geometry.inner
    shape = Fraction(*video.display_size)
    size: tuple[str | int, str | int] = geometry.inner
    if geometry.fill != "stretch":
        as_source = f"lt(abs(dar*{shape.denominator}/{shape.numerator}-1),0.02)"
        size = (
            f"if({as_source},{width},2*round(min({width},{height}*dar)/2))",
            f"if({as_source},{height},2*round(min({height},{width}/dar)/2))",
        )
    # Needed at the same size too: ffmpeg converts the pixel format here, after `prepare` has declared the colours.
    stream = stream.filter("scale", *size, eval="frame", flags=SCALER)
    color = "white" if geometry.fill == "white" else "black"
    outer = geometry.inner if geometry.cropped else geometry.canvas
    return stream.filter("pad", *outer, "(ow-iw)/2", "(oh-ih)/2", color=color, eval="frame")


def _over_blurred_copy(stream: Stream, geometry: Geometry, blend: str) -> Stream:
    """The picture in front of itself, enlarged to cover the canvas and blurred."""
    copies = stream.split()
    width, height = geometry.canvas
    background = (
        copies[0]
        .filter("scale", width, height, force_original_aspect_ratio="increase", flags=SCALER)
        .filter("crop", width, height)
        .filter("gblur", sigma=20)
    )
    foreground = copies[1].filter("scale", *geometry.inner, flags=SCALER)
    return ffmpeg.overlay(background, foreground, format=blend, x="(W-w)/2", y="(H-h)/2")
