"""MPS's WorkflowTask (reference B.2): the state of a task run in the words of its API. Callbacks and queries show the same tree."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic.alias_generators import to_pascal

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.mps.storage_info import input_info, output_storage
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.result import OutputObject, SubtaskResult

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
RAW = ("container", "remove_video", "remove_audio", "video_template", "audio_template")
"""What MPS has in `RawParameter`, for a transcode without a template."""
OURS = frozenset({"effort", "alpha", "stream_selects"})


def workflow_task(run: TaskRun) -> Body:
    """MPS's WorkflowTask: a failed output leaves `Status` FINISH and `ErrCode` 0 here and speaks for itself below."""
    return {
        "TaskId": run.task_id,
        "Status": "FINISH" if run.state == "FINISH" else "PROCESSING",
        "ErrCode": run.number,
        "Message": run.message or "SUCCESS",
        "InputInfo": input_info(run.bucket, run.key, run.url),
        "MetaData": meta_data(run.source.media, run.source.size_bytes) if run.source else None,
        "MediaProcessResultSet": [_result(subtask) for subtask in sorted(run.subtasks, key=_place)],
        "AiContentReviewResultSet": [], "AiAnalysisResultSet": [], "AiRecognitionResultSet": [],
        "AiQualityControlTaskResult": None,
    }  # fmt: skip


def _place(subtask: SubtaskState) -> int:
    """In the order of MPS's task sets, whichever began first."""
    return list(MEMBERS).index(TASKS[subtask.type].wire) if subtask.type in TASKS else len(MEMBERS)


def schedule_task(run: TaskRun) -> Body:
    """MPS's ScheduleTask: the same of a schedule, whose nodes are the workflow's tasks."""
    task = workflow_task(run)
    results = [
        {
            "ActivityType": result["Type"],
            "ActivityResItem": {name: result[name] for name in MEMBERS.values() if result.get(name)},
        }
        for result in task["MediaProcessResultSet"]
    ]
    common = ("TaskId", "Status", "ErrCode", "Message", "InputInfo", "MetaData")
    return {**{name: task[name] for name in common}, "ActivityResultSet": results}


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
        # A task whose process died may be of a type that nobody knows any more.
        "Input": _INPUTS[kind](subtask) if kind in _INPUTS else None,
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
        "OutputStorage": output_storage(result.bucket), "Path": f"/{main.key}", "Definition": _definition(result),
        "Bitrate": media.bitrate_bps if media else 0, "Height": main.height or 0, "Width": main.width or 0,
        "Size": result.size_bytes, "Duration": media.duration_s if media else 0.0,
        "Container": media.container if media else "", "Md5": main.md5,
        "VideoStreamSet": [_video(media.video)] if media and media.video else [],
        "AudioStreamSet": [_audio(stream) for stream in media.audio] if media else [],
    }  # fmt: skip


def _animated_graphics(result: SubtaskResult) -> Body:
    main = result.main[0]
    return {
        "Storage": output_storage(result.bucket), "Path": f"/{main.key}", "Definition": _definition(result),
        "Container": main.key.rpartition(".")[2], "Height": main.height or 0, "Width": main.width or 0,
        "Bitrate": main.media.bitrate_bps if main.media else 0, "Size": main.size_bytes, "Md5": main.md5,
        "StartTimeOffset": result.facts.get("start_time_offset", 0.0),
        "EndTimeOffset": result.facts.get("end_time_offset", 0.0),
    }  # fmt: skip


def _snapshot_by_time_offset(result: SubtaskResult) -> Body:
    marks = _watermark_definitions(result)
    return {
        "Storage": output_storage(result.bucket), "Definition": _definition(result),
        "PicInfoSet": [
            {"TimeOffset": at, "Path": f"/{picture.key}", "WaterMarkDefinition": marks}
            for at, picture in zip(result.facts.get("time_offsets", []), result.main, strict=True)
        ],
    }  # fmt: skip


def _sample_snapshot(result: SubtaskResult) -> Body:
    return {
        "Storage": output_storage(result.bucket), "Definition": _definition(result),
        "SampleType": result.spec.get("sample_type", ""), "Interval": result.spec.get("sample_interval", 0),
        "ImagePathSet": _paths(result.main), "WaterMarkDefinition": _watermark_definitions(result),
    }  # fmt: skip


def _image_sprite(result: SubtaskResult) -> Body:
    return {
        "Storage": output_storage(result.bucket), "Definition": _definition(result),
        "Height": result.facts.get("height", 0), "Width": result.facts.get("width", 0),
        "TotalCount": result.facts.get("total_count", 0), "ImagePathSet": _paths(result.main),
        "WebVttPath": f"/{result.facts.get('web_vtt_path', '')}",
    }  # fmt: skip


def _common(subtask: SubtaskState) -> Body:
    """What every input has; where it goes is told as soon as it is known."""
    bucket = subtask.result.bucket if subtask.result else subtask.bucket
    return {
        "Definition": _number(subtask.spec),
        "OutputStorage": output_storage(bucket) if bucket else None,
        "OutputObjectPath": _path(subtask, "output_object_path"),
    }


def _path(subtask: SubtaskState, parameter: str) -> str:
    return subtask.paths.get(parameter) or subtask.spec.get(parameter) or ""


def _transcode_input(subtask: SubtaskState) -> Body:
    spec = subtask.spec
    written = spec.get("raw_parameter") or {name: _theirs(spec[name]) for name in RAW if name in spec}
    raw = None if spec.get("definition") else written
    return {
        **_common(subtask), "RawParameter": pascal(raw), "OverrideParameter": pascal(subtask.override), "MosaicSet": [],
        "WatermarkSet": _watermarks(spec), "StartTimeOffset": spec.get("start_time_offset", 0),
        "EndTimeOffset": spec.get("end_time_offset", 0), "SegmentObjectName": _path(subtask, "segment_object_name"),
        "ObjectNumberFormat": pascal(spec.get("object_number_format")), "HeadTailParameter": None,
    }  # fmt: skip


def _theirs(value: Any) -> Any:
    """Without the parameters that MPS does not have."""
    return {name: item for name, item in value.items() if name not in OURS} if isinstance(value, Mapping) else value


def _animated_graphics_input(subtask: SubtaskState) -> Body:
    offsets = {name: subtask.spec.get(name, 0) for name in ("start_time_offset", "end_time_offset")}
    return {**_common(subtask), **pascal(offsets)}


def _snapshot_by_time_offset_input(subtask: SubtaskState) -> Body:
    spec = subtask.spec
    times = {name: list(spec.get(name) or ()) for name in ("ext_time_offset_set", "time_offset_set")}
    return {**_sample_snapshot_input(subtask), **pascal(times)}


def _sample_snapshot_input(subtask: SubtaskState) -> Body:
    numbers = pascal(subtask.spec.get("object_number_format"))
    return {**_common(subtask), "WatermarkSet": _watermarks(subtask.spec), "ObjectNumberFormat": numbers}


def _image_sprite_input(subtask: SubtaskState) -> Body:
    spec = subtask.spec
    return {
        **_common(subtask), "WebVttObjectName": _path(subtask, "web_vtt_object_name"),
        "ObjectNumberFormat": pascal(spec.get("object_number_format")),
    }  # fmt: skip


_INPUTS = {
    "Transcode": _transcode_input,
    "AnimatedGraphics": _animated_graphics_input,
    "SnapshotByTimeOffset": _snapshot_by_time_offset_input,
    "SampleSnapshot": _sample_snapshot_input,
    "ImageSprites": _image_sprite_input,
}

_OUTPUTS = {
    "Transcode": _transcode,
    "AnimatedGraphics": _animated_graphics,
    "SnapshotByTimeOffset": _snapshot_by_time_offset,
    "SampleSnapshot": _sample_snapshot,
    "ImageSprites": _image_sprite,
}


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


def _definition(result: SubtaskResult) -> int:
    return _number(result.spec)


def _number(spec: Mapping[str, Any]) -> int:
    """Templates may go by a name here; MPS's have numbers only."""
    definition = spec.get("definition", 0)
    return definition if isinstance(definition, int) else 0


def _watermarks(spec: Mapping[str, Any]) -> list[Body]:
    named = ("definition", "text_content", "start_time_offset", "end_time_offset")
    marks = spec.get("watermark_set") or ()
    return [
        pascal({name: mark[name] for name in named if name in mark}) | {"Definition": _number(mark)} for mark in marks
    ]


def _watermark_definitions(result: SubtaskResult) -> list[int]:
    marks = result.spec.get("watermark_set") or []
    return [mark["definition"] for mark in marks if isinstance(mark.get("definition"), int) and mark["definition"]]


def _paths(outputs: tuple[OutputObject, ...]) -> list[str]:
    return [f"/{output.key}" for output in outputs]


def pascal(value: Any) -> Any:
    """Field names as on the wire."""
    if isinstance(value, Mapping):
        return {to_pascal(key): pascal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pascal(item) for item in value]
    return value
