"""What the template actions take (reference D.1 to D.6), and what MPS answers to a parameter that is wrong (D.8)."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image
from pydantic import Field, ValidationError
from pydantic.alias_generators import to_pascal

from mps_dagster.api.action import NotOffered, RequestModel
from mps_dagster.api.error import ApiError
from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.media.info import Facts
from mps_dagster.tasks import TASKS

Parameters = dict[str, Any]
WATERMARK = "watermark_template"
ADAPTIVE = "adaptive_dynamic_streaming"
MAX_IMAGE_BYTES = 10 * 2**20
MAX_IMAGE_SIDE = 4096


class Labels(RequestModel):
    name: str = Field("", max_length=64)
    comment: str = Field("", max_length=256)


class Transcode(Labels):
    container: str | None = None
    remove_video: int | None = None
    remove_audio: int | None = None
    video_template: Parameters | None = None
    audio_template: Parameters | None = None
    tehd_config: NotOffered = Field(None, alias="TEHDConfig")
    enhance_config: NotOffered = None
    std_ext_info: NotOffered = None


class Picture(Labels):
    width: int | None = None
    height: int | None = None
    resolution_adaptive: str | None = None
    format: str | None = None


class AnimatedGraphics(Picture):
    fps: int | None = None
    quality: float | None = None


class SnapshotByTimeOffset(Picture):
    fill_type: str | None = None


class SampleSnapshot(SnapshotByTimeOffset):
    sample_type: str | None = None
    sample_interval: int | None = None


class ImageSprite(SampleSnapshot):
    row_count: int | None = None
    column_count: int | None = None


class WatermarkTemplate(Labels):
    type: Literal["image", "text", "svg"] | None = None
    coordinate_origin: str | None = None
    x_pos: str | None = Field(None, alias="XPos")
    y_pos: str | None = Field(None, alias="YPos")
    image_template: Parameters | None = None
    text_template: Parameters | None = None
    svg_template: NotOffered = None


class AdaptiveDynamicStreaming(Labels):
    """Kept and shown; its task comes with its own release."""

    format: Literal["HLS", "MPEG-DASH"] | None = None
    stream_infos: tuple[Parameters, ...] | None = Field(None, min_length=1, max_length=10)
    disable_higher_video_bitrate: Literal[0, 1] | None = None
    disable_higher_video_resolution: Literal[0, 1] | None = None
    pure_audio: Literal[0, 1] | None = None
    segment_type: str | None = None


class Named(RequestModel):
    definition: int


class Describe(RequestModel):
    definitions: tuple[int, ...] = Field((), max_length=100)
    offset: int = Field(0, ge=0)
    limit: int = Field(10, ge=1, le=100)
    type: Literal["", "Preset", "Custom", "image", "text"] = ""
    name: str = Field("", max_length=64)
    container_type: Literal["", "Video", "PureAudio"] = ""
    tehd_type: str = Field("", alias="TEHDType")
    transcode_type: str = ""
    pure_audio: int | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of template."""

    wire: str
    kind: str
    request: type[Labels]
    required: tuple[str, ...]
    most: int
    """So many of one's own."""


class SubStream(Facts):
    video: VideoTemplate | None = None
    audio: AudioTemplate
    remove_audio: Literal[0, 1] = 0
    remove_video: Literal[0, 1] = 0


KINDS = (
    Kind("Transcode", "transcode", Transcode, ("container",), 1000),
    Kind("AnimatedGraphics", "animated_graphics", AnimatedGraphics, ("fps",), 16),
    Kind("SampleSnapshot", "sample_snapshot", SampleSnapshot, ("sample_type", "sample_interval"), 16),
    Kind("SnapshotByTimeOffset", "snapshot_by_time_offset", SnapshotByTimeOffset, (), 16),
    Kind("ImageSprite", "image_sprite", ImageSprite, ("sample_type", "sample_interval", "row_count", "column_count"), 16),
    Kind("Watermark", WATERMARK, WatermarkTemplate, ("type",), 1000),
    Kind("AdaptiveDynamicStreaming", ADAPTIVE, AdaptiveDynamicStreaming, ("format", "stream_infos"), 100),
)  # fmt: skip

CODES = frozenset({
    "Fps", "Format", "Quality", "Width", "Height", "SampleType", "SampleInterval", "RowCount", "ColumnCount", "FillType",
    "ResolutionAdaptive", "Container", "RemoveVideo", "RemoveAudio", "CoordinateOrigin", "XPos", "YPos", "ImageTemplate",
    "TextTemplate", "RepeatType", "TextAlpha", "Type",
})  # fmt: skip
NESTED = {
    "video_template.codec": "VideoCodec",
    "video_template.bitrate": "VideoBitrate",
    "audio_template.codec": "AudioCodec",
    "audio_template.bitrate": "AudioBitrate",
    "audio_template.sample_rate": "AudioSampleRate",
    "audio_template.audio_channel": "AudioChannel",
    "text_template.font_alpha": "TextAlpha",
}
"""Sub-codes of InvalidParameterValue that MPS has (reference D.8)."""


def check(kind: Kind, parameters: Parameters) -> None:
    """Raise what MPS answers to the first parameter that is wrong."""
    try:
        if kind.kind == ADAPTIVE:
            for stream in parameters["stream_infos"]:
                SubStream.model_validate(stream)
        elif kind.kind == WATERMARK:
            # Text may come with each task.
            words = {"text_content": "text"} if parameters.get("type") == "text" else {}
            Watermark.model_validate({**parameters, **words})
        else:
            points: Parameters = {"ext_time_offset_set": ["0s"]} if kind.kind == "snapshot_by_time_offset" else {}
            TASKS[kind.kind].spec.model_validate({**parameters, **points})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
    else:
        return
    path = tuple(str(part) for part in problem["loc"])
    code = NESTED.get(".".join(path[-2:])) or (to_pascal(path[-1]) if path else "")
    if "webp needs" in problem["msg"]:
        code = "FormatWebpWidthAndHeightBothZero"
    known = code in CODES or code in NESTED.values() or code.startswith("FormatWebp")
    where = ".".join(to_pascal(part) for part in path)
    text = problem["msg"].removeprefix("Value error, ")
    raise ApiError(
        f"InvalidParameterValue.{code}" if known else "InvalidParameterValue", f"`{where}`: {text}" if where else text
    )


def picture_of(parameters: Parameters) -> bytes | None:
    """The watermark picture of a request, checked; its place in the parameters is filled in when it has a name."""
    content = parameters.get("image_template", {}).get("image_content")
    if content is None:
        return None
    try:
        data = base64.b64decode(content, validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            size = picture.size
            picture.verify()
    except (ValueError, SyntaxError, OSError, Image.DecompressionBombError) as error:
        raise ApiError(
            "InvalidParameterValue.ImageContent", f"ImageContent is no PNG or JPEG in base64: {error}"
        ) from error
    if max(size) > MAX_IMAGE_SIDE or len(data) > MAX_IMAGE_BYTES:
        limit = f"{MAX_IMAGE_SIDE} pixels a side and {MAX_IMAGE_BYTES} bytes"
        raise ApiError("InvalidParameterValue.ImageContent", f"ImageContent is larger than {limit}.")
    parameters["image_template"] = {**parameters["image_template"], "image_content": "pending.png"}
    return data
