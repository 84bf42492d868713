"""Turns libav's objects into `VideoStream`, `AudioStream` and `MediaInfo`."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from fractions import Fraction

from av.audio.stream import AudioStream as LibavAudio
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream as LibavVideo

from mps_dagster.media.info import AudioStream, MediaInfo, SubtitleStream, VideoStream
from mps_dagster.media.refuse import dump_format
from mps_dagster.media.scan import Timing, Timings, first_packet_s, start_s
from mps_dagster.media.webp import Animation

# ISO/IEC 23091-2 numbers and ffmpeg's names for them. A number that is missing here counts as not declared.
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_TRANSFER = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_SPACE = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
_TEXT = frozenset({"subrip", "ass", "mov_text", "webvtt", "text"})
"""Codecs of subtitles that are text."""
_FULL_RANGE = 2
_ASPECT_TOLERANCE = Fraction(1, 100)
_UNTIMED = frozenset({"avi", "mpeg"})
"""Containers that lack presentation times for some packets, or for all (AVI with B-frames); libav guesses them."""


def usable_audio(container: InputContainer, timings: Timings) -> frozenset[int]:
    """Indexes of the audio streams that have packets, a decoder and parameters; a broken one must not spoil the others."""
    return frozenset(
        stream.index
        for stream in container.streams.audio
        if stream.index in timings and stream.codec_context and stream.sample_rate and stream.channels
    )


def media_info(
    container: InputContainer, video: VideoStream | None, tracks: Collection[int], timings: Timings, size_bytes: int
) -> MediaInfo:
    audio = tuple(
        audio_stream(stream, timings[stream.index]) for stream in container.streams.audio if stream.index in tracks
    )
    used = {stream.index for stream in (video, *audio) if stream}
    covers = [stream.index for stream in container.streams.video if stream.disposition & Disposition.attached_pic]
    duration_s = _seconds(max((timings[index].end_s for index in used), default=0.0))
    return MediaInfo(
        container=container.format.name,
        size_bytes=size_bytes,
        start_s=_seconds(float(start_s(container))),
        duration_s=duration_s,
        bitrate_bps=_bitrate_bps(size_bytes, duration_s),
        video=video,
        audio=audio,
        subtitles=tuple(_subtitles(container)),
        cover_index=covers[0] if covers else None,
        other_streams=tuple(stream.type for stream in container.streams if stream.index not in {*used, *covers}),
    )


def _subtitles(container: InputContainer) -> Iterator[SubtitleStream]:
    for stream in container.streams.subtitles:
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        if codec in _TEXT:
            yield SubtitleStream(
                index=stream.index, codec=codec, language=_language(stream), title=_tag(stream, "title")[:64]
            )


def video_stream(container: InputContainer, stream: LibavVideo, picture: VideoFrame, timing: Timing) -> VideoStream:
    """Takes from the first decoded picture and the packets what headers lack or get wrong."""
    components = picture.format.components
    listing = _stream_section(container, stream)
    width, height = _cropped_size(picture, listing)
    return VideoStream(
        index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        tag=_codec_tag(stream),
        profile=stream.profile or "",
        width=width,
        height=height,
        rotation=_clockwise_rotation(picture.rotation),
        mirrored=_mirrored(picture),
        sample_aspect=stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1),
        shaped_by_container=(width, height) != (picture.width, picture.height) or _stretched(stream),
        pixel_format=picture.format.name,
        bit_depth=max(component.bits for component in components),
        # ffmpeg's own VP8 and VP9 decoders drop transparency, so the container's tag decides.
        alpha=any(component.is_alpha for component in components)
        or picture.format.has_palette  # A palette may have transparent colours.
        or _tag(stream, "alpha_mode") == "1",
        interlaced=picture.interlaced_frame,
        color_primaries=_PRIMARIES.get(picture.color_primaries, ""),
        color_transfer=_TRANSFER.get(picture.color_trc, ""),
        color_space=_SPACE.get(picture.colorspace, ""),
        full_range=picture.color_range == _FULL_RANGE,
        dolby_vision=_dolby_vision(listing),
        frame_rate=timing.rate,
        variable_frame_rate=timing.variable,
        rounded_times=timing.rounded,
        start_s=_seconds(timing.first_s),
        first_packet_s=_seconds(min(timing.first_s, first_packet_s(stream, container))),
        last_s=_seconds(timing.last_s),
        duration_s=_seconds(timing.end_s - timing.first_s),
        frames=timing.frames,
        hidden_s=_seconds(timing.hidden_s),
        untimed=bool(stream.codec_context.has_b_frames) and stream.container.format.name in _UNTIMED,
        longest_key_gap_s=_seconds(timing.longest_key_gap_s),
        bitrate_bps=_bitrate_bps(timing.size_bytes, timing.end_s - timing.first_s),
    )


def audio_stream(stream: LibavAudio, timing: Timing) -> AudioStream:
    return AudioStream(
        index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        profile=stream.profile or "",
        sample_rate_hz=stream.sample_rate,
        channels=stream.channels,
        language=_language(stream),
        default=bool(stream.disposition & Disposition.default),
        start_s=_seconds(timing.first_s),
        duration_s=_seconds(timing.end_s - timing.first_s),
        hidden_s=_seconds(timing.hidden_s),
        bitrate_bps=_bitrate_bps(timing.size_bytes, timing.end_s - timing.first_s),
    )


def animated_webp(animation: Animation, size_bytes: int) -> MediaInfo:
    """An animated WebP, with ffmpeg 9's names."""
    last_ms, end_s = sum(animation.durations_ms[:-1]), sum(animation.durations_ms) / 1000
    video = VideoStream(
        index=0,
        codec="webp",
        width=animation.width,
        height=animation.height,
        pixel_format="argb",
        alpha=animation.alpha,
        frame_rate=Fraction(1000 * (len(animation.durations_ms) - 1), last_ms) if last_ms else None,
        variable_frame_rate=len(set(animation.durations_ms)) > 1,
        last_s=last_ms / 1000,
        duration_s=end_s,
        frames=len(animation.durations_ms),
        longest_key_gap_s=end_s,
        bitrate_bps=_bitrate_bps(size_bytes, end_s),
    )
    return MediaInfo(
        container="webp_anim", size_bytes=size_bytes, duration_s=end_s, bitrate_bps=video.bitrate_bps, video=video
    )


def _stream_section(container: InputContainer, stream: LibavVideo) -> str:
    """The stream's part of libav's listing, which has facts that PyAV does not expose.

    User tags are listed there too, but with their names in front, so none can look like one of libav's own lines.
    """
    parts = re.split(r"^ *Stream #0:", dump_format(container), flags=re.MULTILINE)
    return next((part for part in parts if re.match(rf"{stream.index}\b", part)), "")


def _dolby_vision(listing: str) -> str:
    match = re.search(r"^ +DOVI configuration record: .*profile: (\d+).*compatibility id: (\d+)", listing, re.MULTILINE)
    return f"{match[1]}.{match[2]}" if match else ""


def _cropped_size(picture: VideoFrame, listing: str) -> tuple[int, int]:
    """The size that ffmpeg and players show; PyAV does not apply the container's cropping."""
    match = re.search(r"^ +Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", listing, re.MULTILINE)
    left, right, top, bottom = map(int, match.groups()) if match else (0, 0, 0, 0)
    width, height = picture.width - left - right, picture.height - top - bottom
    # Like ffmpeg, ignore a cropping that would leave nothing.
    return (width, height) if width > 0 and height > 0 else (picture.width, picture.height)


def _stretched(stream: LibavVideo) -> bool:
    """Whether container and codec give pixels different shapes, beyond rounding."""
    own = stream.codec_context.sample_aspect_ratio or Fraction(1)
    return abs((stream.sample_aspect_ratio or own) / own - 1) > _ASPECT_TOLERANCE


def _bitrate_bps(size_bytes: int, duration_s: float) -> int:
    return round(size_bytes * 8 / duration_s) if duration_s > 0 else 0


def _clockwise_rotation(rotation: float) -> int:
    """libav counts degrees counterclockwise; ffmpeg turns to the nearest right angle only."""
    return -round(rotation / 90) * 90 % 360


def _codec_tag(stream: LibavVideo) -> str:
    try:
        tag = stream.codec_context.codec_tag
    except UnicodeDecodeError:
        # Some containers store a number.
        return ""
    return tag if tag.isalnum() else ""


def _mirrored(picture: VideoFrame) -> bool:
    """A phone's front camera may write a display matrix that flips the picture, which an angle cannot express."""
    matrix = picture.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]  # PyAV's stubs want a string
    if matrix is None:
        return False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    return bool(a * d < b * c)


def _seconds(value: float) -> float:
    """Rounded to microseconds, libav's own precision."""
    return round(value, 6)


def _language(stream: Stream) -> str:
    language = _tag(stream, "language")
    return "" if language == "und" else language


def _tag(stream: Stream, name: str) -> str:
    return next((value for key, value in stream.metadata.items() if key.lower() == name), "")
