"""One frame of the video, in grey. Not part of the product: the example of docs/adding-a-task-type.md, and its test.

```yaml
cover:
  type: poster
  outputs:
    - {definition: 1, at: 0.5}
```
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import ffmpeg
from pydantic import Field, model_validator

from mps_dagster.ffmpeg.codecs import PICTURES
from mps_dagster.ffmpeg.colour import to_picture_format
from mps_dagster.ffmpeg.picture import arguments, rgb_picture
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan
from mps_dagster.ffmpeg.stills import sample_frames
from mps_dagster.frozen import PER_TASK, REQUIRED, Api, contradiction
from mps_dagster.media.geometry import fit
from mps_dagster.media.info import MediaInfo
from mps_dagster.tasks.mps import MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import OutputNames, Side, Spec, TaskType, need_video


class PosterSpec(Spec):
    format: Annotated[Literal["png", "jpg"], REQUIRED] = Field("png", description="png or jpg.")
    width: Annotated[Side, Api(least=128)] = Field(0, description="Pixels; 0 = as the source.")
    at: Annotated[float, PER_TASK] = Field(0.0, description="Seconds from the beginning.")

    @model_validator(mode="after")
    def _is_small(self) -> PosterSpec:
        if self.format == "jpg" and self.width > 2000:
            raise contradiction("Width", "width is at most 2000 when format is jpg")
        return self


def plan(spec: PosterSpec, media: MediaInfo, names: OutputNames) -> Plan:
    video = need_video(media, "a poster")
    geometry, picture = fit(video.display_size, width=spec.width), PICTURES[spec.format]
    frame = rgb_picture(sample_frames(media, video, (spec.at,), keyframes=False), video, geometry, keep_alpha=False)
    grey = to_picture_format(frame.filter("format", "gray").filter("format", "rgb24"), video, picture)
    file = f"poster.{spec.format}"
    command = ffmpeg.output(grey, f"file:{file}", f="image2", update=1, **{"c:v": picture.codec, **picture.args})
    key = names.key(spec.output_object_path or TASK.default_path, format=spec.format)
    width, height = geometry.canvas
    expected = Expected(kind="image", width=width, height=height)
    return Plan(commands=(arguments(command),), outputs=(OutputFile(file=file, key=key, expected=expected),), duration_s=media.duration_s)  # fmt: skip


def output(result: SubtaskResult) -> dict[str, Any]:
    return {"path": result.paths[0], "at": result.spec["at"]}


TASK = TaskType(
    name="poster",
    spec=PosterSpec,
    plan=plan,
    wire="Poster",
    default_path="{inputName}_poster_{definition}.{format}",
    mps=MpsTask("PosterTask", "action-poster", output),
    template=TemplateType(kind="poster", wire="Poster", model=PosterSpec, limit=2),
)
