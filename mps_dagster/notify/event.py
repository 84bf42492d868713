"""The event of a task run in the shape of MPS's callback (reference E.2): what `ParseNotification` of the SDK reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic.alias_generators import to_pascal

from mps_dagster.execution.assemble import manifest_key
from mps_dagster.execution.subtask import OutputObject, SubtaskResult
from mps_dagster.execution.task_run import SubtaskState, TaskRun
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.notify.outbox import Event
from mps_dagster.tasks import TASKS

Body = dict[str, Any]

MEMBERS = {
    "Transcode": "TranscodeTask",
    "AnimatedGraphics": "AnimatedGraphicTask",
    "SnapshotByTimeOffset": "SnapshotByTimeOffsetTask",
    "SampleSnapshot": "SampleSnapshotTask",
    "ImageSprites": "ImageSpriteTask",
    "AdaptiveDynamicStreaming": "AdaptiveDynamicStreamingTask",
}
"""MPS's result types and the one member that each of them fills."""

NEVER = "0000-00-00T00:00:00Z"


def event(run: TaskRun) -> Event:
    """The event of an ended task run. Its id is the same each time it is made, so receivers can tell a repeat."""
    return Event(id=event_id(run.task_id, run.run_id, run.outcome), task_id=run.task_id, body=callback(run))


def change(run: TaskRun, subtask: SubtaskState) -> Event:
    """The event of one ended subtask of a run that may still be going on: the run as it is now."""
    return Event(id=change_id(run, subtask), task_id=run.task_id, body=callback(run))


def change_id(run: TaskRun, subtask: SubtaskState) -> str:
    place = hashlib.sha256(f"{subtask.task}/{subtask.id}".encode()).hexdigest()[:12]
    return f"{run.task_id}:{run.run_id}:{place}:{subtask.status}"


def event_id(task_id: str, run_id: str, outcome: str) -> str:
    """Known before the event is made, which reads all that the run recorded."""
    return f"{task_id}:{run_id}:{outcome}"


def callback(run: TaskRun) -> Body:
    """What is sent: no `Response` around it and no RequestId."""
    return {
        "EventType": "WorkflowTask",
        "WorkflowTaskEvent": workflow_task(run),
        "ScheduleTaskEvent": None, "LiveScheduleTaskEvent": None, "EditMediaTaskEvent": None,
        "SessionId": "", "SessionContext": "", "ExtInfo": json.dumps({"Manifests": _manifests(run)}),
    }  # fmt: skip


def pointer(body: Mapping[str, Any]) -> Body:
    """The same without its results: who needs them reads the manifests, which `ExtInfo` names."""
    task = {**body["WorkflowTaskEvent"], "MediaProcessResultSet": [], "MetaData": None}
    return {**body, "WorkflowTaskEvent": task}


def _manifests(run: TaskRun) -> list[str]:
    """`bucket/key` of the manifest of each task that was assembled: all its results are in it."""
    upload = run.source.upload if run.source else run.key
    tasks: dict[str, list[SubtaskState]] = {}
    for subtask in run.subtasks:
        tasks.setdefault(subtask.task, []).append(subtask)
    return [
        f"{states[0].result.bucket}/{manifest_key(run.workflow, upload, task)}"
        for task, states in tasks.items()
        if states[0].result and all(state.status == "SUCCESS" for state in states)
    ]


def workflow_task(run: TaskRun) -> Body:
    """MPS's WorkflowTask: a failed output leaves `Status` FINISH and `ErrCode` 0 here and speaks for itself below."""
    return {
        "TaskId": run.task_id,
        "Status": "FINISH" if run.state == "FINISH" else "PROCESSING",
        "ErrCode": run.number,
        "Message": run.message or "SUCCESS",
        "InputInfo": _input_info(run.bucket, run.key),
        "MetaData": _meta_data(run.source.media, run.source.size_bytes) if run.source else None,
        "MediaProcessResultSet": [_result(subtask) for subtask in run.subtasks],
        "AiContentReviewResultSet": [], "AiAnalysisResultSet": [], "AiRecognitionResultSet": [],
        "AiQualityControlTaskResult": None,
    }  # fmt: skip


def iso(at_s: float | None) -> str:
    """As MPS writes times, UTC to the second."""
    return NEVER if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _result(subtask: SubtaskState) -> Body:
    kind = TASKS[subtask.type].wire if subtask.type in TASKS else subtask.type
    body: Body = {"Type": kind, **dict.fromkeys(MEMBERS.values())}
    detail: Body = {
        "Status": subtask.status,
        "ErrCode": subtask.number,
        "ErrCodeExt": "SUCCESS" if subtask.status == "SUCCESS" else subtask.code,
        "Message": "SUCCESS" if subtask.status == "SUCCESS" else subtask.message,
        "Input": _pascal(subtask.spec),
        "Output": _OUTPUTS[kind](subtask.result) if subtask.result else None,
    }
    if kind == "Transcode":
        detail["Progress"] = round(100 * subtask.progress)
    else:
        detail |= {"BeginProcessTime": iso(subtask.started_s), "FinishTime": iso(subtask.ended_s)}
    return body | {MEMBERS.get(kind, kind): detail}


def _transcode(result: SubtaskResult) -> Body:
    main = result.main[0]
    media = main.media
    return {
        "OutputStorage": _storage(result.bucket), "Path": f"/{main.key}", "Definition": _definition(result),
        "Bitrate": media.bitrate_bps if media else 0, "Height": main.height or 0, "Width": main.width or 0,
        "Size": result.size_bytes, "Duration": media.duration_s if media else 0.0,
        "Container": media.container if media else "", "Md5": main.md5,
        "VideoStreamSet": [_video(media.video)] if media and media.video else [],
        "AudioStreamSet": [_audio(stream) for stream in media.audio] if media else [],
    }  # fmt: skip


def _animated_graphics(result: SubtaskResult) -> Body:
    main = result.main[0]
    return {
        "Storage": _storage(result.bucket), "Path": f"/{main.key}", "Definition": _definition(result),
        "Container": main.key.rpartition(".")[2], "Height": main.height or 0, "Width": main.width or 0,
        "Bitrate": main.media.bitrate_bps if main.media else 0, "Size": main.size_bytes, "Md5": main.md5,
        "StartTimeOffset": result.facts.get("start_time_offset", 0.0),
        "EndTimeOffset": result.facts.get("end_time_offset", 0.0),
    }  # fmt: skip


def _snapshot_by_time_offset(result: SubtaskResult) -> Body:
    marks = _watermark_definitions(result)
    return {
        "Storage": _storage(result.bucket), "Definition": _definition(result),
        "PicInfoSet": [
            {"TimeOffset": at, "Path": f"/{picture.key}", "WaterMarkDefinition": marks}
            for at, picture in zip(result.facts.get("time_offsets", []), result.main, strict=True)
        ],
    }  # fmt: skip


def _sample_snapshot(result: SubtaskResult) -> Body:
    return {
        "Storage": _storage(result.bucket), "Definition": _definition(result),
        "SampleType": result.spec.get("sample_type", ""), "Interval": result.spec.get("sample_interval", 0),
        "ImagePathSet": _paths(result.main), "WaterMarkDefinition": _watermark_definitions(result),
    }  # fmt: skip


def _image_sprite(result: SubtaskResult) -> Body:
    return {
        "Storage": _storage(result.bucket), "Definition": _definition(result),
        "Height": result.facts.get("height", 0), "Width": result.facts.get("width", 0),
        "TotalCount": result.facts.get("total_count", 0), "ImagePathSet": _paths(result.main),
        "WebVttPath": f"/{result.facts.get('web_vtt_path', '')}",
    }  # fmt: skip


_OUTPUTS = {
    "Transcode": _transcode,
    "AnimatedGraphics": _animated_graphics,
    "SnapshotByTimeOffset": _snapshot_by_time_offset,
    "SampleSnapshot": _sample_snapshot,
    "ImageSprites": _image_sprite,
}


def _input_info(bucket: str, key: str) -> Body:
    """Every bucket is COS to MPS's clients; the region is the one thing that a local one has not."""
    cos = {"Bucket": bucket, "Region": "", "Object": f"/{key}"}
    return {"Type": "COS", "CosInputInfo": cos, "UrlInputInfo": None, "S3InputInfo": None}


def _storage(bucket: str) -> Body:
    return {"Type": "COS", "CosOutputStorage": {"Bucket": bucket, "Region": ""}, "S3OutputStorage": None}


def _meta_data(media: MediaInfo, size_bytes: int) -> Body:
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


def _definition(result: SubtaskResult) -> int:
    definition = result.spec.get("definition", 0)
    return definition if isinstance(definition, int) else 0


def _watermark_definitions(result: SubtaskResult) -> list[int]:
    marks = result.spec.get("watermark_set") or []
    return [mark["definition"] for mark in marks if isinstance(mark.get("definition"), int) and mark["definition"]]


def _paths(outputs: tuple[OutputObject, ...]) -> list[str]:
    return [f"/{output.key}" for output in outputs]


def _pascal(value: Any) -> Any:
    """Field names as on the wire."""
    if isinstance(value, Mapping):
        return {to_pascal(key): _pascal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pascal(item) for item in value]
    return value
