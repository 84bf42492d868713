"""The filters every picture passes, in their one right order: fields, colours, size, shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ffmpeg

from mps_dagster.ffmpeg.plan import SOURCE
from mps_dagster.media.geometry import Geometry
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream

Stream = Any
"""A node of ffmpeg-python's graph; the library has no types."""

_HD_HEIGHT = 720

UNINDEXED = frozenset({"mpegts", "mpeg"})
"""Demuxers that find a time by guessing a file offset."""


def source(media: MediaInfo, **options: str | float) -> Stream:
    """The staged source. Its demuxer is named, so that no playlist in disguise is opened; no protocol but files."""
    if media.video and media.video.untimed and media.video.times_follow:
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
    if not media.seekable:
        early_s = 0.0
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


def prepared(stream: Stream, video: VideoStream) -> Stream:
    """What is wrong with a picture by its origin is put right: interlaced fields, colours that nobody declared."""
    if video.interlaced:
        # Only frames that are flagged: film inside interlaced video keeps its full height.
        stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
    if not video.hdr and video.color_space in ("", "unknown", "gbr"):
        space = "bt709" if min(video.display_size) >= _HD_HEIGHT else "smpte170m"
        # Players guess by size; once scaled, the guess would be another one.
        if video.color_space != "gbr":
            stream = stream.filter("setparams", colorspace=space, color_primaries=space, color_trc=space)
    return stream


def shaped(stream: Stream, video: VideoStream, geometry: Geometry, *, full_range: bool = False) -> Stream:
    """Scale, then pad or crop to the canvas; square pixels after that. ffmpeg has turned the picture upright before."""
    if geometry.fill == "gauss" and geometry.padded:
        return _over_blurred(stream, geometry).filter("setsar", 1)
    width, height = geometry.inner
    if geometry.inner != video.display_size or video.sample_aspect != 1 or video.full_range != full_range or video.hdr:
        range_ = "full" if full_range else "limited"
        stream = stream.filter("scale", width, height, flags="bicubic", out_range=range_)
    if geometry.cropped:
        stream = stream.filter("crop", *geometry.canvas)
    elif geometry.padded:
        color = "white" if geometry.fill == "white" else "black"
        stream = stream.filter("pad", *geometry.canvas, "(ow-iw)/2", "(oh-ih)/2", color=color)
    return stream.filter("setsar", 1)


def _over_blurred(stream: Stream, geometry: Geometry) -> Stream:
    """The picture in front of itself, enlarged to cover the canvas and blurred."""
    copies = stream.split()
    width, height = geometry.canvas
    back = (
        copies[0]
        .filter("scale", width, height, force_original_aspect_ratio="increase")
        .filter("crop", width, height)
        .filter("gblur", sigma=20)
    )
    front = copies[1].filter("scale", *geometry.inner, flags="bicubic")
    return ffmpeg.overlay(back, front, x="(W-w)/2", y="(H-h)/2")


def to_sdr(stream: Stream, video: VideoStream) -> Stream:
    """HDR10 and HLG to BT.709; without it the picture looks washed out on every SDR screen. SDR passes unchanged."""
    if not video.hdr:
        return stream
    space = video.color_space if video.color_space in ("bt2020nc", "bt2020c") else "bt2020nc"
    # 4:4:4 first: zscale refuses odd sides of subsampled pictures.
    stream = stream.filter("format", "yuv444p10le")
    stream = stream.filter(
        "zscale", tin=video.color_transfer, min=space, pin="bt2020", rin="limited", t="linear", npl=100
    )
    stream = stream.filter("format", "gbrpf32le").filter("zscale", p="bt709")
    stream = stream.filter("tonemap", tonemap="hable", desat=0)
    # Named, or zscale would take 4:2:0 upon itself and refuse odd sides once more.
    return stream.filter("zscale", t="bt709", m="bt709", r="limited").filter("format", "yuv444p")
