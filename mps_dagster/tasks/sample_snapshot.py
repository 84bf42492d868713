"""Screenshots at even steps through the video.

```yaml
samples:
  type: sample_snapshot
  outputs:
    - {definition: 10}                                      # JPG, source size, every 10 %
    - {name: small, sample_type: Time, sample_interval: 5, height: 180, format: webp}
```
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.stills import still_plan
from mps_dagster.frozen import REQUIRED
from mps_dagster.media.info import MediaInfo
from mps_dagster.tasks.mps import MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import (
    OutputNames,
    SampleType,
    StillSpec,
    TaskType,
    check_interval,
    need_video,
    sample_times,
)

MAX_PICTURES = 10_000
"""A day with one picture every 9 s; more would be a mistake in the interval."""


class SampleSnapshotSpec(StillSpec):
    """Reference A.4 (SampleSnapshotTaskInput) and D.3."""

    sample_type: SampleType = "Percent"
    sample_interval: Annotated[int, REQUIRED] = Field(10, ge=1, description="Percent of the duration, or seconds.")

    @model_validator(mode="after")
    def _percent_is_at_most_100(self) -> SampleSnapshotSpec:
        check_interval(self.sample_type, self.sample_interval)
        return self


def plan(spec: SampleSnapshotSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """The first picture is the first frame (reference I.6)."""
    video = need_video(media, "a sampled screenshot")
    times = sample_times(video, spec.sample_type, spec.sample_interval, at_most=MAX_PICTURES)
    keys = spec.series(names, TASK.default_path, format=spec.format, count=len(times))
    return still_plan(spec.stills(times, keys, evenly=True), media, video)


def output(result: SubtaskResult) -> dict[str, Any]:
    """MPS's MediaSampleSnapshotItem."""
    return {
        "sample_type": result.spec.get("sample_type", ""), "interval": result.spec.get("sample_interval", 0),
        "image_path_set": result.paths, "water_mark_definition": result.watermark_definitions,
    }  # fmt: skip


TASK = TaskType(
    name="sample_snapshot",
    spec=SampleSnapshotSpec,
    plan=plan,
    wire="SampleSnapshot",
    usage="Snapshot",
    default_path="{inputName}_sampleSnapshot_{definition}_{number}.{format}",
    mps=MpsTask("SampleSnapshotTask", "action-samplesnapshot", output),
    template=TemplateType(kind="sample_snapshot", wire="SampleSnapshot", model=SampleSnapshotSpec, limit=16),
)
