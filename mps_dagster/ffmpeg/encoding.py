"""From wanted video and sound parameters to the one ffmpeg command that makes the file (or the HLS set)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import ffmpeg

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration
from mps_dagster.ffmpeg.codecs import MUXERS
from mps_dagster.ffmpeg.encode import (
    AudioTemplate,
    Options,
    VideoTemplate,
    audio_options,
    check_copy,
    chosen_audio,
    keeps_hdr,
    pixel_format,
    video_options,
)
from mps_dagster.ffmpeg.overlay import Watermark, attachments, overlaid
from mps_dagster.ffmpeg.picture import Section, Stream, arguments, prepared, seconds, section, shaped, to_sdr
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan, Segments
from mps_dagster.media.geometry import Geometry, Size, fit
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.timerange import Span, TimeRange, signed_range

PLAYLIST = "out.m3u8"
HEADER = "init.mp4"
HLS_GAP_S, COPIED_HLS_GAP_S = 0.1, 0.5
"""How long HLS may have sound and no picture. Every track of a film is a little longer or shorter than the others, and of
copied pictures nothing can be done about it."""
KEEP_IN_STEP = "aresample=async=1"
"""Silence where samples are missing. Nothing that counts from the start: the graph may be built anew in mid-stream."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One wanted video or audio file."""

    key: str
    container: str
    video: VideoTemplate | None
    """None = no picture is wanted."""
    audio: AudioTemplate | None
    start_time_offset: float = 0.0
    """Signed, as `signed_range` takes them."""
    end_time_offset: float = 0.0
    watermarks: tuple[Watermark, ...] = ()
    segments: Segments | None = None
    """HLS only."""


@dataclass(frozen=True, slots=True)
class Material:
    """What of a source an output is made of."""

    part: TimeRange
    video: VideoStream | None
    audio: tuple[AudioStream, ...]

    @property
    def streams(self) -> tuple[VideoStream | AudioStream, ...]:
        return (*((self.video,) if self.video else ()), *self.audio)

    @property
    def before_picture_s(self) -> float:
        """How long there is sound alone, before the first picture."""
        return max(0.0, self.video.start_s - self.part.start_s) if self.video else 0.0

    @property
    def after_picture_s(self) -> float:
        return max(0.0, self.part.end_s - self.video.end_s) if self.video else 0.0


def encoding_plan(wanted: Encoding, media: MediaInfo) -> Plan:
    """What the source lacks the output lacks too: silent video stays silent, sound without pictures stays sound."""
    material = _material(wanted, media)
    video = material.video
    geometry = _geometry(wanted.video, video) if wanted.video and video else None
    file = f"out.{MUXERS[wanted.container].extension}"
    return Plan(
        commands=(_command(wanted, media, material, geometry),),
        outputs=(OutputFile(file=file, key=wanted.key, expected=_expected(wanted, material, geometry)),),
        duration_s=material.part.duration_s,
        attachments=attachments(wanted.watermarks) if video else (),
        segments=wanted.segments,
    )


def _material(wanted: Encoding, media: MediaInfo) -> Material:
    """The streams that are wanted, the part of them that is, and of those the ones that play in it."""
    video = media.video if wanted.video else None
    audio = chosen_audio(wanted.audio, media, wanted.container) if wanted.audio else ()
    if video is None and not audio:
        raise ContentUnsupported(
            f"the source has none of the streams that {wanted.key} is made of",
            hint=f"video: {'yes' if media.video else 'no'}, audio tracks: {len(media.audio)}",
        )
    span = Span.of([*((video,) if video else ()), *audio])
    part = signed_range(wanted.start_time_offset, wanted.end_time_offset, span)
    if video and not (video.start_s < part.end_s and video.last_s >= part.start_s):
        video = None
    audio = tuple(track for track in audio if track.start_s < part.end_s and track.end_s > part.start_s)
    return Material(part, video, audio)


def segment_pattern(template: VideoTemplate) -> str:
    """One file for byte ranges, numbered files otherwise."""
    extension = "m4s" if template.segment_type in (5, 7) else "ts"
    return f"segment.{extension}" if template.segment_type in (2, 5) else f"segment_%05d.{extension}"


def _geometry(template: VideoTemplate, video: VideoStream) -> Geometry:
    if template.codec == "copy":
        return Geometry(video.display_size, video.display_size)
    return fit(
        video.display_size, width=template.width, height=template.height, adaptive=template.resolution_adaptive,
        fill=template.fill_type, step=2,
    )  # fmt: skip


def _expected(wanted: Encoding, material: Material, geometry: Geometry | None) -> Expected:
    video, part = material.video, material.part
    copied = video is not None and wanted.video is not None and wanted.video.codec == "copy"
    # A copy starts and ends at key frames; an encoder adds at most a frame and some samples.
    slack = video.longest_key_gap_s if video and copied and not part.whole else 0.0
    width, height = geometry.canvas if geometry and not copied else (None, None)
    return Expected(
        kind="playlist" if wanted.container == "hls" else "video" if video else "audio",
        width=width, height=height, duration_s=part.duration_s,
        tolerance_s=0.5 + 0.01 * part.duration_s + slack, audio=bool(material.audio),
    )  # fmt: skip


def _command(wanted: Encoding, media: MediaInfo, material: Material, geometry: Geometry | None) -> tuple[str, ...]:
    opened = section(media, material.part, material.streams)
    muxer = MUXERS[wanted.container]
    # Global tags may say where a phone was; what players need is in the streams.
    options: Options = {"map_metadata": -1, "map_chapters": -1, **muxer.args}
    streams: list[Stream] = []
    if material.video and wanted.video and geometry:
        streams.append(_picture(wanted, material, opened, geometry))
        options |= _video_options(wanted.video, material.video, wanted.container)
    if material.audio and wanted.audio:
        streams += [opened.origin[str(track.index)] for track in material.audio]
        options |= _audio_options(wanted.audio, material.audio, wanted.container, opened)
    if wanted.container == "hls":
        options |= _hls_options(wanted.video or VideoTemplate())
    return arguments(ffmpeg.output(*streams, f"file:out.{muxer.extension}", f=muxer.format, **options))


def _picture(wanted: Encoding, material: Material, opened: Section, geometry: Geometry) -> Stream:
    template, video = wanted.video, material.video
    assert template  # noqa: S101  (the caller looked)
    assert video  # noqa: S101
    if template.codec == "copy":
        if wanted.container == "hls":
            _check_gaps(material)
        return opened.origin[str(video.index)]
    stream = prepared(opened.picture(video), video)
    if rate := template.frame_rate(video):
        stream = stream.filter("fps", f"{rate.numerator}/{rate.denominator}")
    stream = shaped(stream, video, geometry)
    if not keeps_hdr(template):
        stream = to_sdr(stream, video)
    stream = overlaid(stream, wanted.watermarks, geometry.canvas, clip=material.part)
    if wanted.container == "hls":
        stream = _covering(stream, material, geometry.canvas, template.average_rate(video))
    return stream.filter("format", pixel_format(template))


def _check_gaps(material: Material) -> None:
    """HLS is as long as its pictures, and a copy can add none."""
    gap_s = max(material.before_picture_s, material.after_picture_s)
    if gap_s > COPIED_HLS_GAP_S:
        raise InvalidConfiguration(
            f"for {gap_s:.2f} s the source has sound and no picture, which HLS segments of copied video cannot cover",
            hint="name a video codec, for example h264",
        )


def _covering(stream: Stream, material: Material, canvas: Size, rate: Fraction) -> Stream:
    """Black before the first picture and the last one standing to the end: a player stops where an HLS track does."""
    if material.before_picture_s > HLS_GAP_S:
        length_s = seconds(material.before_picture_s)
        black = ffmpeg.input(f"color=black:s={canvas[0]}x{canvas[1]}:r={rate}:d={length_s}", f="lavfi")
        stream = ffmpeg.concat(black.filter("setsar", 1), stream.filter("setpts", "PTS-STARTPTS"))
    if material.after_picture_s > HLS_GAP_S:
        stream = stream.filter("tpad", stop_mode="clone", stop_duration=seconds(material.after_picture_s))
    return stream


def _video_options(template: VideoTemplate, video: VideoStream, container: str) -> Options:
    if template.codec == "copy":
        check_copy("video", video.codec, container, MUXERS[container].video)
        return {"c:v": "copy"}
    return video_options(template, video, container)


def _audio_options(
    template: AudioTemplate, tracks: tuple[AudioStream, ...], container: str, opened: Section
) -> Options:
    """Each track has a filter graph of its own, which ffmpeg may build anew where the sound changes its format on the way."""
    options = audio_options(template, tracks, container)
    for number, track in enumerate(tracks):
        if template.codec == "copy":
            check_copy("audio", track.codec, container, frozenset(MUXERS[container].audio))
            continue
        filters = [*opened.sound_filters, KEEP_IN_STEP]
        if (template.audio_channel or track.channels) == 6:
            # 5.1(side), as AC-3 has it, is refused by the Opus encoder.
            filters.append("aformat=channel_layouts=5.1")
        options[f"filter:a:{number}"] = ",".join(filters)
    return options


def _hls_options(template: VideoTemplate) -> Options:
    flags = "independent_segments+single_file" if template.segment_type in (2, 5) else "independent_segments"
    options: Options = {
        "hls_time": template.hls_time, "hls_playlist_type": "vod", "hls_list_size": 0, "hls_flags": flags,
        "hls_segment_filename": segment_pattern(template),
    }  # fmt: skip
    if template.segment_type in (5, 7):
        options |= {"hls_segment_type": "fmp4", "hls_fmp4_init_filename": HEADER}
    return options
