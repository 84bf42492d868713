"""The video with images or texts laid over it; its sound is copied where the container holds all of its tracks.

```yaml
branded:
  type: watermark
  outputs:
    - name: logo
      watermark_set:
        - coordinate_origin: TopRight
          x_pos: 2%
          y_pos: 2%
          image_template: {image_content: logo.png, width: 12%}
        - {type: text, coordinate_origin: BottomLeft, x_pos: 10px, y_pos: 10px, text_content: "© 小电影 2026"}
```
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.codecs import MUXERS, Effort
from mps_dagster.ffmpeg.copying import can_copy_audio
from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate
from mps_dagster.ffmpeg.encoding import Encoding, encoding_plan
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.quality import Quality
from mps_dagster.frozen import contradiction
from mps_dagster.media.info import MediaInfo
from mps_dagster.tasks.mps import Filter, TemplateType
from mps_dagster.tasks.spec import OutputNames, Spec, TaskType, check_comparable, need_length, need_video


class WatermarkSpec(Spec):
    """Ours: MPS has watermarks on other tasks only. Each watermark is reference A.6's."""

    watermark_set: tuple[Watermark, ...] = Field(
        min_length=1, max_length=10, description="Laid over the picture, in this order."
    )
    container: Literal["mp4", "mov", "mkv", "webm"] = Field("mp4", description="The container of the output.")
    codec: Literal["h264", "h265", "av1", "vp9"] = Field(
        "h264", description="Of the picture; sound is copied if it can be."
    )
    vcrf: int = Field(20, ge=0, le=51, description="Quality. 20 is hard to tell from the source in H.264.")
    effort: Effort = "balanced"
    quality: Quality | None = Field(None, description="How the encoded picture is scored; empty = not.")

    @model_validator(mode="after")
    def _is_consistent(self) -> WatermarkSpec:
        if self.codec not in MUXERS[self.container].video:
            raise ValueError(
                f"{self.container} does not hold {self.codec}; it takes {', '.join(sorted(MUXERS[self.container].video))}"
            )
        check_comparable(self.quality, self.watermark_set)
        return self

    @property
    def is_media_file(self) -> bool:
        return True

    def extension(self, path: str = "output_object_path") -> str:  # noqa: ARG002
        return MUXERS[self.container].extension


def plan(spec: WatermarkSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """Size, frame rate and length stay as in the source."""
    need_video(media, "a watermark")
    need_length(media)
    # All tracks or none: an output has one audio encoder for all its tracks.
    copy_audio = can_copy_audio(media.audio, spec.container)
    encoding = Encoding(
        key=names.key(spec.output_object_path or TASK.default_path, format=spec.container),
        container=spec.container,
        video=VideoTemplate(codec=spec.codec, vcrf=spec.vcrf, mode="CRF", effort=spec.effort, quality=spec.quality),
        audio=AudioTemplate(codec="copy" if copy_audio else None, audio_channel=0),
        watermarks=spec.watermark_set,
    )
    return encoding_plan(encoding, media)


def _check_content(request: Any) -> Any:
    if request.type == "image" and not (request.image_template and request.image_template.image_content):
        raise contradiction("ImageTemplate", "an image watermark needs an ImageContent")
    if request.type == "text" and not request.text_template:
        raise contradiction("TextTemplate", "a text watermark needs a TextTemplate")
    return request


TASK = TaskType(
    name="watermark",
    spec=WatermarkSpec,
    plan=plan,
    # MPS has no such result type; its clients see one more transcoded video.
    wire="Transcode",
    default_path="{inputName}_watermark_{definition}.{format}",
    heavy=True,
)
TEMPLATE = TemplateType(
    kind="watermark_template",
    wire="Watermark",
    model=Watermark,
    limit=1000,
    codes={
        **{f"ImageTemplate.{name}": name for name in ("ImageContent", "Width", "Height", "RepeatType")},
        **{f"TextTemplate.{name}": "TextTemplate" for name in ("FontType", "FontSize", "FontColor", "TextContent")},
        "TextTemplate.FontAlpha": "TextAlpha",
    },
    filters={"Type": Filter(Literal["", "image", "text"], lambda mark: mark.type)},
    check=_check_content,
    # The text may come with each task.
    placeholders={"text_content": "text"},
)  # fmt: skip
"""A template of one watermark, for `watermark_set` of any task."""
