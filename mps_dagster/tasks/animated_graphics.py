"""A part of the video as an animated picture: GIF with a palette made for the clip, or animated WebP.

```yaml
teaser:
  type: animated_graphics
  outputs:
    - {definition: 20000, start_time_offset: 2, end_time_offset: 5}       # GIF, 2 fps, source size
    - {name: teaser, format: webp, width: 320, fps: 10, end_time_offset: 3}
```
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import ffmpeg
from pydantic import Field, model_validator

from mps_dagster.ffmpeg.picture import Stream, arguments, rgb_picture, section
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan
from mps_dagster.ffmpeg.size import animation_bytes
from mps_dagster.ffmpeg.stills import check_side
from mps_dagster.frozen import REQUIRED, Api, contradiction
from mps_dagster.media.geometry import Adaptive, Geometry, fit
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.timerange import Span, TimeRange, signed_range
from mps_dagster.tasks.mps import MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import OutputNames, Side, Spec, TaskType, need_length, need_video

PALETTE = "palette.png"


class AnimatedGraphicsSpec(Spec):
    """Reference A.4 (AnimatedGraphicTaskInput) and D.2."""

    start_time_offset: Annotated[float, Api("task", required=True)] = Field(
        0.0, description="Seconds; negative counts from the end."
    )
    end_time_offset: Annotated[float, Api("task", required=True)] = Field(0.0, description="Seconds; 0 = to the end.")
    fps: Annotated[int, REQUIRED] = Field(2, ge=1, le=30, description="Pictures per second.")
    width: Annotated[Side, Api(least=128)] = 0
    height: Annotated[Side, Api(least=128)] = 0
    resolution_adaptive: Adaptive = "open"
    format: Literal["gif", "webp"] = Field("gif", description="webp needs a width or a height.")
    quality: float = Field(
        75.0, ge=1, le=100, description="WebP's own quality; for GIF, 75 and up use all 256 colours."
    )

    @model_validator(mode="after")
    def _webp_has_a_size(self) -> AnimatedGraphicsSpec:
        if self.format == "webp" and not self.width and not self.height:
            raise contradiction(
                "FormatWebpWidthAndHeightBothZero",
                "webp needs a width or a height (MPS: FormatWebpWidthAndHeightBothZero)",
            )
        return self


def plan(spec: AnimatedGraphicsSpec, media: MediaInfo, names: OutputNames) -> Plan:
    video = need_video(media, "an animated picture")
    need_length(media)
    part = signed_range(spec.start_time_offset, spec.end_time_offset, Span.of([video]))
    geometry = fit(video.display_size, width=spec.width, height=spec.height, adaptive=spec.resolution_adaptive)
    if spec.format == "webp":
        check_side("webp", geometry.canvas)
    width, height = geometry.canvas
    return Plan(
        commands=_gif(spec, media, video, part, geometry) if spec.format == "gif" else _webp(spec, media, video, part, geometry),
        outputs=(
            OutputFile(
                file=f"out.{spec.format}",
                key=names.key(spec.output_object_path or TASK.default_path, format=spec.format),
                # Frame times are rounded to the format's 10 ms, and the part's end to a whole frame.
                expected=Expected(
                    kind="animation", width=width, height=height, duration_s=part.duration_s,
                    tolerance_s=1.5 / spec.fps + 0.02 * part.duration_s, may_be_still=spec.format == "webp",
                ),
            ),
        ),
        duration_s=part.duration_s,
        estimated_bytes=animation_bytes(spec.format, geometry.canvas, part.duration_s, spec.fps),
        facts={"start_time_offset": part.start_s, "end_time_offset": part.end_s},
    )  # fmt: skip


def _gif(
    spec: AnimatedGraphicsSpec, media: MediaInfo, video: VideoStream, part: TimeRange, geometry: Geometry
) -> tuple[tuple[str, ...], ...]:
    """Two passes: a single one would hold every frame in memory until the palette is known."""
    colors = max(16, min(256, round(256 * spec.quality / 75)))
    # Not stats_mode=diff: it favours moving parts, and leaves out the colours of the last picture.
    palette = _frames(spec, media, video, part, geometry).filter("palettegen", max_colors=colors, stats_mode="full")
    first = ffmpeg.output(palette, f"file:{PALETTE}", **{"f": "image2", "update": 1, "frames:v": 1})
    frames = _frames(spec, media, video, part, geometry)
    colored = ffmpeg.filter(
        [frames, ffmpeg.input(f"file:{PALETTE}", f="png_pipe", protocol_whitelist="file")],
        "paletteuse", dither="bayer", bayer_scale=3, diff_mode="rectangle",
    )  # fmt: skip
    return arguments(first), arguments(ffmpeg.output(colored, "file:out.gif", f="gif", loop=0))


def _webp(
    spec: AnimatedGraphicsSpec, media: MediaInfo, video: VideoStream, part: TimeRange, geometry: Geometry
) -> tuple[tuple[str, ...], ...]:
    frames = _frames(spec, media, video, part, geometry)
    encoder = {"c:v": "libwebp_anim", "quality": spec.quality, "loop": 0, "fps_mode": "passthrough"}
    return (arguments(ffmpeg.output(frames.filter("format", "bgra"), "file:out.webp", f="webp", **encoder)),)


def _frames(
    spec: AnimatedGraphicsSpec, media: MediaInfo, video: VideoStream, part: TimeRange, geometry: Geometry
) -> Stream:
    # round=up: the frame that a player shows at that time, not a later one. eof_action=pass: a clip shorter than one frame
    # of the animation still gives one.
    frames = section(media, part, (video,)).picture(video).filter("fps", spec.fps, round="up", eof_action="pass")
    frames = frames.filter("trim", end_frame=max(1, math.ceil(part.duration_s * spec.fps - 0.01)))
    # Both formats have transparency; GIF all or nothing.
    return rgb_picture(frames, video, geometry, keep_alpha=True)


def output(result: SubtaskResult) -> dict[str, Any]:
    """MPS's MediaAnimatedGraphicsItem."""
    main = result.main[0]
    return {
        "path": f"/{main.key}", "container": main.key.rpartition(".")[2], "height": main.height or 0, "width": main.width or 0,
        "bitrate": main.media.bitrate_bps if main.media else 0, "size": main.size_bytes, "md5": main.md5,
        "start_time_offset": result.facts.get("start_time_offset", 0.0),
        "end_time_offset": result.facts.get("end_time_offset", 0.0),
    }  # fmt: skip


TASK = TaskType(
    name="animated_graphics",
    spec=AnimatedGraphicsSpec,
    plan=plan,
    wire="AnimatedGraphics",
    usage="AnimatedGraphics",
    default_path="{inputName}_animatedGraphic_{definition}.{format}",
    mps=MpsTask("AnimatedGraphicTask", "action-animated-graphics", output),
    template=TemplateType(
        kind="animated_graphics", wire="AnimatedGraphics", model=AnimatedGraphicsSpec, limit=16,
        codes={"Width": "Resolution", "Height": "Resolution", "ResolutionAdaptive": ""},
    ),
    heavy=True,
)  # fmt: skip
