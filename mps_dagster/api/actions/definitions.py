"""The common part of workflows and schedules: trigger, place, sink; created disabled, then enabled (reference C.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from mps_dagster.api.action import Action, Call, NotOffered, RequestModel
from mps_dagster.api.actions.definition_info import status_of, trigger_type
from mps_dagster.api.actions.media_tasks import AwsSqs, TaskNotifyConfig
from mps_dagster.api.actions.storage import check_dir
from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.limits import Slots
from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import DefinitionNotExist, InvalidConfiguration, InvalidInput, MpsError
from mps_dagster.mps.results import time_of
from mps_dagster.mps.storage_info import cos_bucket, s3_bucket
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.files import Change, as_yaml, changing
from mps_dagster.workflow.naming import SCHEDULE, is_schedule, switch_name
from mps_dagster.workflow.parse import Document, Outline, parse_workflow, read_document, validate
from mps_dagster.workflow.project import Project, WorkflowFile, check_unique

FIRST = 100_001
MODE = 0o600
"""File mode; `notify` may hold the key of a callback."""
CHANGES_AT_ONCE = 16
"""Each waits until Dagster has loaded the one before; all are done within the minute that the SDKs wait."""
_SLOTS = Slots(CHANGES_AT_ONCE, "workflows, schedules and templates are changed")


class CosTrigger(RequestModel):
    bucket: str = Field(min_length=1)
    region: str = ""
    dir: str = Field("/", max_length=1024)
    formats: tuple[str, ...] = ()

    _dir = field_validator("dir")(check_dir)


class S3Trigger(RequestModel):
    """Access keys are those of the deployment (MPS_S3__*); absent formats mean any."""

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
        """The `trigger:` of a workflow file."""
        if self.type == "CosFileUpload":
            if self.cos_file_upload_trigger is None:
                raise missing("Trigger.CosFileUploadTrigger")
            cos = self.cos_file_upload_trigger
            return {
                "bucket": cos_bucket(cos.bucket, settings),
                "dir": with_slashes(cos.dir),
                "formats": list(cos.formats),
            }
        if self.aws_s3_file_upload_trigger is None:
            raise missing("Trigger.AwsS3FileUploadTrigger")
        s3 = self.aws_s3_file_upload_trigger
        queue = (
            {"queue": s3.aws_sqs.sqs_queue_name, "queue_region": s3.aws_sqs.sqs_region or None} if s3.aws_sqs else {}
        )
        return {"bucket": s3_bucket(s3.s3_bucket), "dir": with_slashes(s3.dir), "formats": list(s3.formats), **queue}


class ListRequest(RequestModel):
    """Filter and page of a Describe… action."""

    status: Literal["", "Enabled", "Disabled"] = ""
    offset: int = Field(0, ge=0)
    limit: int = Field(10, ge=1, le=100)


@dataclass(frozen=True)
class Definitions:
    """Changes the files of one kind, whose names begin with `prefix`, by MPS's rules and with its codes."""

    settings: Settings
    prefix: str

    def actions(self, noun: str, named: type[RequestModel]) -> dict[str, Action[Any]]:
        """The actions Enable…, Disable… and Delete…, whose requests have one member, the ID."""

        def action(change: Callable[[int, ApiKey], None]) -> Action[Any]:
            def run(call: Call[Any]) -> dict[str, Any]:
                [number] = call.request.model_dump().values()
                change(number, call.key)
                return {}

            return Action(named, run)

        changes = {"Enable": self.enable, "Disable": self.disable, "Delete": self.delete}
        return {f"{verb}{noun}": action(change) for verb, change in changes.items()}

    def create(self, document: Document, key: ApiKey) -> int:
        """Create a disabled definition; return its ID."""
        check_places(document, key)
        folder = self.settings.workflows_dir
        with changing_definitions(self.settings) as change:
            self._check_title(title_of(document), None)
            stems = [path.stem.removeprefix(self.prefix) for path in folder.glob(f"{self.prefix}*.yaml")]
            numbers = [int(stem) for stem in stems if stem.isdecimal()]
            number = change.next_number(folder / f".last_{self.prefix}", [FIRST - 1, *numbers])
            labels = {"name": f"{self.prefix}{number}", "id": number, "enabled": False}
            self._write(change, number, {**labels, "created": now(), "updated": now(), **document})
            return number

    def replace(self, number: int, modify: Callable[[Document], Document], key: ApiKey) -> None:
        """Replace a disabled definition; its ID stays."""
        with changing_definitions(self.settings) as change:
            before = self._disabled(number, key)
            document = modify(before)
            check_places(document, key)
            self._check_title(title_of(document), number)
            labels = {name: value for name, value in before.items() if name in ("name", "id", "enabled", "created")}
            self._write(change, number, {**labels, **document, "updated": now()})

    def enable(self, number: int, key: ApiKey) -> None:
        """Process uploads from now on. Also where it was switched off in the UI."""
        with changing_definitions(self.settings) as change:
            document = self.load(number, key)
            if not document["enabled"]:
                self._check_bucket(document["trigger"]["bucket"])
                self._write(change, number, {**document, "enabled": True, "enabled_at": now(), "updated": now()})
        # Outside of the change, which stays if this fails.
        Dagster(self.settings.ui_url).reset_sensor(switch_name(document["name"]))

    def disable(self, number: int, key: ApiKey) -> None:
        """Without validation, as a disabled definition may be invalid."""
        with changing_definitions(self.settings) as change:
            document = self.load(number, key)
            if document["enabled"]:
                disabled = {**document, "enabled": False, "updated": now()}
                change.write(self._path(number), as_yaml(disabled), MODE)
                self._reload()

    def delete(self, number: int, key: ApiKey) -> None:
        with changing_definitions(self.settings) as change:
            self._disabled(number, key)
            change.delete(self._path(number))
            self._reload()

    def find(
        self, ids: tuple[int, ...], query: ListRequest, key: ApiKey, trigger: str = ""
    ) -> tuple[int, list[WorkflowFile]]:
        """The number of valid files that match, and the requested page, newest first; only of buckets the caller may read."""
        files = [
            file
            for file in Project.load(self.settings).files
            if self._has_kind(file.workflow.name)
            and (not ids or file.number in ids)
            and query.status in ("", status_of(file.workflow))
            and trigger in ("", trigger_type(file.workflow.trigger))
            and key.may_read(file.workflow.trigger.bucket)
        ]
        files.sort(key=lambda file: (time_of(file.workflow.created), file.number), reverse=True)
        return len(files), files[query.offset : query.offset + query.limit]

    def load(self, number: int, key: ApiKey) -> Document:
        """The document of a definition made through the API, with defaults filled in. Checks the caller's rights."""
        path = self._path(number)
        if not path.is_file():
            raise ApiError(
                "ResourceNotFound.TemplateNotExist", f"There is none with the ID {number} that was made here."
            )
        document = read_document(path.read_bytes(), path.name)
        expected, actual = (path.stem, number), (document.get("name"), document.get("id"))
        if actual != expected:
            raise InvalidConfiguration(f"{path.name}: name and id: they must be {expected}, not {actual}")
        outline = validate(Outline, document, path.name)
        check_places(document, key)
        return {**document, "enabled": outline.enabled, "output": outline.output.model_dump(exclude_defaults=True)}

    def _disabled(self, number: int, key: ApiKey) -> Document:
        document = self.load(number, key)
        if document["enabled"]:
            raise ApiError("InvalidParameterValue", f"{number} is enabled; disable it first.")
        return document

    def _write(self, change: Change, number: int, document: Document) -> None:
        """Check a document and that it is unique, write it and let Dagster load it."""
        path, text, project = self._path(number), as_yaml(document), Project.load(self.settings)
        try:
            workflow = parse_workflow(text, project.templates, name=path.name)
            check_unique(workflow, [file.workflow for file in project.files if file.path != path], path.name)
        except DefinitionNotExist as error:
            raise ApiError("ResourceNotFound.TemplateNotExist", str(error)) from error
        except InvalidInput as error:
            raise ApiError("InvalidParameterValue", str(error)) from error
        change.write(path, text, MODE)
        self._reload()

    def _reload(self) -> None:
        Dagster(self.settings.ui_url).reload()

    def _path(self, number: int) -> Path:
        return self.settings.workflows_dir / f"{self.prefix}{number}.yaml"

    def _has_kind(self, workflow: str) -> bool:
        """Whether it is a workflow or a schedule, as this one; files of an admin are workflows."""
        return is_schedule(workflow) is (self.prefix == SCHEDULE)

    def _check_title(self, title: str, own: int | None) -> None:
        documents = Project.load(self.settings).documents
        others = [document for path, document in documents.items() if own is None or path != self._path(own)]
        if any(title_of(other) == title for other in others if self._has_kind(str(other.get("name")))):
            raise ApiError("InvalidParameterValue", f"The name {title!r} is taken.")

    def _check_bucket(self, name: str) -> None:
        if "://" not in name:
            (self.settings.buckets_dir / name).mkdir(parents=True, exist_ok=True)
        try:
            next(Buckets(self.settings).get(name).list(), None)
        except MpsError as error:
            raise ApiError("ResourceNotFound.CosBucketNotExist", str(error)) from error


@contextmanager
def changing_definitions(settings: Settings) -> Iterator[Change]:
    """Lock workflows, schedules and templates in use, as a change depends on what it has read."""
    with _SLOTS.hold(), changing(settings.project) as change:
        yield change


def place(bucket: str, directory: str) -> Document:
    """The `output:` of a workflow file."""
    return {"bucket": bucket, **({"dir": with_slashes(directory)} if directory.strip("/") else {})}


def check_places(document: Document, key: ApiKey) -> None:
    """Raise `ApiError` unless the caller may use every bucket as the definition does."""
    outline = validate(Outline, document, "the request")
    key.check_read(outline.trigger.bucket)
    for bucket in sorted(outline.written_buckets):
        key.check_write(bucket)


def title_of(document: Document) -> str:
    """The title, or the name of an admin's workflow without one."""
    return str(document.get("title") or document.get("name"))


def with_slashes(path: str) -> str:
    inner = path.strip("/")
    return f"/{inner}/" if inner else "/"


def sinks(config: TaskNotifyConfig | None) -> list[Document]:
    return [config.sink()] if config else []


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
