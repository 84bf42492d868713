"""Create, Describe, Enable, Disable, Reset and Delete workflows (reference C.1 to C.3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from mps_dagster.api.action import Action, Call, NotOffered, RequestModel
from mps_dagster.api.actions.media_tasks import SETS, MediaProcessTask, Output, TaskNotifyConfig
from mps_dagster.api.actions.storage import TaskOutputStorage, check_dir
from mps_dagster.api.error import ApiError
from mps_dagster.api.graphql import Dagster
from mps_dagster.api.keys import ApiKey
from mps_dagster.errors import DefinitionNotExist, InvalidInput, MpsError
from mps_dagster.notify.results import iso, pascal
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.files import Document, WorkflowFiles
from mps_dagster.workflow.model import derived_id
from mps_dagster.workflow.storage_info import cos_bucket, output_storage
from mps_dagster.workflow.templates import Templates


class CosTrigger(RequestModel):
    bucket: str = Field(min_length=1)
    region: str = ""
    dir: str = Field("/", max_length=1024)
    formats: tuple[str, ...] = ()

    _dir = field_validator("dir")(check_dir)


class WorkflowTrigger(RequestModel):
    type: Literal["CosFileUpload", "AwsS3FileUpload"]
    cos_file_upload_trigger: CosTrigger | None = None
    aws_s3_file_upload_trigger: NotOffered = Field(None, alias="AwsS3FileUploadTrigger")


class WorkflowRequest(RequestModel):
    workflow_name: str = Field(min_length=1, max_length=128)
    trigger: WorkflowTrigger
    output_storage: TaskOutputStorage | None = None
    output_dir: str = Field("", max_length=1024)
    media_process_task: MediaProcessTask | None = None
    ai_content_review_task: NotOffered = None
    ai_analysis_task: NotOffered = None
    ai_recognition_task: NotOffered = None
    task_notify_config: TaskNotifyConfig | None = None
    task_priority: int = Field(0, ge=-10, le=10)

    _dir = field_validator("output_dir")(check_dir)


class Named(RequestModel):
    workflow_id: int


class ResetWorkflowRequest(WorkflowRequest, Named):
    pass


class DescribeWorkflowsRequest(RequestModel):
    workflow_ids: tuple[int, ...] = Field((), max_length=100)
    status: Literal["", "Enabled", "Disabled"] = ""
    offset: int = Field(0, ge=0)
    limit: int = Field(10, ge=1, le=100)


def workflow_actions(settings: Settings) -> dict[str, Action[Any]]:
    files = WorkflowFiles(settings.workflows_dir, lambda: Dagster(settings.ui_url).reload())
    workflows = _Workflows(settings, files)
    return {
        "CreateWorkflow": Action(WorkflowRequest, workflows.create),
        "DescribeWorkflows": Action(DescribeWorkflowsRequest, workflows.describe),
        "EnableWorkflow": Action(Named, workflows.enable),
        "DisableWorkflow": Action(Named, workflows.disable),
        "ResetWorkflow": Action(ResetWorkflowRequest, workflows.reset),
        "DeleteWorkflow": Action(Named, workflows.delete),
    }


@dataclass(frozen=True)
class _Workflows:
    settings: Settings
    files: WorkflowFiles

    def create(self, call: Call[WorkflowRequest]) -> dict[str, Any]:
        self._check_name(call.request.workflow_name, None)
        now = _now()
        document = {"enabled": False, "created": now, "updated": now, **self._document(call.request, call.key)}
        return {"WorkflowId": self._told(lambda: self.files.create(document, self._templates))}

    def reset(self, call: Call[ResetWorkflowRequest]) -> dict[str, Any]:
        """All of it anew, but for its ID."""
        request = call.request
        before = self._disabled(request.workflow_id)
        self._check_name(request.workflow_name, request.workflow_id)
        kept = {name: before[name] for name in ("name", "id", "enabled", "created")}
        document = {**kept, "updated": _now(), **self._document(request, call.key)}
        self._told(lambda: self.files.replace(request.workflow_id, document, self._templates))
        return {}

    def enable(self, call: Call[Named]) -> dict[str, Any]:
        """From now on: files that were uploaded before are not processed."""
        document = self._ours(call.request.workflow_id)
        if not document["enabled"]:
            self._check_bucket(document["trigger"]["bucket"])
            changed = {**document, "enabled": True, "enabled_at": _now(), "updated": _now()}
            self._told(lambda: self.files.replace(call.request.workflow_id, changed, self._templates))
        return {}

    def disable(self, call: Call[Named]) -> dict[str, Any]:
        document = self._ours(call.request.workflow_id)
        if document["enabled"]:
            changed = {**document, "enabled": False, "updated": _now()}
            self._told(lambda: self.files.replace(call.request.workflow_id, changed, self._templates))
        return {}

    def delete(self, call: Call[Named]) -> dict[str, Any]:
        self._disabled(call.request.workflow_id)
        self._told(lambda: self.files.delete(call.request.workflow_id))
        return {}

    def describe(self, call: Call[DescribeWorkflowsRequest]) -> dict[str, Any]:
        """Newest first; an admin's own files are shown too, by an ID that is made of their name."""
        wanted = call.request
        shown = [_shown(document) for _, document in self.files.documents()]
        found = [
            workflow
            for workflow in sorted(shown, key=lambda workflow: str(workflow["CreateTime"]), reverse=True)
            if (not wanted.workflow_ids or workflow["WorkflowId"] in wanted.workflow_ids)
            and wanted.status in ("", workflow["Status"])
        ]
        return {"TotalCount": len(found), "WorkflowInfoSet": found[wanted.offset : wanted.offset + wanted.limit]}

    @property
    def _templates(self) -> Templates:
        return Templates.load(self.settings.templates_dir)

    def _document(self, request: WorkflowRequest, key: ApiKey) -> Document:
        """The request as the YAML of a workflow."""
        trigger, settings = request.trigger.cos_file_upload_trigger, self.settings
        if request.trigger.type != "CosFileUpload":
            raise ApiError(
                "UnsupportedOperation", f"A trigger of type {request.trigger.type} is not offered for workflows."
            )
        if trigger is None:
            raise ApiError(
                "MissingParameter", "The request is missing a required parameter `Trigger.CosFileUploadTrigger`."
            )
        task = request.media_process_task or MediaProcessTask()
        outputs = task.outputs(key, settings)
        if not outputs:
            raise ApiError("InvalidParameterValue", "MediaProcessTask has no task.")
        bucket = cos_bucket(trigger.bucket, settings)
        common = request.output_storage.bucket(settings) if request.output_storage else ""
        target = task.bucket(settings) or common or bucket
        key.check_read(bucket)
        key.check_write(target)
        directory, inbox = request.output_dir.strip("/"), trigger.dir.strip("/")
        return {
            "title": request.workflow_name,
            "trigger": {"bucket": bucket, "dir": f"/{inbox}/" if inbox else "/", "formats": list(trigger.formats)},
            "output": {"bucket": target, **({"dir": f"/{directory}/"} if directory else {})},
            "notify": [request.task_notify_config.sink()] if request.task_notify_config else [],
            "priority": request.task_priority,
            "tasks": {kind: {"type": kind, "outputs": entries} for kind, entries in outputs.items()},
        }  # fmt: skip

    def _check_name(self, name: str, own: int | None) -> None:
        if any(document.get("title") == name and document.get("id") != own for _, document in self.files.documents()):
            raise ApiError("InvalidParameterValue", f"There is a workflow {name!r} already.")

    def _check_bucket(self, name: str) -> None:
        if "://" not in name:
            (self.settings.buckets_dir / name).mkdir(parents=True, exist_ok=True)
        try:
            next(Buckets(self.settings).get(name).list(), None)
        except MpsError as error:
            raise ApiError("ResourceNotFound.CosBucketNotExist", str(error)) from error

    def _ours(self, workflow_id: int) -> Document:
        document = self.files.find(workflow_id) if workflow_id > 0 else None
        if document is None:
            raise ApiError(
                "ResourceNotFound.TemplateNotExist", f"There is no workflow {workflow_id} that was made here."
            )
        return document

    def _disabled(self, workflow_id: int) -> Document:
        document = self._ours(workflow_id)
        if document["enabled"]:
            raise ApiError("InvalidParameterValue", f"Workflow {workflow_id} is enabled; disable it first.")
        return document

    def _told(self, work: Any) -> Any:
        try:
            return work()
        except DefinitionNotExist as error:
            raise ApiError("ResourceNotFound.TemplateNotExist", str(error)) from error
        except InvalidInput as error:
            raise ApiError("InvalidParameterValue", str(error)) from error


def _shown(document: Document) -> dict[str, Any]:
    trigger, output = document.get("trigger") or {}, document.get("output") or {}
    sets: dict[str, Any] = {
        name: [] for name in [*(name for name, _ in SETS.values()), "AdaptiveDynamicStreamingTaskSet"]
    }
    for task in (document.get("tasks") or {}).values():
        if task.get("type") in SETS and task.get("source", "source") == "source":
            name, model = SETS[task["type"]]
            sets[name] += [_entry(entry, model) for entry in task.get("outputs") or ()]
    bucket = str(trigger.get("bucket", ""))
    return {
        "WorkflowId": document.get("id") or derived_id(str(document.get("name", ""))),
        "WorkflowName": document.get("title") or document.get("name"),
        "Status": "Enabled" if document.get("enabled", True) else "Disabled",
        "Trigger": {
            "Type": "CosFileUpload",
            "CosFileUploadTrigger": {
                "Bucket": bucket.rpartition("://")[2], "Region": "", "Dir": trigger.get("dir", "/"),
                "Formats": list(trigger.get("formats") or [""]),
            },
            "AwsS3FileUploadTrigger": None,
        },
        "OutputStorage": output_storage(output.get("bucket") or bucket), "OutputDir": output.get("dir", ""),
        "MediaProcessTask": sets, "AiContentReviewTask": None, "AiAnalysisTask": None, "AiRecognitionTask": None,
        "TaskNotifyConfig": _notify(document.get("notify") or ()), "TaskPriority": document.get("priority", 0),
        "CreateTime": _time(document.get("created")), "UpdateTime": _time(document.get("updated")),
    }  # fmt: skip


def _entry(entry: Document, model: type[Output]) -> Document:
    """As MPS has it; what an admin wrote out in full besides is not shown."""
    shown: Document = pascal({name: value for name, value in entry.items() if name in model.model_fields})
    return {"Definition": 0, **shown}


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
