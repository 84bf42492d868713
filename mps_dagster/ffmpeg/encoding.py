"""From video and sound parameters to the one ffmpeg command that makes the file (or the HLS set)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import ffmpeg

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, InvalidTimeOffset
from mps_dagster.ffmpeg.codecs import MUXERS, Options
from mps_dagster.ffmpeg.colour import as_video, tagged_as, to_rgb, to_sdr, written_matrix
from mps_dagster.ffmpeg.copying import copied_audio, copied_video, row
from mps_dagster.ffmpeg.encode import (
    AudioTemplate,
    VideoTemplate,
    audio_options,
    blend_format,
    chosen_audio,
    keeps_alpha,
    keeps_hdr,
    languages,
    pixel_format,
    video_options,
)
from mps_dagster.ffmpeg.overlay import Blend, Watermark, attachments, overlaid
from mps_dagster.ffmpeg.picture import Stream, arguments, prepared, seconds, section, shaped, untouched
from mps_dagster.ffmpeg.plan import Copied, Expected, OutputFile, Plan, Segments
from mps_dagster.media.geometry import Geometry, Size, fit
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.timerange import Span, TimeRange, signed_range

PLAYLIST = "out.m3u8"
HEADER = "init.mp4"
HLS_GAP_S, COPIED_HLS_GAP_S = 0.1, 0.5
"""How long HLS may have sound and no picture. Every track of a film is a little longer or shorter than the others, and of
copied pictures nothing can be done about it."""
KEEP_IN_STEP = "aresample=async=1"
"""Silence where samples are missing. Nothing that counts from the start: the graph may be rebuilt in mid-stream."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One video or audio file to make."""

    key: str
    container: str
    video: VideoTemplate | None
    """None = without a picture."""
    audio: AudioTemplate | None
    start_time_offset: float = 0.0
    """Signed, as `signed_range` takes them."""
    end_time_offset: float = 0.0
    watermarks: tuple[Watermark, ...] = ()
    segments: Segments | None = None
    hls_time: int = 6
    """Both: HLS only."""

    @property
    def copies_video(self) -> bool:
        return self.video is not None and self.video.codec == "copy"

    @property
    def copies_audio(self) -> bool:
        return self.audio is not None and self.audio.codec == "copy"


@dataclass(frozen=True, slots=True)
class Material:
    """The part of a source that an output is made of."""

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


def encoding_plan(encoding: Encoding, media: MediaInfo) -> Plan:
    """What the source lacks the output lacks too: silent video stays silent, sound without pictures stays sound."""
    material = _material(encoding, media)
    video = material.video
    geometry = _geometry(encoding.video, video) if encoding.video and video else None
    file = f"out.{MUXERS[encoding.container].extension}"
    return Plan(
        commands=(_command(encoding, media, material, geometry),),
        outputs=(OutputFile(file=file, key=encoding.key, expected=_expected(encoding, material, geometry)),),
        duration_s=material.part.duration_s,
        attachments=attachments(encoding.watermarks) if video else (),
        segments=encoding.segments,
    )


def _material(encoding: Encoding, media: MediaInfo) -> Material:
    """The streams and the part that the output is made of, without streams that do not play in that part."""
    video = media.video if encoding.video else None
    audio = chosen_audio(encoding.audio, media, encoding.container) if encoding.audio else ()
    if video is None and not audio:
        raise ContentUnsupported(
            f"the source has none of the streams that {encoding.key} is made of",
            hint=f"video: {'yes' if media.video else 'no'}, audio tracks: {len(media.audio)}",
        )
    span = Span.of([*((video,) if video else ()), *audio])
    part = signed_range(encoding.start_time_offset, encoding.end_time_offset, span)
    if video and not (video.start_s < part.end_s and video.last_s >= part.start_s):
        video = None
    audio = tuple(track for track in audio if track.start_s < part.end_s and track.end_s > part.start_s)
    if video is None and not audio:
        raise InvalidTimeOffset(
            f"nothing plays from {part.start_s:.3f} s to {part.end_s:.3f} s of the source",
            hint="its picture and its sound have a gap there; choose other offsets",
        )
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


def _expected(encoding: Encoding, material: Material, geometry: Geometry | None) -> Expected:
    video, part = material.video, material.part
    copied = video is not None and encoding.copies_video
    # A copy starts and ends at key frames; an encoder adds at most a frame and some samples.
    slack = video.longest_key_gap_s if video and copied and not part.whole else 0.0
    width, height = geometry.canvas if geometry and not copied else (None, None)
    return Expected(
        kind="playlist" if encoding.container == "hls" else "video" if video else "audio",
        width=width, height=height, duration_s=part.duration_s, tolerance_s=0.5 + 0.01 * part.duration_s + slack,
        audio=bool(material.audio), copied=_copied(encoding, material),
    )  # fmt: skip


def _copied(encoding: Encoding, material: Material) -> Copied | None:
    picture = material.video if encoding.copies_video else None
    codecs = tuple(track.codec for track in material.audio) if encoding.copies_audio else ()
    if not picture:
        return Copied(audio=codecs) if codecs else None
    # A part may begin after a change of size.
    size = picture.display_size if material.part.whole else None
    return Copied(video=picture.codec, audio=codecs, turned=(picture.rotation, picture.mirrored), display_size=size)


def _command(encoding: Encoding, media: MediaInfo, material: Material, geometry: Geometry | None) -> tuple[str, ...]:
    muxer = MUXERS[encoding.container]
    # Global tags may say where a phone was; what players need is in the streams.
    options: Options = {"map_metadata": -1, "map_chapters": -1, **muxer.args}
    streams: list[Stream] = []
    for track, more in (_picture(encoding, media, material, geometry), _sound(encoding, media, material)):
        streams += track
        options |= more
    if encoding.segments:
        options |= _hls_options(encoding.segments, encoding.hls_time)
    return arguments(ffmpeg.output(*streams, f"file:out.{muxer.extension}", f=muxer.format, **options))


def _picture(
    encoding: Encoding, media: MediaInfo, material: Material, geometry: Geometry | None
) -> tuple[list[Stream], Options]:
    """The picture's stream and its output options; nothing where there is none."""
    template, video = encoding.video, material.video
    if template is None or video is None or geometry is None:
        return [], {}
    if encoding.copies_video:
        if encoding.container == "hls":
            _check_gaps(material)
        track = untouched(media, material.part, material.streams)[str(video.index)]
        return [track], copied_video(video, _where(encoding))
    alpha = keeps_alpha(template, video)
    stream = section(media, material.part, material.streams).picture(video)
    stream = prepared(stream, video, keep_alpha=alpha)
    if rate := template.frame_rate(video):
        stream = stream.filter("fps", f"{rate.numerator}/{rate.denominator}")
    stream = shaped(stream, video, geometry, blend="rgb" if alpha else "auto")
    if alpha:
        stream = to_rgb(stream, video, keep_alpha=True)
    elif not keeps_hdr(template):
        stream = to_sdr(stream, video)
    blend = Blend(blend_format(template), video if keeps_hdr(template) else None)
    stream = overlaid(stream, encoding.watermarks, geometry.canvas, blend=blend, clip=material.part)
    if encoding.container == "hls":
        black = _black(geometry.canvas, material.before_picture_s, template.average_rate(video))
        stream = _covering(stream, material, tagged_as(black, video, sdr=not keeps_hdr(template)))
    stream = as_video(stream, pixel_format(template, video), written_matrix(video, sdr=not keeps_hdr(template)))
    return [stream], video_options(template, video, encoding.container)


def _sound(encoding: Encoding, media: MediaInfo, material: Material) -> tuple[list[Stream], Options]:
    """The tracks' streams and their output options.

    Each has a filter graph of its own, which ffmpeg rebuilds where the sound changes its format.
    """
    template, tracks = encoding.audio, material.audio
    if template is None or not tracks:
        return [], {}
    options: Options = dict(languages(tracks))
    if encoding.copies_audio:
        origin = untouched(media, material.part, material.streams)
        options |= copied_audio(tracks, _where(encoding))
        if not material.part.from_start and not (material.video and encoding.copies_video):
            # Only a copied picture needs what comes before the start; sound that is left alone begins there.
            options["copypriorss:a"] = 0
    else:
        opened = section(media, material.part, material.streams)
        origin = opened.origin
        options |= audio_options(template, tracks, encoding.container)
        for number, track in enumerate(tracks):
            options[f"filter:a:{number}"] = ",".join([*opened.sound_filters, KEEP_IN_STEP, *_layout(template, track)])
    return [origin[str(track.index)] for track in tracks], options


def _layout(template: AudioTemplate, track: AudioStream) -> tuple[str, ...]:
    """5.1(side), as AC-3 has it, is refused by the Opus encoder."""
    return ("aformat=channel_layouts=5.1",) if (template.audio_channel or track.channels) == 6 else ()


def _check_gaps(material: Material) -> None:
    """HLS is as long as its pictures, and a copy can add none."""
    gap_s = max(material.before_picture_s, material.after_picture_s)
    if gap_s > COPIED_HLS_GAP_S:
        raise InvalidConfiguration(
            f"for {gap_s:.2f} s the source has sound and no picture, which HLS segments of copied video cannot cover",
            hint="name a video codec, for example h264",
        )


def _black(canvas: Size, length_s: float, rate: Fraction) -> Stream:
    black = ffmpeg.input(f"color=black:s={canvas[0]}x{canvas[1]}:r={rate}:d={seconds(length_s)}", f="lavfi")
    return black.filter("setsar", 1)


def _covering(stream: Stream, material: Material, black: Stream) -> Stream:
    """Black before the first picture, and the last picture held to the end: a player stops where an HLS track ends."""
    if material.before_picture_s > HLS_GAP_S:
        stream = ffmpeg.concat(black, stream.filter("setpts", "PTS-STARTPTS"))
    if material.after_picture_s > HLS_GAP_S:
        stream = stream.filter("tpad", stop_mode="clone", stop_duration=seconds(material.after_picture_s))
    return stream


def _where(encoding: Encoding) -> str:
    """The row of what the container holds of copied streams."""
    return row(encoding.container, mp4_segments=_in_mp4(encoding.segments))


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
