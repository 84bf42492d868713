"""The filters every picture passes, in their one right order: fields, colours, size, shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import ffmpeg

from mps_dagster.ffmpeg.colour import SCALER, has_alpha, opened, to_rgb
from mps_dagster.ffmpeg.colour import Stream as Stream
from mps_dagster.ffmpeg.plan import SOURCE
from mps_dagster.media.geometry import Geometry
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""ffmpeg's own decoders of these, which it prefers, leave transparency out."""

_FIELD_CODECS = frozenset({"h264", "mpeg2video", "mpeg4", "vc1", "dvvideo", "prores", "dnxhd"})
"""Those of broadcasts and camcorders, which may hold interlaced pictures among others."""

UNINDEXED = frozenset({"mpegts", "mpeg"})
"""Demuxers that find a time by guessing a file offset."""


def source(media: MediaInfo, **options: str | float) -> Stream:
    """The staged source. Its demuxer is named, so that no playlist in disguise is opened; no protocol but files."""
    video = media.video
    if video and video.alpha and video.codec in _ALPHA_DECODERS:
        options[f"c:{video.index}"] = _ALPHA_DECODERS[video.codec]
    return ffmpeg.input(
        f"file:{SOURCE}", f=media.demuxer, protocol_whitelist="file,pipe", format_whitelist=media.container, **options
    )


@dataclass(frozen=True, slots=True)
class Section:
    """A source, opened so that a part of it can be had: time 0 of its streams is the part's start."""

    origin: Stream
    skip_s: float
    """What lies before the part because the seek had to be early; 0 where the container has an index."""

    def picture(self, stream: VideoStream) -> Stream:
        track = self.origin[str(stream.index)]
        if not self.skip_s:
            return track
        return track.filter("trim", start=seconds(self.skip_s)).filter("setpts", f"PTS-{seconds(self.skip_s)}/TB")

    def sound(self, stream: AudioStream) -> Stream:
        track = self.origin[str(stream.index)]
        if not self.skip_s:
            return track
        return track.filter("atrim", start=seconds(self.skip_s)).filter("asetpts", f"PTS-{seconds(self.skip_s)}/TB")


def section(
    media: MediaInfo, start_s: float, duration_s: float | None, mapped: Iterable[VideoStream | AudioStream]
) -> Section:
    """The source from `start_s` on, for `duration_s` (None: to the end); `mapped` are the streams that will be used."""
    early_s = start_s
    if media.demuxer in UNINDEXED and media.video:
        # Seeks land after the wanted time, by up to a key frame's distance; so seek before it and drop what comes first.
        early_s = max(0.0, start_s - 2 * media.video.longest_key_gap_s - 2)
    options = {"ss": seconds(early_s)} if early_s > 0 else {}
    skip_s = start_s - early_s
    if skip_s and not options:
        # Without a seek ffmpeg starts the clock of these at the earliest stream that is used, not at the container's.
        skip_s = max(0.0, skip_s - min((stream.start_s for stream in mapped), default=0.0))
    if duration_s is not None:
        options["t"] = seconds(skip_s + duration_s)
    return Section(source(media, **options), skip_s)


def arguments(*outputs: Stream) -> tuple[str, ...]:
    """argv without the program."""
    return tuple(ffmpeg.get_args(ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]))


def seconds(value: float) -> str:
    """A time as ffmpeg takes it, to the microsecond and never in exponent form."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def prepared(stream: Stream, video: VideoStream, *, keep_alpha: bool = False) -> Stream:
    """What is wrong with a picture by its origin is put right: interlaced fields, colours that nobody declared."""
    if video.interlaced or video.codec in _FIELD_CODECS:
        # Only frames that are flagged: all others pass as they are, at no cost. A broadcast changes at any time, so the
        # first picture says nothing about the rest.
        stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
    return opened(stream, video, keep_alpha=keep_alpha)


def in_rgb(stream: Stream, video: VideoStream, geometry: Geometry, *, keep_alpha: bool) -> Stream:
    """All of that for stills and animations: `to_rgb` of the shaped picture, transparent if it can be."""
    alpha = keep_alpha and has_alpha(video)
    picture = shaped(prepared(stream, video, keep_alpha=alpha), geometry, blend="rgb")
    return to_rgb(picture, video, keep_alpha=alpha)


def shaped(stream: Stream, geometry: Geometry, *, blend: str = "auto") -> Stream:
    """Scale, then pad or crop to the canvas; square pixels after that. ffmpeg has turned the picture upright before.

    `blend` is how the overlay filter lays it over its own blurred copy: `rgb` for a picture with alpha, of which `auto`
    would take 16 away.
    """
    if geometry.fill == "gauss" and geometry.padded:
        return _over_blurred(stream, geometry, blend).filter("setsar", 1)
    # Of the same size too: the pixel format is made here, behind what `prepared` says about the colours.
    stream = stream.filter("scale", *geometry.inner, flags=SCALER)
    if geometry.cropped:
        stream = stream.filter("crop", *geometry.canvas)
    elif geometry.padded:
        color = "white" if geometry.fill == "white" else "black"
        stream = stream.filter("pad", *geometry.canvas, "(ow-iw)/2", "(oh-ih)/2", color=color)
    return stream.filter("setsar", 1)


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
