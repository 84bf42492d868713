"""From wanted video and sound parameters to the one ffmpeg command that makes the file (or the HLS set)."""

from __future__ import annotations

from dataclasses import dataclass

import ffmpeg

from mps_dagster.errors import ContentUnsupported
from mps_dagster.ffmpeg.codecs import MUXERS
from mps_dagster.ffmpeg.colour import as_video, to_rgb, to_sdr, written_matrix
from mps_dagster.ffmpeg.encode import (
    AudioTemplate,
    Options,
    VideoTemplate,
    audio_options,
    blend_format,
    check_copy,
    chosen_audio,
    keeps_alpha,
    keeps_hdr,
    pixel_format,
    video_options,
)
from mps_dagster.ffmpeg.overlay import Blend, Watermark, attachments, overlaid
from mps_dagster.ffmpeg.picture import Section, Stream, arguments, prepared, section, shaped
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan, Segments
from mps_dagster.media.geometry import Geometry, fit
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.timerange import TimeRange

PLAYLIST = "out.m3u8"
HEADER = "init.mp4"


@dataclass(frozen=True, slots=True)
class Encoding:
    """One wanted video or audio file."""

    key: str
    container: str
    part: TimeRange
    video: VideoTemplate | None
    """None = no picture is wanted."""
    audio: AudioTemplate | None
    watermarks: tuple[Watermark, ...] = ()
    segments: Segments | None = None
    """HLS only."""


def encoding_plan(wanted: Encoding, media: MediaInfo) -> Plan:
    """What the source lacks the output lacks too: silent video stays silent, sound without pictures stays sound."""
    video = media.video if wanted.video else None
    audio = chosen_audio(wanted.audio, media, wanted.container) if wanted.audio else ()
    if video is None and not audio:
        raise ContentUnsupported(
            f"the source has none of the streams that {wanted.key} is made of",
            hint=f"video: {'yes' if media.video else 'no'}, audio tracks: {len(media.audio)}",
        )
    geometry = _geometry(wanted.video, video) if wanted.video and video else None
    file = f"out.{MUXERS[wanted.container].extension}"
    return Plan(
        commands=(_command(wanted, media, audio, geometry),),
        outputs=(
            OutputFile(file=file, key=wanted.key, expected=_expected(wanted, video, geometry, with_audio=bool(audio))),
        ),
        duration_s=wanted.part.duration_s,
        attachments=attachments(wanted.watermarks) if video else (),
        segments=wanted.segments,
    )


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


def _expected(wanted: Encoding, video: VideoStream | None, geometry: Geometry | None, *, with_audio: bool) -> Expected:
    copied = video is not None and wanted.video is not None and wanted.video.codec == "copy"
    # A copy starts and ends at key frames; an encoder adds at most a frame and some samples.
    slack = video.longest_key_gap_s if video and copied and not wanted.part.whole else 0.0
    if video and wanted.container == "hls":
        # A playlist is as long as its pictures; sound may go on after them.
        slack += max(0.0, wanted.part.source_s - video.start_s - video.duration_s)
    width, height = geometry.canvas if geometry and not copied else (None, None)
    return Expected(
        kind="playlist" if wanted.container == "hls" else "video" if video else "audio",
        width=width, height=height, duration_s=wanted.part.duration_s,
        tolerance_s=0.5 + 0.01 * wanted.part.duration_s + slack, audio=with_audio,
    )  # fmt: skip


def _command(
    wanted: Encoding, media: MediaInfo, audio: tuple[AudioStream, ...], geometry: Geometry | None
) -> tuple[str, ...]:
    used = (*((media.video,) if geometry and media.video else ()), *audio)
    opened = section(media, wanted.part.start_s, _until(wanted.part), used)
    muxer = MUXERS[wanted.container]
    # Global tags may say where a phone was; what players need is in the streams.
    options: Options = {"map_metadata": -1, "map_chapters": -1, **muxer.args}
    streams: list[Stream] = []
    if media.video and wanted.video and geometry:
        streams.append(_picture(wanted, wanted.video, opened, media.video, geometry))
        options |= _video_options(wanted.video, media.video, wanted.container)
    if audio and wanted.audio:
        streams += [_sound(wanted.audio, opened, stream, wanted.container) for stream in audio]
        options |= audio_options(wanted.audio, audio, wanted.container)
    if wanted.container == "hls":
        options |= _hls_options(wanted.video or VideoTemplate())
    return arguments(ffmpeg.output(*streams, f"file:out.{muxer.extension}", f=muxer.format, **options))


def _until(part: TimeRange) -> float | None:
    return part.duration_s if part.end_s < part.source_s else None


def _picture(
    wanted: Encoding, template: VideoTemplate, opened: Section, video: VideoStream, geometry: Geometry
) -> Stream:
    if template.codec == "copy":
        return opened.origin[str(video.index)]
    alpha = keeps_alpha(template, video)
    stream = prepared(opened.picture(video), video, keep_alpha=alpha)
    if rate := template.frame_rate(video):
        stream = stream.filter("fps", f"{rate.numerator}/{rate.denominator}")
    stream = shaped(stream, geometry, blend="rgb" if alpha else "auto")
    if alpha:
        stream = to_rgb(stream, video, keep_alpha=True)
    elif not keeps_hdr(template):
        stream = to_sdr(stream, video)
    blend = Blend(blend_format(template), video if keeps_hdr(template) else None)
    stream = overlaid(stream, wanted.watermarks, geometry.canvas, blend=blend, clip=wanted.part)
    return as_video(stream, pixel_format(template, video), written_matrix(video, sdr=not keeps_hdr(template)))


def _video_options(template: VideoTemplate, video: VideoStream, container: str) -> Options:
    if template.codec == "copy":
        check_copy("video", video.codec, container, MUXERS[container].video)
        return {"c:v": "copy", **_dolby_vision(video, container)}
    return video_options(template, video, container)


def _dolby_vision(video: VideoStream, container: str) -> Options:
    """Without Dolby's own box, which only MP4 gets, nobody can show what is nothing but Dolby Vision."""
    if video.dolby_vision and container == "mp4":
        return {"strict": "unofficial"}
    if video.only_dolby_vision:
        raise ContentUnsupported(
            f"the video is Dolby Vision profile {video.dolby_vision.split('.')[0]}, which is copied into mp4 only",
            hint="set the container to mp4, or export the source as HDR10, HLG or SDR",
        )
    return {}


def _sound(template: AudioTemplate, opened: Section, stream: AudioStream, container: str) -> Stream:
    if template.codec == "copy":
        check_copy("audio", stream.codec, container, frozenset(MUXERS[container].audio))
        return opened.origin[str(stream.index)]
    # Silence where samples are missing, from time 0 on: sound that starts late or has gaps stays in step.
    track = opened.sound(stream).filter("aresample", **{"async": 1, "first_pts": 0})
    if (template.audio_channel or stream.channels) == 6:
        # 5.1(side), as AC-3 has it, is refused by the Opus encoder.
        track = track.filter("aformat", channel_layouts="5.1")
    return track


def _hls_options(template: VideoTemplate) -> Options:
    flags = "independent_segments+single_file" if template.segment_type in (2, 5) else "independent_segments"
    options: Options = {
        "hls_time": template.hls_time, "hls_playlist_type": "vod", "hls_list_size": 0, "hls_flags": flags,
        "hls_segment_filename": segment_pattern(template),
    }  # fmt: skip
    if template.segment_type in (5, 7):
        options |= {"hls_segment_type": "fmp4", "hls_fmp4_init_filename": HEADER}
    return options
