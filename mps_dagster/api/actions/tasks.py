"""ProcessMedia, and queries and termination of its tasks and those of workflows (reference A, B, F)."""

from __future__ import annotations

import hashlib
import json
import posixpath
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from mps_dagster.api.action import Action, Call
from mps_dagster.api.actions.definitions import Definitions, with_slashes
from mps_dagster.api.actions.media_tasks import inherits_place
from mps_dagster.api.actions.storage import bucket_of
from mps_dagster.api.actions.task_requests import (
    DescribeTasksRequest,
    ManageTaskRequest,
    ProcessMediaRequest,
    TaskRequest,
)
from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.keys import ApiKey
from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.launching import by_hand_place, launch_media, launch_schedule, requested_tasks
from mps_dagster.control.task_run import ENDED, TaskRun, run_id_of
from mps_dagster.control.tasks import describe_run, end, outline, task_types
from mps_dagster.mps.results import iso, schedule_task, workflow_task
from mps_dagster.mps.storage_info import with_regions
from mps_dagster.settings import Settings
from mps_dagster.storage.keys import MAX_NAME_BYTES, shortened
from mps_dagster.storage.web import without_userinfo
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.model import Place, check_paths
from mps_dagster.workflow.naming import SCHEDULE, is_schedule

OUTPUTS = "outputs"
"""The bucket for outputs of a URL if the request names none."""
SESSION_S = 3 * 24 * 3600
LOOK_BACK_S = 7 * 24 * 3600
STATES = {
    "WAITING": ["QUEUED", "NOT_STARTED", "MANAGED"],
    "PROCESSING": ["STARTING", "STARTED", "CANCELING"],
    "FINISH": ["SUCCESS", "FAILURE", "CANCELED"],
}


def task_actions(settings: Settings) -> dict[str, Action[Any]]:
    tasks = _Tasks(settings, threading.Lock())
    return {
        "ProcessMedia": Action(ProcessMediaRequest, tasks.process_media),
        "DescribeTaskDetail": Action(TaskRequest, tasks.describe_task_detail),
        "DescribeTasks": Action(DescribeTasksRequest, tasks.describe_tasks),
        "ManageTask": Action(ManageTaskRequest, tasks.manage_task),
    }


@dataclass(frozen=True)
class _Tasks:
    settings: Settings
    session_lock: threading.Lock
    """Held from the check of a SessionId to its use."""

    @property
    def deployment(self) -> Deployment:
        return Deployment.of(self.settings)

    def process_media(self, call: Call[ProcessMediaRequest]) -> dict[str, Any]:
        request = call.request
        run_tags = self._tags(request, call.key)
        launch = self._schedule if request.schedule_id else self._media
        if not request.session_id:
            return {"TaskId": launch(request, call.key, run_tags)}
        with self.session_lock:
            self._check_session(request.session_id, call.key)
            return {"TaskId": launch(request, call.key, run_tags)}

    def _schedule(self, request: ProcessMediaRequest, key: ApiKey, run_tags: Mapping[str, str]) -> str:
        """Run a schedule on any object. Place and sink of the call replace the schedule's."""
        if request.has_tasks:
            raise ApiError("UnsupportedOperation", "With ScheduleId, the tasks are the schedule's own here.")
        document = Definitions(self.settings, SCHEDULE).load(request.schedule_id or 0, key)
        source = self._source(request, key, Place.model_validate(document["output"]))
        key.check_write(source["output"]["bucket"])
        deployment = self.deployment
        return launch_schedule(deployment, deployment.workflow(document["name"]), source, run_tags)

    def _media(self, request: ProcessMediaRequest, key: ApiKey, run_tags: Mapping[str, str]) -> str:
        outputs = request.outputs(key, self.settings)
        if not outputs:
            raise ApiError("InvalidParameter", "MediaProcessTask has no task.")
        source = self._source(request, key, Place())
        if inherits_place(outputs):
            key.check_write(source["output"]["bucket"])
        deployment = self.deployment
        try:
            check_paths(requested_tasks(outputs, deployment.project.templates))
        except ValueError as error:
            raise ApiError("InvalidParameterValue", f"MediaProcessTask: {error}.") from error
        return launch_media(deployment, source, outputs, run_tags)

    def _tags(self, request: ProcessMediaRequest, key: ApiKey) -> dict[str, str]:
        """Run tags for the members of the request that queries show later."""
        config = request.task_notify_config
        request_tags = {
            tags.ACCOUNT: key.owner, tags.URL: without_userinfo(request.input_info.url),
            tags.SESSION_ID: request.session_id, tags.SESSION_CONTEXT: request.session_context,
            tags.NOTIFY: json.dumps(config.echo()) if config else "",
        }  # fmt: skip
        return {
            tags.PRIORITY: str(request.tasks_priority),
            **{name: value for name, value in request_tags.items() if value},
        }

    def _source(self, request: ProcessMediaRequest, key: ApiKey, default: Place) -> dict[str, Any]:
        """The config of the run's source: its place, the place of its outputs, the sinks."""
        url = request.input_info.url
        if url:
            name = shortened(posixpath.basename(unquote(urlsplit(url).path)) or "source", MAX_NAME_BYTES)
            digest = hashlib.sha256(f"{url} {uuid.uuid4()}".encode()).hexdigest()[:16]
            bucket, path = by_hand_place(self.settings, f"url/{digest}/{name}")
        else:
            bucket, path = request.input_info.place(key, self.settings)
        named = bucket_of(request.output_storage, self.settings)
        if url and self.settings.cluster and not (named or default.bucket):
            raise missing("OutputStorage")
        place = {
            "bucket": named or default.bucket or (OUTPUTS if url else bucket),
            "dir": with_slashes(request.output_dir) if request.output_dir.strip("/") else default.dir,
        }
        notify = [request.task_notify_config.sink()] if request.task_notify_config else []
        return {"bucket": bucket, "key": path, "etag": "", "output": place, "notify": notify, "url": url}

    def _check_session(self, session_id: str, key: ApiKey) -> None:
        query = {
            "tags": {tags.SESSION_ID: session_id, tags.ACCOUNT: key.owner},
            "createdAfter": time.time() - SESSION_S,
        }
        if self.deployment.dagster.runs(query, limit=1):
            raise ApiError("InvalidParameterValue.SessionId", "Duplicate recognition code. Request deduplicated.")

    def describe_task_detail(self, call: Call[TaskRequest]) -> dict[str, Any]:
        run, run_tags = self._run(call.request.task_id, call.key)
        scheduled = is_schedule(run.workflow)
        answer = {
            "TaskType": _type(run), "Status": run.state, "CreateTime": iso(run.created_s),
            "BeginProcessTime": iso(run.started_s), "FinishTime": iso(run.ended_s),
            "WorkflowTask": None if scheduled else workflow_task(run), "ScheduleTask": schedule_task(run) if scheduled else None,
            "EditMediaTask": None, "LiveStreamProcessTask": None, "LiveScheduleTask": None,
            "TaskNotifyConfig": json.loads(run_tags[tags.NOTIFY]) if tags.NOTIFY in run_tags else None,
            "TasksPriority": run.priority, "SessionId": run.session_id, "SessionContext": run.session_context, "ExtInfo": "",
        }  # fmt: skip
        return with_regions(answer, self.settings)

    def _run(self, task_id: str, key: ApiKey, code: str = "ResourceNotFound") -> tuple[TaskRun, Mapping[str, str]]:
        try:
            root = run_id_of(task_id)
        except ValueError as error:
            raise ApiError(code, f"There is no task {task_id[:100]!r}.") from error
        deployment = self.deployment
        newest = deployment.dagster.newest_of(root)
        if newest is None or not newest.workflow:
            raise ApiError(code, f"There is no task {task_id}.")
        run = describe_run(deployment, newest)
        if not key.owns(newest.tags.get(tags.ACCOUNT)):
            key.check_read(run.bucket)
        return run, newest.tags

    def describe_tasks(self, call: Call[DescribeTasksRequest]) -> dict[str, Any]:
        request, deployment = call.request, self.deployment
        since = request.start_time.timestamp() if request.start_time else 0.0
        query: dict[str, Any] = {
            "statuses": _statuses(request), "createdAfter": max(since, time.time() - LOOK_BACK_S),
            **({"createdBefore": request.end_time.timestamp()} if request.end_time else {}),
        }  # fmt: skip
        cursor = _cursor(request.scroll_token)
        runs = deployment.dagster.runs(query, limit=request.limit + 1, cursor=cursor)
        page = runs[: request.limit]
        # A failed run that is to be retried is no task that has ended.
        ours = [run for run in page if run.workflow and not run.awaits_retry]
        tasks = [(outline(deployment, run), run) for run in deployment.dagster.without_retried(ours)]
        return {
            "TaskSet": [
                _simple(task, task_types(deployment, run)) for task, run in tasks
                if call.key.may_see(run.tags.get(tags.ACCOUNT), task.bucket)
            ],
            "ScrollToken": page[-1].run_id if len(runs) > request.limit else "",
            "TotalCount": deployment.dagster.count(query),
        }  # fmt: skip

    def manage_task(self, call: Call[ManageTaskRequest]) -> dict[str, Any]:
        """Ends a task, also one that is being processed, unlike MPS."""
        if call.request.operation_type != "Abort":
            raise ApiError("InvalidParameterValue.InvalidOperationType", "OperationType can only be Abort.")
        run, run_tags = self._run(call.request.task_id, call.key, "InvalidParameterValue.TaskId")
        if not call.key.owns(run_tags.get(tags.ACCOUNT)):
            call.key.check_write(run.bucket)
        if run.outcome in ENDED:
            raise ApiError("InvalidParameterValue.NotProcessingTask", f"The task has ended ({run.outcome}).")
        end(self.deployment, run)
        return {}


def _statuses(request: DescribeTasksRequest) -> list[str]:
    if request.status != "FINISH" or request.sub_task_has_failed is None:
        return STATES[request.status]
    return ["FAILURE", "CANCELED"] if request.sub_task_has_failed else ["SUCCESS"]


def _cursor(token: str) -> str | None:
    if not token:
        return None
    try:
        return str(uuid.UUID(token))
    except ValueError as error:
        raise ApiError("InvalidParameterValue", "ScrollToken is none that was given out.") from error


def _type(run: TaskRun) -> str:
    return "ScheduleTask" if is_schedule(run.workflow) else "WorkflowTask"


def _simple(run: TaskRun, types: Iterable[str]) -> dict[str, Any]:
    return {
        "TaskId": run.task_id, "TaskType": _type(run), "CreateTime": iso(run.created_s),
        "BeginProcessTime": iso(run.started_s), "FinishTime": iso(run.ended_s),
        "SubTaskTypes": list(dict.fromkeys(TASKS[name].wire for name in types)),
    }  # fmt: skip
