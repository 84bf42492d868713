"""What workflows and schedules have in common: a trigger, a place, a sink; made disabled, switched on and off (reference C.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import Field, field_validator

from mps_dagster.api.action import NotOffered, RequestModel
from mps_dagster.api.actions.media_tasks import AwsSqs, TaskNotifyConfig
from mps_dagster.api.actions.showing import status_of, time_of, trigger_type
from mps_dagster.api.actions.storage import check_dir
from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.limits import Places
from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import DefinitionNotExist, InvalidInput, MpsError
from mps_dagster.mps.storage_info import cos_bucket, s3_bucket
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.files import Document, Outline, WorkflowFiles, number_of
from mps_dagster.workflow.naming import sensor_name
from mps_dagster.workflow.store import WorkflowFile, validated
from mps_dagster.workflow.templates import Templates

T = TypeVar("T")

CHANGES_AT_ONCE = 16
"""Each waits until Dagster has loaded the one before: the last of them for less than the minute that the SDKs wait."""
_PLACES = Places(CHANGES_AT_ONCE, "workflows, schedules and templates are changed")


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
    s3_secret_id: NotOffered = Field(None, alias="S3SecretId")
    s3_secret_key: NotOffered = Field(None, alias="S3SecretKey")

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
        made = {"enabled": False, "created": _now(), "updated": _now(), **document}
        with changing():
            self._check_title(title_of(document), None)
            return _told(lambda: self.files.create(made, self._templates))

    def replace(self, number: int, change: Callable[[Document], Document], key: ApiKey) -> None:
        """Make something else of a disabled one; its ID stays."""
        with changing():
            before = self._disabled(number, key)
            document = change(before)
            check_places(document, key)
            self._check_title(title_of(document), number)
            kept = {name: value for name, value in before.items() if name in ("name", "id", "enabled", "created")}
            _told(lambda: self.files.replace(number, {**kept, **document, "updated": _now()}, self._templates))

    def enable(self, number: int, key: ApiKey) -> None:
        """From now on: files that were uploaded before are not processed. Also one whose sensor was stopped in the UI."""
        with changing():
            document = self.ours(number, key)
            if not document["enabled"]:
                self._check_bucket(document["trigger"]["bucket"])
                changed = {**document, "enabled": True, "enabled_at": _now(), "updated": _now()}
                _told(lambda: self.files.replace(number, changed, self._templates))
            Dagster(self.settings.ui_url).reset_sensor(sensor_name(document["name"]))

    def disable(self, number: int, key: ApiKey) -> None:
        with changing():
            document = self.ours(number, key)
            if document["enabled"]:
                self.files.put(number, {**document, "enabled": False, "updated": _now()})

    def delete(self, number: int, key: ApiKey) -> None:
        with changing():
            self._disabled(number, key)
            self.files.delete(number)

    def listed(
        self, ids: tuple[int, ...], wanted: Listed, key: ApiKey, trigger: str = ""
    ) -> tuple[int, list[WorkflowFile]]:
        """How many valid ones match, and the wanted page of them, newest first; of buckets that the caller may read."""
        found = [
            file
            for file in self.files.valid(self._templates)
            if (not ids or number_of(file) in ids)
            and wanted.status in ("", status_of(file.workflow))
            and trigger in ("", trigger_type(file.workflow.trigger))
            and key.may_read(file.workflow.trigger.bucket)
        ]
        found.sort(key=lambda file: (time_of(file.workflow.created), number_of(file)), reverse=True)
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

    def _disabled(self, number: int, key: ApiKey) -> Document:
        document = self.ours(number, key)
        if document["enabled"]:
            raise ApiError("InvalidParameterValue", f"{number} is enabled; disable it first.")
        return document

    @property
    def _templates(self) -> Templates:
        return Templates.load(self.settings.templates_dir)

    def _check_title(self, title: str, own: int | None) -> None:
        if any(title_of(document) == title for document in self.files.beside(own)):
            raise ApiError("InvalidParameterValue", f"The name {title!r} is taken.")

    def _check_bucket(self, name: str) -> None:
        if "://" not in name:
            (self.settings.buckets_dir / name).mkdir(parents=True, exist_ok=True)
        try:
            next(Buckets(self.settings).get(name).list(), None)
        except MpsError as error:
            raise ApiError("ResourceNotFound.CosBucketNotExist", str(error)) from error


@contextmanager
def changing() -> Iterator[None]:
    """Held from reading to writing what workflows, schedules and templates in use are made of: one change at a time."""
    with _PLACES.one(), WorkflowFiles.lock:
        yield


def place(bucket: str, directory: str) -> Document:
    """As under `output:`."""
    return {"bucket": bucket, **({"dir": slashed(directory)} if directory.strip("/") else {})}


def check_places(document: Document, key: ApiKey) -> None:
    """Raise `ApiError` unless the caller may use every bucket as the definition does."""
    outline = validated(Outline, document, "the request")
    key.check_read(outline.trigger.bucket)
    for bucket in sorted(outline.written):
        key.check_write(bucket)


def title_of(document: Document) -> str:
    """One that an admin wrote has a name, and that is enough."""
    return str(document.get("title") or document.get("name"))


def slashed(path: str) -> str:
    inner = path.strip("/")
    return f"/{inner}/" if inner else "/"


def sinks(config: TaskNotifyConfig | None) -> list[Document]:
    return [config.sink()] if config else []


def _told(work: Callable[[], T]) -> T:
    try:
        return work()
    except DefinitionNotExist as error:
        raise ApiError("ResourceNotFound.TemplateNotExist", str(error)) from error
    except InvalidInput as error:
        raise ApiError("InvalidParameterValue", str(error)) from error


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
