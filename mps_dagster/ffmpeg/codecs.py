"""Tables of codecs and containers: MPS's names, ffmpeg's names, and which combinations work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

VideoCodec = Literal["h264", "h265", "av1", "vp9", "copy"]
AudioCodec = Literal["aac", "mp3", "opus", "flac", "pcm16", "pcm24", "copy"]
Container = Literal["mp4", "hls", "webm", "mkv", "mov", "ts", "flv", "mp3", "m4a", "flac", "ogg", "wav"]
Effort = Annotated[
    Literal["fast", "balanced", "quality"],
    Field(description="How much time the encoder may take; MPS has no such parameter."),
]

STREAM = "stream"
"""The container of a stream that a packager takes; not for users."""

Args = Mapping[str, str | int]
Options = dict[str, str | int | float]
"""`Args` and `Options`: ffmpeg's output options by name, without the dash."""


@dataclass(frozen=True, slots=True)
class VideoEncoder:
    """One row per codec: the options of its encoder."""

    encoder: str
    effort: Mapping[Effort, Args]
    default_crf: int
    """About the same visible quality for each codec; used if a template sets neither bitrate nor quality."""
    crf_range: tuple[int, int] = (12, 42)
    """In which a CRF is searched; below, files grow and nobody sees it, above, nobody wants to see it."""
    crf_step: float = 0.5
    ten_bit: bool = True
    hls_fmp4_only: bool = False
    extra: Args = field(default_factory=dict)


def _preset(fast: str | int, balanced: str | int, quality: str | int, option: str = "preset") -> Mapping[Effort, Args]:
    return {"fast": {option: fast}, "balanced": {option: balanced}, "quality": {option: quality}}


VIDEO_ENCODERS: Mapping[str, VideoEncoder] = {
    "h264": VideoEncoder("libx264", _preset("veryfast", "medium", "slow"), default_crf=23),
    # Without the tag Apple's players refuse HEVC in mp4; x265 prints to stderr on its own, not through ffmpeg.
    "h265": VideoEncoder(
        "libx265", _preset("ultrafast", "fast", "medium"), default_crf=26, extra={"x265-params": "log-level=error"}
    ),
    "av1": VideoEncoder(
        "libsvtav1", _preset(10, 8, 5), default_crf=35, crf_range=(15, 60), crf_step=1, hls_fmp4_only=True
    ),
    # row-mt: without it, libvpx uses one thread per tile column, which is two at 720p.
    "vp9": VideoEncoder(
        "libvpx-vp9", _preset(5, 3, 1, "cpu-used"), default_crf=32, crf_range=(15, 60), crf_step=1, hls_fmp4_only=True,
        extra={"row-mt": 1, "deadline": "good"},
    ),
}  # fmt: skip

AUDIO_ENCODERS: Mapping[str, str] = {
    "aac": "aac", "mp3": "libmp3lame", "opus": "libopus", "flac": "flac", "pcm16": "pcm_s16le", "pcm24": "pcm_s24le",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Muxer:
    """One row per container: what can be encoded into it. What can be copied into it: copying.py."""

    format: str
    extension: str
    video: frozenset[str]
    audio: tuple[str, ...]
    """The first one is the default."""
    many_audio: bool = True
    """Whether it can hold more than one audio stream."""
    args: Args = field(default_factory=dict)

    @property
    def audio_only(self) -> bool:
        return not self.video


def _codecs(names: str) -> frozenset[str]:
    return frozenset(names.split())


MUXERS: Mapping[str, Muxer] = {
    # faststart: moov at the beginning, so that players can start before they have the whole file.
    "mp4": Muxer(
        "mp4", "mp4", _codecs("h264 h265 av1 vp9"), ("aac", "mp3", "opus", "flac"), args={"movflags": "+faststart"}
    ),
    "mov": Muxer("mov", "mov", _codecs("h264 h265"), ("aac", "mp3", "pcm16", "pcm24"), args={"movflags": "+faststart"}),
    "hls": Muxer("hls", "m3u8", _codecs("h264 h265 av1 vp9"), ("aac", "mp3"), many_audio=False),
    # The streams of adaptive sets, one a file, for the packager.
    STREAM: Muxer("mp4", "mp4", _codecs("h264 h265 av1 vp9"), ("aac", "opus", "flac", "mp3"), many_audio=False),
    "ts": Muxer("mpegts", "ts", _codecs("h264 h265"), ("aac", "mp3", "opus")),
    "webm": Muxer("webm", "webm", _codecs("vp9 av1"), ("opus",)),
    "mkv": Muxer("matroska", "mkv", _codecs("h264 h265 av1 vp9"), ("aac", "mp3", "opus", "flac", "pcm16", "pcm24")),
    "flv": Muxer("flv", "flv", _codecs("h264"), ("aac", "mp3"), many_audio=False),
    "mp3": Muxer("mp3", "mp3", frozenset(), ("mp3",), many_audio=False),
    "m4a": Muxer("ipod", "m4a", frozenset(), ("aac",), many_audio=False, args={"movflags": "+faststart"}),
    "flac": Muxer("flac", "flac", frozenset(), ("flac",), many_audio=False),
    "ogg": Muxer("ogg", "ogg", frozenset(), ("opus", "flac"), many_audio=False),
    "wav": Muxer("wav", "wav", frozenset(), ("pcm16", "pcm24"), many_audio=False),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One row per still-picture format."""

    extension: str
    codec: str
    pixel_format: str
    max_side: int
    """The format's limit, px; encoders fail beyond it."""
    args: Args = field(default_factory=dict)
    alpha_format: str = ""
    """Pixel format with transparency; empty without."""
    matrix: str = ""
    """Y'CbCr matrix, full range; empty if the encoder takes RGB."""


PICTURES: Mapping[str, Picture] = {
    # q 2..31, 2 is best; 3 is about libjpeg's 90. JFIF has one matrix, BT.601's, whatever the size.
    "jpg": Picture("jpg", "mjpeg", "yuvj420p", 65_500, {"q:v": 3}, matrix="bt470bg"),
    "png": Picture("png", "png", "rgb24", 65_535, alpha_format="rgba"),
    # libwebp converts RGB to Y'CbCr itself.
    "webp": Picture("webp", "libwebp", "bgra", 16_383, {"quality": 85}, alpha_format="bgra"),
}
