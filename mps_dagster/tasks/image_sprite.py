"""Small pictures at even steps, tiled into sheets, and a WebVTT index that maps times to parts of the sheets.

```yaml
scrubbing:
  type: image_sprite
  outputs:
    - {definition: 10}          # 142 x 80, 10 x 10 a sheet, one every 10 s
```
"""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan, TextFile
from mps_dagster.ffmpeg.sheets import Sheets, sheets_command
from mps_dagster.ffmpeg.size import pictures_bytes
from mps_dagster.ffmpeg.stills import check_side
from mps_dagster.frozen import REQUIRED, Api, contradiction
from mps_dagster.media.geometry import Adaptive, Size, fit
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.tasks.mps import MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import (
    OutputNames,
    PictureFormat,
    SampleType,
    Side,
    Spec,
    TaskType,
    check_interval,
    need_video,
    sample_times,
)

MAX_PICTURES = 100_000
INDEX_PATH = "{inputName}_imageSprite_{definition}.{format}"


class ImageSpriteSpec(Spec):
    """Reference A.4 (ImageSpriteTaskInput) and D.5."""

    sample_type: SampleType = "Time"
    sample_interval: Annotated[int, REQUIRED] = Field(10, ge=1, description="Percent of the duration, or seconds.")
    row_count: Annotated[int, REQUIRED] = Field(
        10, ge=1, le=100, description="Small pictures from top to bottom of a sheet."
    )
    column_count: Annotated[int, REQUIRED] = Field(10, ge=1, le=100, description="Small pictures from left to right.")
    width: Side = Field(142, description="Pixels of one small picture; 142 x 80 is MPS's preset.")
    height: Side = 80
    resolution_adaptive: Adaptive = "close"
    fill_type: Annotated[Literal["stretch", "black", "white", "gauss"], Api(type=Literal["stretch", "black"])] = Field(
        "black", description="For a picture of another shape: stretched, with bars, or over a blurred copy."
    )
    format: PictureFormat = "jpg"
    web_vtt_object_name: Annotated[str, Api("task", path=INDEX_PATH)] = Field(
        "", description="Path of the index, relative to the output dir."
    )

    @model_validator(mode="after")
    def _within_limits(self) -> ImageSpriteSpec:
        if self.row_count * self.column_count > 100:
            raise contradiction("RowCount", "row_count x column_count is at most 100 pictures a sheet")
        check_interval(self.sample_type, self.sample_interval)
        if self.web_vtt_object_name.startswith("/"):
            raise ValueError("web_vtt_object_name is relative to the output dir and has no leading slash")
        return self

    def extension(self, path: str = "output_object_path") -> str:
        return "vtt" if path == "web_vtt_object_name" else self.format


def plan(spec: ImageSpriteSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """As many sheets as the pictures need; the last one may be partly black."""
    video = need_video(media, "an image sprite")
    times = sample_times(video, spec.sample_type, spec.sample_interval, at_most=MAX_PICTURES)
    geometry = fit(
        video.display_size, width=spec.width, height=spec.height, adaptive=spec.resolution_adaptive, fill=spec.fill_type
    )
    sheets = Sheets(times, geometry, spec.column_count, spec.row_count, spec.format)
    cell, keys = geometry.canvas, spec.series(names, TASK.default_path, format=spec.format, count=sheets.count)
    check_side(spec.format, sheets.size)
    index_path = names.key(spec.web_vtt_object_name or INDEX_PATH, format="vtt")
    expected = Expected(kind="image", width=sheets.size[0], height=sheets.size[1])
    return Plan(
        commands=(sheets_command(sheets, media, video),),
        outputs=tuple(
            OutputFile(file=file, key=key, expected=expected) for file, key in zip(sheets.files, keys, strict=True)
        ),
        duration_s=media.duration_s,
        estimated_bytes=pictures_bytes(spec.format, sheets.size, sheets.count),
        texts=(TextFile(key=index_path, text=_index(spec, times, video, cell, keys, index_path)),),
        facts={"width": cell[0], "height": cell[1], "total_count": len(times), "web_vtt_path": index_path},
    )


def _index(
    spec: ImageSpriteSpec, times: tuple[float, ...], video: VideoStream, cell: Size, sheets: tuple[str, ...], path: str
) -> str:
    """One cue per small picture, from its time to the next one's, with the sheet's path relative to the index."""
    # A player's seek bar begins at 0, even if the first picture comes later.
    starts = (0.0, *times[1:])
    ends = (*times[1:], max(video.end_s, times[-1] + 0.001))
    folder = posixpath.dirname(path) or "."
    cues = ["WEBVTT", ""]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        sheet, place = divmod(number, spec.row_count * spec.column_count)
        row, column = divmod(place, spec.column_count)
        target = quote(posixpath.relpath(sheets[sheet], folder))
        cues.append(f"{_stamp(start)} --> {_stamp(end)}")
        cues.append(f"{target}#xywh={column * cell[0]},{row * cell[1]},{cell[0]},{cell[1]}")
        cues.append("")
    return "\n".join(cues)


def _stamp(at_s: float) -> str:
    milliseconds = round(at_s * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def output(result: SubtaskResult) -> dict[str, Any]:
    """MPS's MediaImageSpriteItem."""
    sizes = {name: result.facts.get(name, 0) for name in ("height", "width", "total_count")}
    return {**sizes, "image_path_set": result.paths, "web_vtt_path": f"/{result.facts.get('web_vtt_path', '')}"}


TASK = TaskType(
    name="image_sprite",
    spec=ImageSpriteSpec,
    plan=plan,
    wire="ImageSprites",
    usage="Snapshot",
    default_path="{inputName}_imageSprite_{definition}_{number}.{format}",
    mps=MpsTask("ImageSpriteTask", "action-image-sprite", output),
    template=TemplateType(kind="image_sprite", wire="ImageSprite", model=ImageSpriteSpec, limit=16),
)
