"""Screenshots at chosen points in time.

```yaml
stills:
  type: snapshot_by_time_offset
  outputs:
    - definition: 10                      # JPG, source size
      ext_time_offset_set: [0s, 3.5s, 50%]
```
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from mps_dagster.errors import InvalidTimeOffset
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.stills import still_plan
from mps_dagster.frozen import PER_TASK
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.timerange import Span
from mps_dagster.tasks.mps import MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import OutputNames, StillSpec, TaskType, need_video

TimePoint = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(s|%)$")]


class SnapshotByTimeOffsetSpec(StillSpec):
    """Reference A.4 (SnapshotByTimeOffsetTaskInput) and D.4."""

    ext_time_offset_set: Annotated[tuple[TimePoint, ...], PER_TASK] = Field(
        (), max_length=1000, description="Seconds (`3.5s`) or percent of the duration (`10%`)."
    )
    time_offset_set: Annotated[tuple[Annotated[float, Field(ge=0)], ...], PER_TASK] = Field(
        (), description="Seconds; MPS's older form."
    )


def plan(spec: SnapshotByTimeOffsetSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """One picture per time point, in the order of the spec."""
    video = need_video(media, "a screenshot")
    points = (*spec.ext_time_offset_set, *(f"{s}s" for s in spec.time_offset_set))
    times = tuple(_seconds(point, media, video) for point in points)
    if not times:
        raise InvalidTimeOffset("no time point is given", hint="for example ext_time_offset_set: [0s, 50%]")
    keys = spec.series(names, TASK.default_path, format=spec.format, count=len(times))
    return still_plan(spec.stills(times, keys, evenly=False), media, video)


def _seconds(point: str, media: MediaInfo, video: VideoStream) -> float:
    """Percent are of the video; seconds may go up to the end of the file, where a player still shows the last picture."""
    if point.endswith("%"):
        percent = float(point[:-1])
        if percent > 100:
            raise InvalidTimeOffset(f"time point {point} is past the end")
        return Span.of([video]).at_percent(percent)
    at = float(point[:-1])
    if at > media.duration_s:
        raise InvalidTimeOffset(f"time point {point} is past the end of the source ({media.duration_s:.3f} s)")
    return at


def output(result: SubtaskResult) -> dict[str, Any]:
    """MPS's MediaSnapshotByTimeOffsetItem."""
    return {
        "pic_info_set": [
            {"time_offset": at, "path": f"/{picture.key}", "water_mark_definition": result.watermark_definitions}
            for at, picture in zip(result.facts.get("time_offsets", []), result.main, strict=True)
        ]
    }


TASK = TaskType(
    name="snapshot_by_time_offset",
    spec=SnapshotByTimeOffsetSpec,
    plan=plan,
    wire="SnapshotByTimeOffset",
    usage="Snapshot",
    default_path="{inputName}_snapshotByTimeOffset_{definition}_{number}.{format}",
    mps=MpsTask("SnapshotByTimeOffsetTask", "action-snapshotByTimeOffset", output),
    template=TemplateType(
        kind="snapshot_by_time_offset", wire="SnapshotByTimeOffset", model=SnapshotByTimeOffsetSpec, limit=16
    ),
)
