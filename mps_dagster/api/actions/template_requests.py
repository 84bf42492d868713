"""What the template actions take (reference D.1 to D.7), and what MPS answers to a parameter that is wrong (D.8)."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Annotated, Literal

from PIL import Image
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from mps_dagster.api.action import NotOffered, Number, RequestModel
from mps_dagster.api.actions.encoding import (
    AUDIO_ONLY,
    NUMBER,
    Adaptive,
    Audio,
    AudioChanges,
    Container,
    FillType,
    Side,
    Switch,
    Video,
    VideoChanges,
)
from mps_dagster.api.error import ApiError

WATERMARK = "watermark_template"
ADAPTIVE = "adaptive_dynamic_streaming"
MAX_IMAGE_BYTES = 10 * 2**20
MAX_IMAGE_SIDE = 4096
Length = Annotated[str, Field(pattern=r"^\d{1,5}(\.\d+)?(px|%)$")]
Origin = Literal["TopLeft", "TopRight", "BottomLeft", "BottomRight"]
FONT_SIZE = r"^([01]|[89]|[1-9]\d{1,2}|[1-3]\d{3}|40[0-8]\d|409[0-6])px$"
"""0, 1, or 8 to 4096."""
Still = Literal["jpg", "png", "webp"]


def _codes(*names: str, **others: str) -> dict[str, str]:
    return {**{name: name for name in names}, **{path.replace("__", "."): code for path, code in others.items()}}


class Labels(RequestModel):
    name: str = Field("", max_length=64)
    comment: str = Field("", max_length=256)


class Named(RequestModel):
    codes = _codes("Definition")

    definition: Number


class TranscodeChanges(Labels):
    codes = _codes(
        "Name", "Container", "RemoveVideo", "RemoveAudio",
        VideoTemplate__Codec="VideoCodec", VideoTemplate__Bitrate="VideoBitrate", VideoTemplate__Fps="Fps",
        VideoTemplate__Width="Resolution", VideoTemplate__Height="Resolution",
        VideoTemplate__ResolutionAdaptive="ResolutionAdaptive", AudioTemplate__Codec="AudioCodec",
        AudioTemplate__Bitrate="AudioBitrate", AudioTemplate__SampleRate="AudioSampleRate",
        AudioTemplate__AudioChannel="AudioChannel",
    )  # fmt: skip

    container: Container | None = None
    remove_video: Switch | None = None
    remove_audio: Switch | None = None
    video_template: VideoChanges | None = None
    audio_template: AudioChanges | None = None
    tehd_config: NotOffered = Field(None, alias="TEHDConfig")
    enhance_config: NotOffered = None
    std_ext_info: NotOffered = None


class Transcode(TranscodeChanges):
    container: Container
    video_template: Video | None = None
    audio_template: Audio | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Transcode:
        """Video, unless it is removed or the container has none; and likewise audio."""
        if not self.video_template and not self.remove_video and self.container not in AUDIO_ONLY:
            raise ValueError("VideoTemplate is required, unless RemoveVideo is 1")
        if not self.audio_template and not self.remove_audio:
            raise ValueError("AudioTemplate is required, unless RemoveAudio is 1")
        return self


class Picture(Labels):
    codes = _codes("Name", "Comment", "Width", "Height", "Format", "FillType", "ResolutionAdaptive")

    width: Side | None = None
    height: Side | None = None
    resolution_adaptive: Adaptive | None = None


class AnimatedGraphicsChanges(Picture):
    codes = _codes("Name", "Comment", "Fps", "Format", "Quality", Width="Resolution", Height="Resolution")

    format: Literal["gif", "webp"] | None = None
    fps: int | None = Field(None, ge=1, le=30)
    quality: float | None = Field(None, ge=1, le=100)


class AnimatedGraphics(AnimatedGraphicsChanges):
    fps: int = Field(ge=1, le=30)


class SnapshotByTimeOffset(Picture):
    format: Still | None = None
    fill_type: FillType | None = None


class SampleSnapshotChanges(SnapshotByTimeOffset):
    codes = _codes(*Picture.codes, "SampleType", "SampleInterval")

    sample_type: Literal["Percent", "Time"] | None = None
    sample_interval: int | None = Field(None, ge=1)


class SampleSnapshot(SampleSnapshotChanges):
    sample_type: Literal["Percent", "Time"]
    sample_interval: int = Field(ge=1)


class ImageSpriteChanges(SampleSnapshotChanges):
    codes = _codes(*SampleSnapshotChanges.codes, "RowCount", "ColumnCount")

    # Of a small picture: MPS's own preset and examples are below what its text allows.
    width: int | None = Field(None, ge=0, le=4096)
    height: int | None = Field(None, ge=0, le=4096)
    fill_type: Literal["stretch", "black"] | None = None
    row_count: int | None = Field(None, ge=1, le=100)
    column_count: int | None = Field(None, ge=1, le=100)


class ImageSprite(ImageSpriteChanges):
    sample_type: Literal["Percent", "Time"]
    sample_interval: int = Field(ge=1)
    row_count: int = Field(ge=1, le=100)
    column_count: int = Field(ge=1, le=100)


class ImageChanges(RequestModel):
    image_content: str | None = None
    width: Length | None = None
    height: Length | None = None
    repeat_type: Literal["once", "repeat_last_frame", "repeat"] | None = None


class TextChanges(RequestModel):
    font_type: Literal["arial.ttf", "simkai.ttf"] | None = None
    font_size: str | None = Field(None, pattern=FONT_SIZE)
    font_color: str | None = Field(None, pattern=r"^0x[0-9A-Fa-f]{6}$")
    font_alpha: float | None = Field(None, gt=0, le=1)
    text_content: str | None = Field(None, max_length=100)


class Text(TextChanges):
    font_type: Literal["arial.ttf", "simkai.ttf"]
    font_size: str = Field(pattern=FONT_SIZE)
    font_color: str = Field(pattern=r"^0x[0-9A-Fa-f]{6}$")
    font_alpha: float = Field(gt=0, le=1)


def _not_svg(kind: object) -> object:
    if kind == "svg":
        raise PydanticCustomError("UnsupportedOperation", "svg is not offered here")
    return kind


class WatermarkChanges(Labels):
    codes = _codes(
        "Name", "Comment", "Type", "CoordinateOrigin", "XPos", "YPos", "ImageTemplate", "TextTemplate",
        ImageTemplate__ImageContent="ImageContent", ImageTemplate__Width="Width", ImageTemplate__Height="Height",
        ImageTemplate__RepeatType="RepeatType", TextTemplate__FontAlpha="TextAlpha", TextTemplate__FontType="TextTemplate",
        TextTemplate__FontSize="TextTemplate", TextTemplate__FontColor="TextTemplate", TextTemplate__TextContent="TextTemplate",
    )  # fmt: skip

    type: Annotated[Literal["image", "text"], BeforeValidator(_not_svg)] | None = None
    coordinate_origin: Origin | None = None
    x_pos: Length | None = Field(None, alias="XPos")
    y_pos: Length | None = Field(None, alias="YPos")
    image_template: ImageChanges | None = None
    text_template: TextChanges | None = None
    svg_template: NotOffered = None


class WatermarkTemplate(WatermarkChanges):
    type: Annotated[Literal["image", "text"], BeforeValidator(_not_svg)]
    text_template: Text | None = None

    @model_validator(mode="after")
    def _shows_something(self) -> WatermarkTemplate:
        if self.type == "image" and not (self.image_template and self.image_template.image_content):
            raise PydanticCustomError("InvalidParameterValue.ImageTemplate", "an image watermark needs an ImageContent")
        if self.type == "text" and not self.text_template:
            raise PydanticCustomError("InvalidParameterValue.TextTemplate", "a text watermark needs a TextTemplate")
        return self


class SubStream(RequestModel):
    video: Video | None = None
    audio: Audio
    remove_audio: Switch = 0
    remove_video: Switch = 0
    audio_list: NotOffered = None


class AdaptiveChanges(Labels):
    """Kept and shown; its task comes with its own release."""

    codes = _codes(
        "Name", "Format", "DisableHigherVideoBitrate", "DisableHigherVideoResolution",
        StreamInfos__Video__Codec="Codec", StreamInfos__Video__Bitrate="Bitrate", StreamInfos__Video__Fps="Fps",
        StreamInfos__Video__Width="Width", StreamInfos__Video__Height="Height", StreamInfos__Video__Gop="Gop",
        StreamInfos__Video__FillType="FillType", StreamInfos__Audio__Codec="Codec", StreamInfos__Audio__Bitrate="Bitrate",
        StreamInfos__Audio__SampleRate="SampleRate", StreamInfos__Audio__AudioChannel="SoundSystem",
        StreamInfos__RemoveAudio="RemoveAudio", StreamInfos__RemoveVideo="RemoveVideo",
    )  # fmt: skip

    format: Literal["HLS", "MPEG-DASH"] | None = None
    stream_infos: tuple[SubStream, ...] | None = Field(None, min_length=1, max_length=10)
    disable_higher_video_bitrate: Switch | None = None
    disable_higher_video_resolution: Switch | None = None
    pure_audio: Switch | None = None
    segment_type: Literal[
        "ts-segment", "ts-byterange", "mp4-segment", "mp4-byterange", "ts-packed-audio", "mp4-packed-audio",
        "ts-ts-segment", "ts-ts-byterange", "mp4-mp4-segment", "mp4-mp4-byterange", "ts-packed-audio-byterange",
        "mp4-packed-audio-byterange",
    ] | None = None  # fmt: skip


class AdaptiveDynamicStreaming(AdaptiveChanges):
    format: Literal["HLS", "MPEG-DASH"]
    stream_infos: tuple[SubStream, ...] = Field(min_length=1, max_length=10)

    @model_validator(mode="after")
    def _goes_together(self) -> AdaptiveDynamicStreaming:
        if self.format == "MPEG-DASH" and self.segment_type not in (None, "mp4-byterange", "mp4-mp4-byterange"):
            raise ValueError("SegmentType of MPEG-DASH is mp4-byterange or mp4-mp4-byterange")
        for stream in self.stream_infos:
            if stream.remove_video and stream.remove_audio:
                raise ValueError("RemoveVideo and RemoveAudio together leave nothing of a stream")
            if self.pure_audio and (not stream.remove_video or stream.remove_audio):
                raise ValueError("PureAudio is of streams with RemoveVideo 1 and RemoveAudio 0")
            if not self.pure_audio and (stream.video is None or stream.video.codec == "copy"):
                raise ValueError("Video is required of each stream, encoded, unless PureAudio is 1")
        return self


class Describe(RequestModel):
    codes = _codes("Definitions", "Limit", "Type")

    definitions: tuple[int, ...] = Field((), max_length=100)
    offset: int = Field(0, ge=0)
    limit: int = Field(10, ge=1, le=100)
    type: Literal["", "Preset", "Custom"] = ""
    name: str = Field("", max_length=64)


class DescribeTranscode(Describe):
    codes = _codes(*Describe.codes, "ContainerType", "TEHDType")

    container_type: Literal["", "Video", "PureAudio"] = ""
    tehd_type: Literal["", "Common", "TEHD"] = Field("", alias="TEHDType")
    transcode_type: Literal["", "Common", "TEHD", "Enhance"] = ""
    scene_type: NotOffered = None
    compress_type: NotOffered = None
    enhance_scene_type: NotOffered = None
    enhance_transcode_type: NotOffered = None
    enhance_type: NotOffered = None


class DescribeWatermark(Describe):
    type: Literal["", "image", "text"] = ""  # type: ignore[assignment]


class DescribeAdaptive(Describe):
    pure_audio: Annotated[Literal[0, 1], NUMBER] | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of template."""

    wire: str
    kind: str
    create: type[Labels]
    changes: type[Labels]
    most: int
    """So many of one's own."""
    describe: type[Describe] = Describe

    @property
    def modify(self) -> type[RequestModel]:
        return type(f"Modify{self.wire}", (self.changes, Named), {"__module__": __name__})


KINDS = (
    Kind("Transcode", "transcode", Transcode, TranscodeChanges, 1000, DescribeTranscode),
    Kind("AnimatedGraphics", "animated_graphics", AnimatedGraphics, AnimatedGraphicsChanges, 16),
    Kind("SampleSnapshot", "sample_snapshot", SampleSnapshot, SampleSnapshotChanges, 16),
    Kind("SnapshotByTimeOffset", "snapshot_by_time_offset", SnapshotByTimeOffset, SnapshotByTimeOffset, 16),
    Kind("ImageSprite", "image_sprite", ImageSprite, ImageSpriteChanges, 16),
    Kind("Watermark", WATERMARK, WatermarkTemplate, WatermarkChanges, 1000, DescribeWatermark),
    Kind("AdaptiveDynamicStreaming", ADAPTIVE, AdaptiveDynamicStreaming, AdaptiveChanges, 100, DescribeAdaptive),
)  # fmt: skip


def picture_of(content: str) -> bytes:
    """A watermark's picture, checked."""
    try:
        data = base64.b64decode(content, validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            size = picture.size
            picture.verify()
    except (ValueError, binascii.Error, SyntaxError, OSError, Image.DecompressionBombError) as error:
        raise ApiError(
            "InvalidParameterValue.ImageContent", f"ImageContent is no PNG or JPEG in base64: {error}"
        ) from error
    if max(size) > MAX_IMAGE_SIDE or len(data) > MAX_IMAGE_BYTES:
        limit = f"{MAX_IMAGE_SIDE} pixels a side and {MAX_IMAGE_BYTES} bytes"
        raise ApiError("InvalidParameterValue.ImageContent", f"ImageContent is larger than {limit}.")
    return data
