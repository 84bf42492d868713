"""What workflows and schedules have in common: a trigger, a place, a sink; made disabled, switched on and off (reference C.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator

from mps_dagster.api.action import RequestModel
from mps_dagster.api.actions.media_tasks import AwsSqs, Output, RawWatermark, TaskNotifyConfig
from mps_dagster.api.actions.storage import check_dir
from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.graphql import Dagster
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.processing import split_address
from mps_dagster.errors import DefinitionNotExist, InvalidInput, MpsError
from mps_dagster.notify.results import iso, pascal
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.files import Document, WorkflowFiles
from mps_dagster.workflow.model import derived_id
from mps_dagster.workflow.storage_info import cos_bucket, input_info, output_storage, s3_bucket
from mps_dagster.workflow.store import load_workflows
from mps_dagster.workflow.templates import Templates

T = TypeVar("T")


class CosTrigger(RequestModel):
    bucket: str = Field(min_length=1)
    region: str = ""
    dir: str = Field("/", max_length=1024)
    formats: tuple[str, ...] = ()

    _dir = field_validator("dir")(check_dir)


class S3Trigger(RequestModel):
    """Keys are the deployment's own (MPS_S3__*); absent formats mean any."""

    s3_bucket: str = Field(alias="S3Bucket", min_length=1)
    s3_region: str = Field("", alias="S3Region")
    dir: str = Field("/", max_length=1024)
    formats: tuple[str, ...] = ("*",)
    aws_sqs: AwsSqs | None = Field(None, alias="AwsSQS")

    _dir = field_validator("dir")(check_dir)


class Trigger(RequestModel):
    type: Literal["CosFileUpload", "AwsS3FileUpload"]
    cos_file_upload_trigger: CosTrigger | None = None
    aws_s3_file_upload_trigger: S3Trigger | None = Field(None, alias="AwsS3FileUploadTrigger")

    def document(self, settings: Settings) -> Document:
        """As under `trigger:` in a workflow file."""
        if self.type == "CosFileUpload":
            if self.cos_file_upload_trigger is None:
                raise missing("Trigger.CosFileUploadTrigger")
            cos = self.cos_file_upload_trigger
            return {"bucket": cos_bucket(cos.bucket, settings), "dir": slashed(cos.dir), "formats": list(cos.formats)}
        if self.aws_s3_file_upload_trigger is None:
            raise missing("Trigger.AwsS3FileUploadTrigger")
        s3 = self.aws_s3_file_upload_trigger
        queue = (
            {"queue": s3.aws_sqs.sqs_queue_name, "queue_region": s3.aws_sqs.sqs_region or None} if s3.aws_sqs else {}
        )
        return {"bucket": s3_bucket(s3.s3_bucket), "dir": slashed(s3.dir), "formats": list(s3.formats), **queue}


class Listed(RequestModel):
    """Which of them are wanted."""

    status: Literal["", "Enabled", "Disabled"] = ""
    offset: int = Field(0, ge=0)
    limit: int = Field(10, ge=1, le=100)


@dataclass(frozen=True)
class Definitions:
    """The files of one kind, with MPS's rules and codes."""

    settings: Settings
    files: WorkflowFiles

    @classmethod
    def of(cls, settings: Settings, prefix: str) -> Definitions:
        return cls(settings, WorkflowFiles(settings.workflows_dir, lambda: Dagster(settings.ui_url).reload(), prefix))

    def create(self, document: Document, key: ApiKey) -> int:
        """Disabled at first."""
        check_places(document, key)
        self._check_title(document["title"], None)
        made = {"enabled": False, "created": _now(), "updated": _now(), **document}
        return _told(lambda: self.files.create(made, self._templates))

    def replace(self, number: int, document: Document, key: ApiKey) -> None:
        """All of it anew, but for its ID."""
        before = self.disabled(number, key)
        check_places(document, key)
        self._check_title(document["title"], number)
        kept = {name: before[name] for name in ("name", "id", "enabled", "created")}
        _told(lambda: self.files.replace(number, {**kept, "updated": _now(), **document}, self._templates))

    def enable(self, number: int, key: ApiKey) -> None:
        """From now on: files that were uploaded before are not processed."""
        document = self.ours(number, key)
        if not document["enabled"]:
            self._check_bucket(document["trigger"]["bucket"])
            changed = {**document, "enabled": True, "enabled_at": _now(), "updated": _now()}
            _told(lambda: self.files.replace(number, changed, self._templates))

    def disable(self, number: int, key: ApiKey) -> None:
        document = self.ours(number, key)
        if document["enabled"]:
            changed = {**document, "enabled": False, "updated": _now()}
            _told(lambda: self.files.replace(number, changed, self._templates))

    def delete(self, number: int, key: ApiKey) -> None:
        self.disabled(number, key)
        _told(lambda: self.files.delete(number))

    def listed(self, ids: tuple[int, ...], wanted: Listed, key: ApiKey) -> tuple[int, list[Document]]:
        """How many match, and the wanted page of them, newest first; of buckets that the caller may read.

        A file that an admin wrote is shown if it is valid; those made here always are as MPS wants them.
        """
        valid = {workflow.name for workflow in load_workflows(self.settings.workflows_dir, self._templates)[0]}
        found = [
            document
            for document in sorted(self.files.documents(), key=lambda item: str(item.get("created")), reverse=True)
            if (not ids or number_of(document) in ids)
            and wanted.status in ("", status_of(document))
            and ("id" in document or document.get("name") in valid)
            and key.may_read(document["trigger"]["bucket"])
        ]
        return len(found), found[wanted.offset : wanted.offset + wanted.limit]

    def ours(self, number: int, key: ApiKey) -> Document:
        """One that was made here, and of buckets that the caller may use as it does."""
        document = self.files.find(number) if number > 0 else None
        if document is None:
            raise ApiError(
                "ResourceNotFound.TemplateNotExist", f"There is none with the ID {number} that was made here."
            )
        check_places(document, key)
        return document

    def disabled(self, number: int, key: ApiKey) -> Document:
        document = self.ours(number, key)
        if document["enabled"]:
            raise ApiError("InvalidParameterValue", f"{number} is enabled; disable it first.")
        return document

    @property
    def _templates(self) -> Templates:
        return Templates.load(self.settings.templates_dir)

    def _check_title(self, title: str, own: int | None) -> None:
        if any(document.get("title") == title and document.get("id") != own for document in self.files.documents()):
            raise ApiError("InvalidParameterValue", f"The name {title!r} is taken.")

    def _check_bucket(self, name: str) -> None:
        if "://" not in name:
            (self.settings.buckets_dir / name).mkdir(parents=True, exist_ok=True)
        try:
            next(Buckets(self.settings).get(name).list(), None)
        except MpsError as error:
            raise ApiError("ResourceNotFound.CosBucketNotExist", str(error)) from error


def place(bucket: str, directory: str) -> Document:
    """As under `output:`."""
    return {"bucket": bucket, **({"dir": slashed(directory)} if directory.strip("/") else {})}


def check_places(document: Document, key: ApiKey) -> None:
    """Raise `ApiError` unless the caller may use every bucket as the definition does."""
    key.check_read(document["trigger"]["bucket"])
    for task in document["tasks"].values():
        for output in task["outputs"]:
            key.check_write(output.get("output_bucket") or document["output"]["bucket"])


def slashed(path: str) -> str:
    inner = path.strip("/")
    return f"/{inner}/" if inner else "/"


def number_of(document: Document) -> int:
    """Of a file that an admin wrote, one that is made of its name."""
    return int(document.get("id") or derived_id(str(document.get("name", ""))))


def status_of(document: Document) -> str:
    return "Enabled" if document.get("enabled", True) else "Disabled"


def shown(document: Document) -> Document:
    """What WorkflowInfo and SchedulesInfo have in common."""
    trigger, output = document.get("trigger") or {}, document.get("output") or {}
    service, _, name = str(trigger.get("bucket", "")).rpartition("://")
    common = {"Dir": trigger.get("dir", "/"), "Formats": list(trigger.get("formats") or [""])}
    cos = {"Bucket": name, "Region": "", **common} if service != "s3" else None
    s3 = {"S3Bucket": name, "S3Region": "", **common} if service == "s3" else None
    return {
        "Status": status_of(document),
        "Trigger": {
            "Type": "AwsS3FileUpload" if s3 else "CosFileUpload", "CosFileUploadTrigger": cos, "AwsS3FileUploadTrigger": s3,
        },
        "OutputStorage": output_storage(output.get("bucket") or trigger.get("bucket", "")), "OutputDir": output.get("dir", ""),
        "TaskNotifyConfig": _notify(document.get("notify") or ()),
        "CreateTime": _time(document.get("created")), "UpdateTime": _time(document.get("updated")),
    }  # fmt: skip


def shown_output(document: Document, model: type[Output]) -> Document:
    """As MPS has it; what an admin wrote out in full besides is not shown."""
    entry: Document = pascal({name: value for name, value in document.items() if name in model.model_fields})
    if "output_bucket" in document:
        entry["OutputStorage"] = output_storage(document["output_bucket"])
    if "watermark_set" in document:
        entry["WatermarkSet"] = [_shown_watermark(mark) for mark in document["watermark_set"]]
    return {"Definition": 0, **entry}


def _shown_watermark(document: Document) -> Document:
    raw = {name: value for name, value in document.items() if name in RawWatermark.model_fields}
    mark: Document = pascal({name: value for name, value in document.items() if name not in raw})
    image = str(raw.get("image_template", {}).get("image_content", ""))
    if not image:
        return mark
    shown: Document = pascal(raw)
    shown["ImageTemplate"]["ImageContent"] = input_info(*split_address(image))
    return {**mark, "RawParameter": shown}


def sinks(config: TaskNotifyConfig | None) -> list[Document]:
    return [config.sink()] if config else []


def _told(work: Callable[[], T]) -> T:
    try:
        return work()
    except DefinitionNotExist as error:
        raise ApiError("ResourceNotFound.TemplateNotExist", str(error)) from error
    except InvalidInput as error:
        raise ApiError("InvalidParameterValue", str(error)) from error


def _notify(sinks: Any) -> Document | None:
    """MPS has one; the first that it knows, without its key."""
    for sink in sinks:
        mode = {"NotifyMode": str(sink.get("notify_mode", "finish")).capitalize()}
        match sink.get("type"):
            case "url":
                return {"NotifyType": "URL", "NotifyUrl": sink["url"], **mode}
            case "aws_sqs":
                queue = {"SQSQueueName": sink["queue"], "SQSRegion": sink.get("region", "")}
                return {"NotifyType": "AWS-SQS", "AwsSQS": queue, **mode}
            case "tdmq_cmq":
                names = {"QueueName": sink.get("queue", ""), "TopicName": sink.get("topic", "")}
                model = str(sink.get("model", "queue")).capitalize()
                return {
                    "NotifyType": "TDMQ-CMQ",
                    "CmqModel": model,
                    "CmqRegion": sink.get("region", ""),
                    **names,
                    **mode,
                }
    return None


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _time(moment: object) -> str:
    if not isinstance(moment, datetime):
        return ""
    return iso((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
