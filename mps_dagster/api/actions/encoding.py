"""Video and audio parameters of a request (reference A.5), for tasks and for templates alike.

What MPS has and we do not is refused by name, unless it says nothing (`""`, 0); the ranges are MPS's, narrower here and
there than what a workflow file may ask for.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from mps_dagster.api.action import NotOffered, RequestModel

ENCODERS = {"h264": "libx264", "h265": "libx265", "aac": "libfdk_aac", "mp3": "libmp3lame"}
"""MPS takes codecs by name and tells of them by encoder (reference J.9)."""
_CODECS = {encoder: codec for codec, encoder in ENCODERS.items()}


def _offered(*others: str) -> BeforeValidator:
    """A name of MPS's that is not offered is told from one that does not exist; an encoder stands for its codec."""

    def check(name: Any) -> Any:
        if name in others:
            raise PydanticCustomError("UnsupportedOperation", "{name} is not offered here", {"name": name})
        return _CODECS.get(name, name) if isinstance(name, str) else name

    return BeforeValidator(check)


def _number(value: Any) -> Any:
    """In a form every value is a string, and a `Literal` takes none for a number."""
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value


def zero_or(least: int) -> AfterValidator:
    """0 leaves it open."""

    def check(value: int) -> int:
        if 0 < value < least:
            raise ValueError(f"it is 0, or {least} at least")
        return value

    return AfterValidator(check)


def _quality(vcrf: int) -> int:
    if not (0 <= vcrf <= 51 or vcrf == AUTO["vcrf"]):
        raise ValueError("it is 0 to 51, or 100 for what MPS chooses")
    return vcrf


AUTO = {"vcrf": 100, "bframes": -1}
"""MPS's way to take back what was set."""
NUMBER = BeforeValidator(_number)
Switch = Annotated[Literal[0, 1], NUMBER]
Side = Annotated[int, zero_or(128), Field(ge=0, le=4096)]
VideoKbps = Annotated[int, zero_or(128), Field(ge=0, le=100_000)]
AudioKbps = Annotated[int, zero_or(26), Field(ge=0, le=256)]
SampleRate = Annotated[Literal[0, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000], NUMBER]
Adaptive = Literal["open", "close"]
FillType = Literal["stretch", "black", "white", "gauss", "smarttailor"]
VideoCodec = Annotated[
    Literal["h264", "h265", "av1", "vp9", "copy"], _offered("h266", "vp8", "mpeg2", "dnxhd", "mv-hevc")
]
AudioCodec = Annotated[Literal["aac", "mp3", "opus", "flac", "pcm16", "pcm24", "copy"], _offered("mp2", "ac3", "eac3")]
Container = Annotated[
    Literal["mp4", "flv", "hls", "ts", "webm", "mkv", "mov", "mp3", "flac", "ogg", "m4a", "wav"], _offered("mxf")
]
AUDIO_ONLY = frozenset({"mp3", "flac", "ogg", "m4a", "wav"})


class VideoChanges(RequestModel):
    """VideoTemplateInfoForUpdate: what is given goes over what the template has."""

    codec: VideoCodec | None = None
    fps: int | None = Field(None, ge=0, le=120)
    fps_denominator: int | None = Field(None, ge=1)
    bitrate: VideoKbps | None = None
    resolution_adaptive: Adaptive | None = None
    width: Side | None = None
    height: Side | None = None
    gop: int | None = Field(None, ge=0, le=100_000)
    gop_unit: Literal["frame", "second"] | None = None
    fill_type: FillType | None = None
    vcrf: Annotated[int, AfterValidator(_quality)] | None = None
    hls_time: int | None = Field(None, ge=1, le=10)
    segment_type: Annotated[Literal[0, 2, 5, 7], NUMBER] | None = None
    video_profile: Literal["baseline", "main", "high", "default", ""] | None = None
    video_level: str | None = Field(None, pattern=r"^$|^\d(\.\d)?$")
    bframes: int | None = Field(None, ge=-1, le=16)
    mode: Literal["VBR", "ABR", "CBR", "VCRF", "CRF"] | None = None
    no_scenecut: Switch | None = None
    bit_depth: Annotated[Literal[8, 10], NUMBER] | None = None
    stereo3d_type: NotOffered = Field(None, alias="Stereo3dType")
    sar: NotOffered = None
    raw_pts: NotOffered = None
    compress: NotOffered = None
    segment_specific_info: NotOffered = None
    scenario_based: NotOffered = None
    scene_type: NotOffered = None
    compress_type: NotOffered = None
    content_adapt_stream: NotOffered = None


class Video(VideoChanges):
    """VideoTemplateInfo."""

    codec: VideoCodec
    fps: int = Field(ge=0, le=120)
    bitrate: VideoKbps


class AudioChanges(RequestModel):
    """AudioTemplateInfoForUpdate."""

    codec: AudioCodec | None = None
    bitrate: AudioKbps | None = None
    sample_rate: SampleRate | None = None
    audio_channel: Annotated[Literal[0, 1, 2, 6], NUMBER] | None = None
    stream_selects: tuple[Annotated[int, Field(ge=0)], ...] = ()


class Audio(AudioChanges):
    """AudioTemplateInfo."""

    codec: AudioCodec
    bitrate: AudioKbps
    sample_rate: SampleRate
    track_channel_info: NotOffered = None
    audio_language: NotOffered = None
    audio_name: NotOffered = None
    default_track: NotOffered = None


class OverrideTranscode(RequestModel):
    """OverrideTranscodeParameter."""

    container: Container | None = None
    remove_video: Switch | None = None
    remove_audio: Switch | None = None
    video_template: VideoChanges | None = None
    audio_template: AudioChanges | None = None
    tehd_config: NotOffered = Field(None, alias="TEHDConfig")
    subtitle_template: NotOffered = None
    addon_audio_stream: NotOffered = None
    std_ext_info: NotOffered = None
    add_on_subtitles: NotOffered = None


class RawTranscode(RequestModel):
    """RawTranscodeParameter: all of it."""

    container: Container
    remove_video: Switch = 0
    remove_audio: Switch = 0
    video_template: Video | None = None
    audio_template: Audio | None = None
    tehd_config: NotOffered = Field(None, alias="TEHDConfig")
    std_ext_info: NotOffered = None
    enhance_config: NotOffered = None
    subtitle_template: NotOffered = None


def parameters_of(model: RequestModel) -> dict[str, Any]:
    """What a request has, in our names; what it does not name keeps its default."""
    given = model.model_dump(exclude_unset=True, exclude_none=True)
    video = given.get("video_template", {})
    video |= {name: None for name, auto in AUTO.items() if video.get(name) == auto}
    return given
