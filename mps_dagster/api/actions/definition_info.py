"""The common members of MPS's WorkflowInfo and SchedulesInfo (reference C.2, C.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mps_dagster.api.actions.media_tasks import Entry, RawWatermark, Watermark
from mps_dagster.errors import InvalidInput
from mps_dagster.mps.results import pascal, template_id, time_of
from mps_dagster.mps.storage_info import input_info, output_storage
from mps_dagster.notify.config import CmqSink, SinkConfig, SqsSink, UrlSink
from mps_dagster.storage.keys import split_address
from mps_dagster.tasks.spec import Spec
from mps_dagster.workflow.model import Trigger, Workflow
from mps_dagster.workflow.project import WorkflowFile

Info = dict[str, Any]


def common_info(file: WorkflowFile) -> Info:
    workflow = file.workflow
    bucket = workflow.output.bucket or workflow.trigger.bucket
    return {
        "Status": status_of(workflow),
        "Trigger": _trigger(workflow.trigger, file.document["trigger"].get("formats") or [""]),
        "OutputStorage": output_storage(bucket), "OutputDir": workflow.output.dir,
        "TaskNotifyConfig": _notify(workflow.notify),
        "CreateTime": time_of(workflow.created), "UpdateTime": time_of(workflow.updated),
    }  # fmt: skip


def status_of(workflow: Workflow) -> str:
    return "Enabled" if workflow.enabled else "Disabled"


def trigger_type(trigger: Trigger) -> str:
    return "AwsS3FileUpload" if trigger.bucket.startswith("s3://") else "CosFileUpload"


def output_infos(file: WorkflowFile, task: str, model: type[Entry]) -> list[Info]:
    """A task's outputs as MPS shows them; parameters that an admin wrote and MPS does not have are left out."""
    written = file.document["tasks"][task]["outputs"]
    return [
        _output(document, spec, model) for document, spec in zip(written, file.workflow.tasks[task].specs, strict=True)
    ]


def _trigger(trigger: Trigger, formats: Iterable[str]) -> Info:
    name = trigger.bucket.rpartition("://")[2]
    common = {"Dir": trigger.dir, "Formats": list(formats)}
    kind = trigger_type(trigger)
    if kind == "CosFileUpload":
        cos = {"Bucket": name, **common}
        return {"Type": kind, "CosFileUploadTrigger": cos, "AwsS3FileUploadTrigger": None}
    queue = {"SQSQueueName": trigger.queue, "SQSRegion": trigger.queue_region or ""} if trigger.queue else None
    s3 = {"S3Bucket": name, **common, "AwsSQS": queue}
    return {"Type": kind, "CosFileUploadTrigger": None, "AwsS3FileUploadTrigger": s3}


def _output(document: Info, spec: Spec, model: type[Entry]) -> Info:
    entry: Info = pascal({name: value for name, value in document.items() if name in model.model_fields})
    if spec.output_bucket:
        entry["OutputStorage"] = output_storage(spec.output_bucket)
    if "watermark_set" in document:
        marks = zip(document["watermark_set"], getattr(spec, "watermark_set", ()), strict=True)
        entry["WatermarkSet"] = [_watermark(mark, meant.definition) for mark, meant in marks]
    return {**entry, "Definition": template_id(spec.definition)}


def _watermark(document: Info, definition: int | str) -> Info:
    mark: Info = {name: value for name, value in document.items() if name in Watermark.model_fields}
    mark.pop("raw_parameter", None)
    shown: Info = pascal(mark) | {"Definition": template_id(definition)}
    raw = {name: value for name, value in document.items() if name in RawWatermark.model_fields}
    try:
        bucket, key = split_address(str((raw.get("image_template") or {}).get("image_content", "")))
    except InvalidInput:
        # A text, or an image file of the project, for which MPS has no address.
        return shown
    shown["RawParameter"] = pascal(raw)
    shown["RawParameter"]["ImageTemplate"]["ImageContent"] = input_info(bucket, key)
    return shown


def _notify(sinks: Iterable[SinkConfig]) -> Info | None:
    """The first sink of a type that MPS has, without its key; MPS shows one only."""
    for sink in sinks:
        mode = {"NotifyMode": sink.notify_mode.capitalize()}
        match sink:
            case UrlSink():
                return {"NotifyType": "URL", "NotifyUrl": sink.url, **mode}
            case SqsSink():
                queue = {"SQSQueueName": sink.queue, "SQSRegion": sink.region or ""}
                return {"NotifyType": "AWS-SQS", "AwsSQS": queue, **mode}
            case CmqSink():
                return {
                    "NotifyType": "TDMQ-CMQ", "CmqModel": sink.model.capitalize(), "CmqRegion": sink.region,
                    "QueueName": sink.queue or "", "TopicName": sink.topic or "", **mode,
                }  # fmt: skip
    return None
