"""From wanted video and sound parameters to the one ffmpeg command that makes the file (or the HLS set)."""

from __future__ import annotations

from dataclasses import dataclass

import ffmpeg

from mps_dagster.errors import ContentUnsupported
from mps_dagster.ffmpeg.codecs import MUXERS, Options
from mps_dagster.ffmpeg.copying import copied_audio, copied_video, row
from mps_dagster.ffmpeg.encode import (
    AudioTemplate,
    VideoTemplate,
    audio_options,
    chosen_audio,
    keeps_hdr,
    languages,
    pixel_format,
    video_options,
)
from mps_dagster.ffmpeg.overlay import Watermark, attachments, overlaid
from mps_dagster.ffmpeg.picture import (
    Section,
    Stream,
    arguments,
    prepared,
    seconds,
    section,
    shaped,
    source,
    to_sdr,
)
from mps_dagster.ffmpeg.plan import Copied, Expected, OutputFile, Plan, Segments
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
    hls_time: int = 6
    """Both: HLS only."""


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
        outputs=(OutputFile(file=file, key=wanted.key, expected=_expected(wanted, video, geometry, audio)),),
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


def _expected(
    wanted: Encoding, video: VideoStream | None, geometry: Geometry | None, audio: tuple[AudioStream, ...]
) -> Expected:
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
        tolerance_s=0.5 + 0.01 * wanted.part.duration_s + slack, audio=bool(audio), copied=_copied(wanted, video, audio),
    )  # fmt: skip


def _copied(wanted: Encoding, video: VideoStream | None, audio: tuple[AudioStream, ...]) -> Copied | None:
    picture = video if wanted.video and wanted.video.codec == "copy" else None
    sounds = audio if wanted.audio and wanted.audio.codec == "copy" else ()
    if not picture and not sounds:
        return None
    codecs = tuple(stream.codec for stream in sounds)
    if not picture:
        return Copied(audio=codecs)
    # A part may begin after a change of size.
    size = picture.display_size if wanted.part.whole else None
    return Copied(video=picture.codec, audio=codecs, turned=(picture.rotation, picture.mirrored), display_size=size)


def _command(
    wanted: Encoding, media: MediaInfo, audio: tuple[AudioStream, ...], geometry: Geometry | None
) -> tuple[str, ...]:
    used = (*((media.video,) if geometry and media.video else ()), *audio)
    opened = section(media, wanted.part.start_s, _until(wanted.part), used)
    where = row(wanted.container, mp4_segments=_in_mp4(wanted.segments))
    muxer = MUXERS[wanted.container]
    # Global tags may say where a phone was; what players need is in the streams.
    options: Options = {"map_metadata": -1, "map_chapters": -1, **muxer.args}
    streams: list[Stream] = []
    if media.video and wanted.video and geometry:
        if wanted.video.codec == "copy":
            streams.append(_untouched(wanted.part, media)[str(media.video.index)])
            options |= copied_video(media.video, where)
        else:
            streams.append(_picture(wanted, wanted.video, opened, media.video, geometry))
            options |= video_options(wanted.video, media.video, wanted.container)
    if audio and wanted.audio:
        options |= languages(audio)
        if wanted.audio.codec == "copy":
            streams += [_untouched(wanted.part, media)[str(stream.index)] for stream in audio]
            options |= copied_audio(audio, where)
            if wanted.part.start_s > 0 and options.get("c:v") != "copy":
                # Only a copied picture needs what comes before the start; sound that is left alone begins there.
                options["copypriorss:a"] = 0
        else:
            streams += [_sound(wanted.audio, opened, stream) for stream in audio]
            options |= audio_options(wanted.audio, audio, wanted.container)
    if wanted.segments:
        options |= _hls_options(wanted.segments, wanted.hls_time)
    return arguments(ffmpeg.output(*streams, f"file:out.{muxer.extension}", f=muxer.format, **options))


def _until(part: TimeRange) -> float | None:
    return part.duration_s if part.end_s < part.source_s else None


def _untouched(part: TimeRange, media: MediaInfo) -> Stream:
    """The source for what is copied: no filter can drop what an early seek brings. One input with `opened` if equal."""
    if part.start_s > 0 and not media.seekable:
        raise ContentUnsupported(
            "a part of one of several programmes, each with a clock of its own, cannot be copied",
            hint="name a video codec and an audio codec, or copy the whole",
        )
    options = {"ss": seconds(part.start_s)} if part.start_s > 0 else {}
    if (duration_s := _until(part)) is not None:
        options["t"] = seconds(duration_s)
    return source(media, **options)


def _picture(
    wanted: Encoding, template: VideoTemplate, opened: Section, video: VideoStream, geometry: Geometry
) -> Stream:
    stream = prepared(opened.picture(video), video)
    if rate := template.frame_rate(video):
        stream = stream.filter("fps", f"{rate.numerator}/{rate.denominator}")
    stream = shaped(stream, video, geometry)
    if not keeps_hdr(template):
        stream = to_sdr(stream, video)
    stream = overlaid(stream, wanted.watermarks, geometry.canvas, clip=wanted.part)
    return stream.filter("format", pixel_format(template))


def _sound(template: AudioTemplate, opened: Section, stream: AudioStream) -> Stream:
    # Silence where samples are missing, from time 0 on: sound that starts late or has gaps stays in step.
    track = opened.sound(stream).filter("aresample", **{"async": 1, "first_pts": 0})
    if (template.audio_channel or stream.channels) == 6:
        # 5.1(side), as AC-3 has it, is refused by the Opus encoder.
        track = track.filter("aformat", channel_layouts="5.1")
    return track


def _in_mp4(segments: Segments | None) -> bool:
    return segments is not None and segments.pattern.endswith(".m4s")


def _hls_options(segments: Segments, hls_time: int) -> Options:
    flags = "independent_segments" if "%" in segments.pattern else "independent_segments+single_file"
    options: Options = {
        "hls_time": hls_time, "hls_playlist_type": "vod", "hls_list_size": 0, "hls_flags": flags,
        "hls_segment_filename": segments.pattern,
    }  # fmt: skip
    if _in_mp4(segments):
        options |= {"hls_segment_type": "fmp4", "hls_fmp4_init_filename": HEADER}
    return options
