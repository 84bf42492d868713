"""The state of a task run as MPS's WorkflowTask (reference B.2), the same in callbacks and queries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic.alias_generators import to_pascal
from pydantic.fields import FieldInfo

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.execution.pace import whole_percent
from mps_dagster.ffmpeg.added import ADDED
from mps_dagster.frozen import Api
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.mps.storage_info import input_info, output_storage
from mps_dagster.storage.keys import split_address
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.mps import MpsTask
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import TaskType, parameters

Body = dict[str, Any]

SHOWN: Mapping[str, tuple[TaskType[Any], MpsTask]] = {
    task.wire: (task, task.mps) for task in TASKS.values() if task.mps
}
"""By MPS's result type, the task type whose input and output it shows."""
MEMBERS = {kind: words.task for kind, (_, words) in SHOWN.items() if not words.member}
"""MPS's result types of media processing, and the member that each of them fills."""
OWN_MEMBERS = {kind: f"{words.member}Result" for kind, (_, words) in SHOWN.items() if words.member}
"""MPS's other result types, and the member of the answer that has the one result."""

NEVER = "0000-00-00T00:00:00Z"


def workflow_task(run: TaskRun) -> Body:
    """MPS's WorkflowTask. A failed output has its error in its own result; `Status` is FINISH and `ErrCode` 0 here."""
    subtasks = sorted(run.subtasks, key=_place)
    return {
        "TaskId": run.task_id,
        "Status": "FINISH" if run.state == "FINISH" else "PROCESSING",
        "ErrCode": run.number,
        "Message": run.message or "SUCCESS",
        "InputInfo": input_info(run.bucket, run.key, run.url),
        "MetaData": meta_data(run.source.media, run.source.size_bytes) if run.source else None,
        "MediaProcessResultSet": [_result(subtask) for subtask in subtasks if _wire(subtask) not in OWN_MEMBERS],
        "AiContentReviewResultSet": [], "AiAnalysisResultSet": [], "AiRecognitionResultSet": [],
        **{member: _own_result(subtasks, kind) for kind, member in OWN_MEMBERS.items()},
    }  # fmt: skip


def _own_result(subtasks: list[SubtaskState], kind: str) -> Body | None:
    return next((_detail(subtask) for subtask in subtasks if _wire(subtask) == kind), None)


def _wire(subtask: SubtaskState) -> str:
    """MPS's result type. The task type of an old run may have been removed."""
    return TASKS[subtask.type].wire if subtask.type in TASKS else subtask.type


def _place(subtask: SubtaskState) -> int:
    """The place in the order of MPS's task sets."""
    return list(MEMBERS).index(_wire(subtask)) if _wire(subtask) in MEMBERS else len(MEMBERS)


def schedule_task(run: TaskRun) -> Body:
    """MPS's ScheduleTask: the same for a schedule, whose nodes are the workflow's tasks."""
    task = workflow_task(run)
    results = [
        {"ActivityType": kind, "ActivityResItem": {SHOWN[kind][1].task: _detail(subtask)} if kind in SHOWN else {}}
        for subtask in sorted(run.subtasks, key=_place)
        for kind in [_wire(subtask)]
    ]
    common = ("TaskId", "Status", "ErrCode", "Message", "InputInfo", "MetaData")
    return {**{name: task[name] for name in common}, "ActivityResultSet": results}


def iso(at_s: float | None) -> str:
    """A time as MPS writes it: UTC to the second."""
    return NEVER if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(moment: datetime | None) -> str:
    """A file's time as MPS writes it: UTC, also if it has no zone; empty if it is not known."""
    return iso((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) if moment else ""


def _result(subtask: SubtaskState) -> Body:
    kind = _wire(subtask)
    return {"Type": kind, **dict.fromkeys(MEMBERS.values()), MEMBERS.get(kind, kind): _detail(subtask)}


def _detail(subtask: SubtaskState) -> Body:
    task, words = SHOWN.get(_wire(subtask), (None, None))
    detail: Body = {
        "Status": subtask.status,
        "ErrCode": subtask.number,
        "ErrCodeExt": "SUCCESS" if subtask.status == "SUCCESS" else subtask.code,
        "Message": "SUCCESS" if subtask.status == "SUCCESS" else subtask.message,
        "Input": _input(subtask, task, words) if task and words else None,
        "Output": _output(subtask.result, words) if subtask.result and words else None,
    }
    if words and words.progress:
        # 100 only once it is done: clients stop asking then.
        detail["Progress"] = whole_percent(subtask.progress)
    else:
        detail |= {"BeginProcessTime": iso(subtask.started_s), "FinishTime": iso(subtask.ended_s)}
    return detail


def _output(result: SubtaskResult, words: MpsTask) -> Body:
    if words.member:
        return dict(pascal(words.output(result)))
    definition = template_id(result.spec.get("definition"))
    return {words.storage: output_storage(result.bucket), "Definition": definition, **pascal(words.output(result))}


def _input(subtask: SubtaskState, task: TaskType[Any], words: MpsTask) -> Body:
    """The parameters of the subtask; with its bucket as soon as that is known."""
    spec = subtask.spec
    if words.member:
        return {"Definition": template_id(spec.get("definition")), **shown_empty(words.not_offered)}
    bucket = subtask.result.bucket if subtask.result else subtask.bucket
    body: Body = {
        "Definition": template_id(spec.get("definition")),
        "OutputStorage": output_storage(bucket) if bucket else None,
        "OutputObjectPath": _path(subtask, "output_object_path"),
        **shown_empty(words.not_offered),
    }
    for name, info in parameters(task.spec, "task").items():
        body[to_pascal(name)] = _path(subtask, name) if Api.of(info).path else _parameter(name, spec, info)
    if task.numbered:
        body["ObjectNumberFormat"] = pascal(spec.get("object_number_format"))
    if words.raw:
        written = spec.get("raw_parameter") or _template_parameters(task.spec, spec)
        body["RawParameter"] = None if spec.get("definition") else pascal(written)
        body["OverrideParameter"] = pascal(subtask.override)
    return body


def _path(subtask: SubtaskState, parameter: str) -> str:
    return subtask.paths.get(parameter) or subtask.spec.get(parameter) or ""


def _parameter(name: str, spec: Mapping[str, Any], info: FieldInfo) -> Any:
    value = spec.get(name) or info.default
    if name in ADDED:
        return [_added(entry, ADDED[name]) for entry in value]
    if name == "drm_info" and value:
        # Not its key.
        drm = value["simple_aes_drm"]
        return {"Type": value["type"], "SimpleAesDrm": {"Uri": drm["uri"], "Key": "", "Vector": drm["vector"]}}
    return [_watermark(mark) for mark in value] if name == "watermark_set" else pascal(value)


def _template_parameters(model: Any, spec: Mapping[str, Any]) -> Body:
    """`RawParameter` of a task without a template, with the parameters that MPS has."""
    return {
        name: _template_parameters(info.annotation, spec[name]) if isinstance(spec[name], Mapping) else spec[name]
        for name, info in parameters(model, "template").items()
        if name in spec and Api.of(info).shown
    }


def shown_empty(not_offered: Mapping[str, Any]) -> Body:
    """Parameters that are not offered, as MPS shows them when they are not used."""
    return {name: value for name, value in not_offered.items() if value is not ...}


def meta_data(media: MediaInfo, size_bytes: int) -> Body:
    video = media.video
    width, height = video.display_size if video else (0, 0)
    return {
        "Size": size_bytes, "Container": media.container, "Bitrate": media.bitrate_bps, "Height": height, "Width": width,
        "Duration": media.duration_s, "Rotate": video.rotation if video else 0,
        "VideoStreamSet": [_video(video)] if video else [], "AudioStreamSet": [_audio(stream) for stream in media.audio],
        "VideoDuration": video.duration_s if video else 0.0,
        "AudioDuration": max((stream.duration_s for stream in media.audio), default=0.0),
    }  # fmt: skip


def _video(stream: VideoStream) -> Body:
    rate = stream.frame_rate
    return {
        "Bitrate": stream.bitrate_bps, "Height": stream.height, "Width": stream.width, "Codec": stream.codec,
        "Fps": int(rate) if rate else 0, "ColorPrimaries": stream.color_primaries, "ColorSpace": stream.color_space,
        "ColorTransfer": stream.color_transfer, "HdrType": stream.hdr, "Codecs": "",
        "FpsNumerator": rate.numerator if rate else 0, "FpsDenominator": rate.denominator if rate else 1,
    }  # fmt: skip


def _audio(stream: AudioStream) -> Body:
    return {
        "Bitrate": stream.bitrate_bps, "SamplingRate": stream.sample_rate_hz, "Codec": stream.codec,
        "Channel": stream.channels, "Codecs": "", "Loudness": 0.0,
    }  # fmt: skip


def template_id(definition: Any) -> int:
    """The ID of a template; 0 if there is none, or a name, which MPS does not know."""
    return definition if isinstance(definition, int) else 0


def _watermark(mark: Mapping[str, Any]) -> Body:
    named = ("definition", "text_content", "start_time_offset", "end_time_offset")
    shown: Body = pascal({name: mark[name] for name in named if name in mark})
    return shown | {"Definition": template_id(mark.get("definition"))}


def _added(entry: Mapping[str, Any], member: str) -> Body:
    """Added subtitles or sound, with their object."""
    shown: Body = pascal({name: value for name, value in entry.items() if name != "etag"})
    return shown | {to_pascal(member): input_info(*split_address(entry[member]), "")}


def pascal(value: Any) -> Any:
    """The value with MPS's field names, and streams as MPS shows them."""
    match value:
        case VideoStream():
            return _video(value)
        case AudioStream():
            return _audio(value)
        case Mapping():
            return {to_pascal(name): pascal(item) for name, item in value.items()}
        case list() | tuple():
            return [pascal(item) for item in value]
    return value
