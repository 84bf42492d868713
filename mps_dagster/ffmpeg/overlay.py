"""Watermarks: an image or a text over a picture, with MPS's parameters (reference A.6, D.6).

Text is rendered to a PNG before ffmpeg starts, so no user text reaches ffmpeg's filter parser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import ffmpeg
from pydantic import Field, model_validator

from mps_dagster.errors import InvalidTimeOffset
from mps_dagster.ffmpeg.colour import match_colours
from mps_dagster.ffmpeg.picture import Stream, seconds
from mps_dagster.ffmpeg.plan import StoredImage, TextImage
from mps_dagster.frozen import OURS, PER_TASK, REQUIRED, Api, Facts
from mps_dagster.media.fonts import FontName
from mps_dagster.media.geometry import Size
from mps_dagster.media.info import VideoStream
from mps_dagster.media.timerange import TimeRange, signed_range

Length = Annotated[str, Field(pattern=r"^\d{1,5}(\.\d+)?(px|%)$", description="`N%` of the video's side, or `Npx`.")]


class ImageTemplate(Facts):
    image_content: Annotated[str, Api(shown=False)] = Field(
        description="A picture (PNG, JPEG, APNG): a file of the templates folder (`logo.png`) or an object (`bucket/key`)."
    )
    width: Length = Field("10%", description="`N%` of the video's width, or `Npx`.")
    height: Length = Field("0px", description="`N%` of the video's height, or `Npx`; 0px keeps the image's own shape.")
    repeat_type: Literal["once", "repeat_last_frame", "repeat"] = Field(
        "repeat", description="An animated image after its last frame: gone, still there, or from the start again."
    )
    digest: Annotated[str, OURS] = Field(
        "", description="sha256 of the image; filled in when the subtasks are planned."
    )
    animated: Annotated[bool, OURS] = Field(False, description="Filled in with the digest.")


MPS_SIZE = Annotated[str, Field(pattern=r"^([01]|[89]|[1-9]\d{1,2}|[1-3]\d{3}|40[0-8]\d|409[0-6])px$")]
"""0, 1, or 8 to 4096."""


class TextTemplate(Facts):
    font_type: Annotated[FontName, Api(required=True, type=Literal["arial.ttf", "simkai.ttf"])] = Field(
        "sans", description="MPS's two fonts, or Noto Sans by its own name."
    )
    font_size: Annotated[str, Field(pattern=r"^\d{1,4}px$"), Api(required=True, type=MPS_SIZE)] = Field(
        "32px", description="Height of the letters, `Npx`."
    )
    font_color: Annotated[str, Field(pattern=r"^0x[0-9A-Fa-f]{6}$"), REQUIRED] = Field(
        "0xFFFFFF", description="0xRRGGBB."
    )
    font_alpha: Annotated[float, REQUIRED] = Field(1.0, gt=0, le=1, description="1 is opaque.")
    text_content: str = Field("", max_length=100, description="The text, in any script.")


class Watermark(Facts):
    """One watermark: where, what, when."""

    not_offered: ClassVar = {"SvgTemplate": None}

    definition: Annotated[int | str, OURS] = Field(
        0, description="Template ID or name; 0 = everything is written here."
    )
    type: Annotated[Literal["image", "text"], Api(required=True, refused=("svg",))] = Field(
        "image", description="Which of the two templates below is used."
    )
    coordinate_origin: Literal["TopLeft", "TopRight", "BottomLeft", "BottomRight"] = Field(
        "TopLeft", description="The corner from which x_pos and y_pos count."
    )
    x_pos: Length = "0px"
    y_pos: Length = "0px"
    image_template: ImageTemplate | None = Field(None, description="The image, if `type` is image.")
    text_template: TextTemplate | None = Field(None, description="The text's look, if `type` is text.")
    text_content: Annotated[str, PER_TASK] = Field("", max_length=100, description="In place of the template's text.")
    start_time_offset: Annotated[float, PER_TASK] = Field(
        0.0, description="Seconds into the video; negative counts from the end."
    )
    end_time_offset: Annotated[float, PER_TASK] = Field(0.0, description="As start_time_offset; 0 = to the end.")

    @model_validator(mode="after")
    def _has_what_it_shows(self) -> Watermark:
        if self.type == "image" and self.image_template is None:
            raise ValueError("an image watermark needs image_template with image_content")
        if self.type == "text" and not self.text:
            raise ValueError("a text watermark needs text_content (here or in text_template)")
        return self

    @property
    def text(self) -> str:
        return self.text_content or (self.text_template.text_content if self.text_template else "")


@dataclass(frozen=True, slots=True)
class Blend:
    """The colours in which watermarks are blended with the picture."""

    format: str
    """The overlay filter's name of the pixel format; its default converts everything to 8-bit 4:2:0."""
    video: VideoStream | None = None
    """The video whose HDR or wide colours the picture has; None = SDR."""


RGB = Blend("rgb")


def attachments(watermarks: tuple[Watermark, ...]) -> tuple[TextImage | StoredImage, ...]:
    """The files that must be in the work folder before the commands run, in the watermarks' order."""
    return tuple(_attachment(mark, _file(number, mark)) for number, mark in enumerate(watermarks))


def overlay_watermarks(
    stream: Stream,
    watermarks: tuple[Watermark, ...],
    canvas: Size,
    *,
    blend: Blend = RGB,
    clip: TimeRange | None = None,
    is_sample: bool = False,
) -> Stream:
    """Overlay all watermarks on a picture of size `canvas`.

    `clip` is the part of the source that the stream shows; None = a still picture, so offsets are ignored.
    A mark that is not shown in it is refused, or left out of a sample.
    """
    for number, mark in enumerate(watermarks):
        timing: dict[str, str | int] = {}
        if clip is not None:
            shown = signed_range(mark.start_time_offset, mark.end_time_offset, clip.span)
            if shown.end_s <= clip.start_s or shown.start_s >= clip.end_s:
                if is_sample:
                    continue
                raise InvalidTimeOffset(
                    f"watermark {number} is shown from {shown.start_s:g} s to {shown.end_s:g} s, outside the output's part",
                    hint=f"the output shows {clip.start_s:g} s to {clip.end_s:g} s of the source",
                )
            if mark.start_time_offset or mark.end_time_offset:
                start, end = (seconds(max(0.0, at - clip.start_s)) for at in (shown.start_s, shown.end_s))
                timing["enable"] = f"gte(t,{start})*lt(t,{end})"
        x, y = _position(mark, canvas)
        image = _image(number, mark, canvas)
        image = match_colours(image, blend.video) if blend.video else image
        options = {"format": blend.format, **timing, **_end_options(mark)}
        stream = ffmpeg.overlay(stream, image, x=x, y=y, **options)
    return stream


def _file(number: int, mark: Watermark) -> str:
    return f"watermark_{number}.{'apng' if mark.image_template and mark.image_template.animated else 'png'}"


def _attachment(mark: Watermark, file: str) -> TextImage | StoredImage:
    if mark.type == "image" and mark.image_template:
        return StoredImage(file=file, image=mark.image_template.image_content, digest=mark.image_template.digest)
    style = mark.text_template or TextTemplate()
    return TextImage(
        file=file, text=mark.text, font=style.font_type, size_px=max(8, int(style.font_size.removesuffix("px"))),
        color=style.font_color, alpha=style.font_alpha,
    )  # fmt: skip


def _image(number: int, mark: Watermark, canvas: Size) -> Stream:
    template = mark.image_template if mark.type == "image" else None
    animated = template is not None and template.animated
    loop = {"stream_loop": -1} if template and animated and template.repeat_type == "repeat" else {}
    image = ffmpeg.input(
        f"file:{_file(number, mark)}", f="apng" if animated else "png_pipe", protocol_whitelist="file", **loop
    )["v:0"]
    if template is not None:
        # -1 keeps the image's shape; scale needs at least one pixel.
        width, height = _pixels(template.width, canvas[0]), _pixels(template.height, canvas[1])
        image = image.filter("scale", max(1, width) if width else -1, max(1, height) if height else -1)
    return image.filter("format", "rgba")


def _end_options(mark: Watermark) -> dict[str, str | int]:
    template = mark.image_template if mark.type == "image" else None
    if template is None or not template.animated:
        return {}
    match template.repeat_type:
        case "once":
            return {"eof_action": "pass"}
        case "repeat_last_frame":
            return {"eof_action": "repeat"}
        case "repeat":
            # The looped image never ends; `shortest` ends the output with the video.
            return {"shortest": 1}


def _position(mark: Watermark, canvas: Size) -> tuple[str, str]:
    x, y = _pixels(mark.x_pos, canvas[0]), _pixels(mark.y_pos, canvas[1])
    from_right = mark.coordinate_origin.endswith("Right")
    from_bottom = mark.coordinate_origin.startswith("Bottom")
    return (f"W-w-{x}" if from_right else str(x)), (f"H-h-{y}" if from_bottom else str(y))


def _pixels(length: str, side: int) -> int:
    if length.endswith("%"):
        return round(side * float(length[:-1]) / 100)
    return round(float(length.removesuffix("px")))
