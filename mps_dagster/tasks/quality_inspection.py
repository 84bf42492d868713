"""An inspection of the source without a model: faults of picture, sound and streams, each with its time, as a JSON report.

```yaml
check:
  type: quality_inspection
  outputs:
    - {definition: 10, required: true}          # a source that fails stops the workflow's other tasks
    - {name: sound, checks: [silence, clipping, phase], thresholds: {silence_s: 5}}
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.inspection import measure, measured_bytes
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan
from mps_dagster.frozen import OURS
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.inspection import CHECKS, Check, Finding, Inspection, Thresholds, Verdict
from mps_dagster.tasks.mps import MpsTask
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import OutputNames, Spec, TaskType, need_length

REPORT = "report.json"

_SEEN: Mapping[Check, str] = {
    "black": "SolidColorScreen", "blurred": "Blur", "blocky": "Mosaic", "black_borders": "BlackWhiteEdge",
    "dark": "LowLighting", "bright": "HighLighting", "silence": "NoVoice", "quiet": "LowVoice", "loud": "HighVoice",
    "clipping": "HighVoice",
}  # fmt: skip
"""MPS's types of QualityControlResult."""
_DIAGNOSED: Mapping[Check, tuple[str, str]] = {
    "frozen": ("FrameException", "VideoDuplicatedFrame"), "doubled_frames": ("FrameException", "VideoDuplicatedFrame"),
    "dropped_frames": ("FrameException", "VideoDroppingFrames"), "gaps": ("TimeStampException", "PtsJitter"),
    "time_stamps": ("TimeStampException", "TimestampFallback"),
    "phase": ("StreamAbnormalCharacteristics", "AudioOutOfPhase"),
    "format_changes": ("DecodeParamException", "VideoResolutionChanged"),
    "unequal_lengths": ("StreamStatusException", "StreamEnd"), "decode_errors": ("DecodeException", "VideoDecodeFailed"),
}  # fmt: skip
"""MPS's categories and types of ContainerDiagnoseResultItem."""
_OF_SOUND: Mapping[Check, str] = {"format_changes": "ParameterSetsChanged", "decode_errors": "AudioDecodeFailed"}


class QualityInspectionSpec(Spec):
    """MPS's templates of media quality control, as far as no model is needed."""

    checks: Annotated[tuple[Check, ...], OURS] = Field(CHECKS, min_length=1, description="What to look for.")
    fail_on: Annotated[tuple[Check, ...], OURS] = Field(
        (), description="The checks that fail a source if they find anything; empty = all."
    )
    required: Annotated[bool, OURS] = Field(
        False, description="Whether a source that fails makes the task fail; other tasks on it wait for the verdict."
    )
    thresholds: Annotated[Thresholds, OURS] = Field(Thresholds(), description="From when on something is a fault.")

    @model_validator(mode="after")
    def _fails_on_what_it_looks_for(self) -> QualityInspectionSpec:
        for check in self.fail_on:
            if check not in self.checks:
                raise ValueError(f"fail_on: {check} is not among the checks")
        return self

    @property
    def is_media_file(self) -> bool:
        """The tasks after it work on the inspected source itself."""
        return True

    @property
    def is_gate(self) -> bool:
        return self.required

    def extension(self, path: str = "output_object_path") -> str:  # noqa: ARG002
        return "json"


def plan(spec: QualityInspectionSpec, media: MediaInfo, names: OutputNames) -> Plan:
    need_length(media)
    return Plan(
        commands=(measure(media, spec.thresholds),),
        outputs=(
            OutputFile(
                file=REPORT,
                key=names.key(spec.output_object_path or TASK.default_path, format="json"),
                expected=Expected(kind="report"),
            ),
        ),
        duration_s=media.duration_s,
        estimated_bytes=measured_bytes(media),
        inspection=Inspection(
            checks=spec.checks, fail_on=spec.fail_on or spec.checks, required=spec.required, thresholds=spec.thresholds
        ),
    )


def output(result: SubtaskResult) -> dict[str, Any]:
    """MPS's QualityControlData."""
    verdict = result.verdict
    if verdict is None:
        return {}
    seen: dict[str, list[dict[str, Any]]] = {}
    diagnosed: dict[tuple[str, str], list[float]] = {}
    for finding in verdict.findings:
        if finding.check in _SEEN:
            seen.setdefault(_SEEN[finding.check], []).append(_item(finding))
        else:
            diagnosed.setdefault(_diagnosis(finding, verdict), []).append(finding.start_s)
    return {
        "no_audio": not verdict.audio_streams, "no_video": verdict.video_stream is None,
        "quality_control_result_set": [
            {"type": kind, "quality_control_items": items} for kind, items in seen.items()
        ],
        "container_diagnose_result_set": [
            {"category": category, "type": kind, "severity_level": "Error" if category == "DecodeException" else "Warning",
             "date_time_set": [], "timestamp_set": times}
            for (category, kind), times in diagnosed.items()
        ],
    }  # fmt: skip


def _item(finding: Finding) -> dict[str, Any]:
    return {
        "confidence": finding.confidence, "start_time_offset": finding.start_s, "end_time_offset": finding.end_s,
        "area_coord_set": list(finding.area or ()),
    }  # fmt: skip


def _diagnosis(finding: Finding, verdict: Verdict) -> tuple[str, str]:
    category, kind = _DIAGNOSED[finding.check]
    return category, _OF_SOUND.get(finding.check, kind) if finding.stream in verdict.audio_streams else kind


TASK = TaskType(
    name="quality_inspection",
    spec=QualityInspectionSpec,
    plan=plan,
    wire="AiQualityControl",
    usage="AiQualityControl",
    default_path="{inputName}_qualityInspection_{definition}.{format}",
    mps=MpsTask(
        "QualityControlTask", "action-AIQualityControl", output, member="AiQualityControlTask", progress=True,
        not_offered={"ChannelExtPara": None},
    ),
    inspects=True,
    heavy=True,
)  # fmt: skip
