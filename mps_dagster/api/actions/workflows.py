"""Create, Describe, Enable, Disable, Reset and Delete workflows (reference C.1 to C.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from mps_dagster.api.action import Action, Call, NotOffered, Number, RequestModel
from mps_dagster.api.actions.definition_info import Info, common_info, output_infos
from mps_dagster.api.actions.definitions import Definitions, ListRequest, Trigger, place, sinks
from mps_dagster.api.actions.media_tasks import ENTRIES, MPS_TASKS, MediaProcessTask, TaskNotifyConfig
from mps_dagster.api.actions.storage import TaskOutputStorage, bucket_of, check_dir
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.mps.storage_info import with_regions
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import UPLOAD
from mps_dagster.workflow.naming import WORKFLOW
from mps_dagster.workflow.parse import Document
from mps_dagster.workflow.project import WorkflowFile


class WorkflowRequest(RequestModel):
    workflow_name: str = Field(min_length=1, max_length=128)
    trigger: Trigger
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
    workflow_id: Number


class ResetWorkflowRequest(WorkflowRequest, Named):
    pass


class DescribeWorkflowsRequest(ListRequest):
    workflow_ids: tuple[int, ...] = Field((), max_length=100)


def workflow_actions(settings: Settings) -> dict[str, Action[Any]]:
    workflows = _Workflows(Definitions(settings, WORKFLOW))
    return {
        "CreateWorkflow": Action(WorkflowRequest, workflows.create),
        "DescribeWorkflows": Action(DescribeWorkflowsRequest, workflows.describe),
        "ResetWorkflow": Action(ResetWorkflowRequest, workflows.reset),
        **workflows.definitions.actions("Workflow", Named),
    }


@dataclass(frozen=True)
class _Workflows:
    definitions: Definitions

    def create(self, call: Call[WorkflowRequest]) -> dict[str, Any]:
        return {"WorkflowId": self.definitions.create(self._document(call.request, call.key), call.key)}

    def reset(self, call: Call[ResetWorkflowRequest]) -> dict[str, Any]:
        document = self._document(call.request, call.key)
        self.definitions.replace(call.request.workflow_id, lambda _: document, call.key)
        return {}

    def describe(self, call: Call[DescribeWorkflowsRequest]) -> dict[str, Any]:
        """Shows an admin's files, too, with an ID derived from their name."""
        total, page = self.definitions.find(call.request.workflow_ids, call.request, call.key)
        answer = {"TotalCount": total, "WorkflowInfoSet": [_info(file) for file in page]}
        return with_regions(answer, self.definitions.settings)

    def _document(self, request: WorkflowRequest, key: ApiKey) -> Document:
        """The request as the YAML of a workflow."""
        settings = self.definitions.settings
        trigger = request.trigger.document(settings)
        task = request.media_process_task or MediaProcessTask()
        outputs = task.outputs(key, settings)
        if not outputs:
            raise ApiError("InvalidParameterValue", "MediaProcessTask has no task.")
        bucket = bucket_of(request.output_storage, settings) or trigger["bucket"]
        return {
            "title": request.workflow_name, "trigger": trigger, "output": place(bucket, request.output_dir),
            "notify": sinks(request.task_notify_config), "priority": request.task_priority,
            "tasks": {kind: {"type": kind, "outputs": entries} for kind, entries in outputs.items()},
        }  # fmt: skip


def _info(file: WorkflowFile) -> Info:
    workflow = file.workflow
    sets: dict[str, list[Info]] = {words.set: [] for words in MPS_TASKS.values() if not words.member}
    for task in workflow.tasks.values():
        if task.type in MPS_TASKS and MPS_TASKS[task.type].set in sets and task.source == UPLOAD:
            sets[MPS_TASKS[task.type].set] += output_infos(file, task.name, ENTRIES[task.type])
    return {
        "WorkflowId": file.number, "WorkflowName": workflow.title or workflow.name, **common_info(file),
        "MediaProcessTask": {"AdaptiveDynamicStreamingTaskSet": [], **sets}, "AiContentReviewTask": None,
        "AiAnalysisTask": None, "AiRecognitionTask": None, "TaskPriority": workflow.priority,
    }  # fmt: skip
