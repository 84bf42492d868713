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

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.stills import still_plan
from mps_dagster.frozen import REQUIRED, contradiction
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.sampling import interval_times, percent_times
from mps_dagster.tasks.mps import MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import OutputNames, SampleType, StillSpec, TaskType, need_video

MAX_PICTURES = 10_000
"""A day with one picture every 9 s; more would be a mistake in the interval."""


class SampleSnapshotSpec(StillSpec):
    """Reference A.4 (SampleSnapshotTaskInput) and D.3."""

    sample_type: SampleType = "Percent"
    sample_interval: Annotated[int, REQUIRED] = Field(10, ge=1, description="Percent of the duration, or seconds.")

    @model_validator(mode="after")
    def _percent_is_at_most_100(self) -> SampleSnapshotSpec:
        if self.sample_type == "Percent" and self.sample_interval > 100:
            raise contradiction(
                "SampleInterval", "sample_interval is a percentage (1 to 100) when sample_type is Percent"
            )
        return self


def plan(spec: SampleSnapshotSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """The first picture is the first frame (reference I.6)."""
    video = need_video(media, "a sampled screenshot")
    sample = percent_times if spec.sample_type == "Percent" else interval_times
    times = sample(video, spec.sample_interval)
    if len(times) > MAX_PICTURES:
        raise InvalidConfiguration(f"{len(times)} pictures are more than {MAX_PICTURES}", hint="raise sample_interval")
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
    default_path="{inputName}_sampleSnapshot_{definition}_{number}.{format}",
    mps=MpsTask("SampleSnapshotTask", "action-samplesnapshot", output),
    template=TemplateType(kind="sample_snapshot", wire="SampleSnapshot", model=SampleSnapshotSpec, limit=16),
)
