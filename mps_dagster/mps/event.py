"""The event of a task run as MPS's callback (reference E.2), which `ParseNotification` of the SDK reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.mps.results import Body, schedule_task, workflow_task
from mps_dagster.mps.storage_info import with_regions
from mps_dagster.notify.outbox import Event
from mps_dagster.settings import Settings
from mps_dagster.workflow.naming import is_schedule


def event(run: TaskRun, settings: Settings) -> Event:
    """The event of an ended task run. Its id is always the same, so that receivers notice a repeat."""
    return Event(
        id=event_id(run.task_id, run.first_run_id, run.outcome), task_id=run.task_id, body=callback(run, settings)
    )


def change(run: TaskRun, subtask: SubtaskState, settings: Settings) -> Event:
    """The event of one ended subtask: the run as still going on, since its end has an event of its own."""
    processing = replace(run, state="PROCESSING", code="", number=0, message="")
    return Event(id=change_id(run, subtask), task_id=run.task_id, body=callback(processing, settings))


def change_id(run: TaskRun, subtask: SubtaskState) -> str:
    place = hashlib.sha256(f"{subtask.task}/{subtask.id}".encode()).hexdigest()[:12]
    return f"{run.task_id}:{run.first_run_id}:{place}:{subtask.status}"


def event_id(task_id: str, first_run_id: str, outcome: str) -> str:
    """The same for all attempts. Cheap, unlike the event itself, which needs all records of the run."""
    return f"{task_id}:{first_run_id}:{outcome}"


def callback(run: TaskRun, settings: Settings) -> Body:
    """The body that is sent; unlike an answer it has no `Response` around it and no RequestId."""
    scheduled = is_schedule(run.workflow)
    body = {
        "EventType": "ScheduleTask" if scheduled else "WorkflowTask",
        "WorkflowTaskEvent": None if scheduled else workflow_task(run),
        "ScheduleTaskEvent": schedule_task(run) if scheduled else None,
        "LiveScheduleTaskEvent": None, "EditMediaTaskEvent": None,
        "SessionId": run.session_id, "SessionContext": run.session_context,
        "ExtInfo": json.dumps({"Manifests": run.manifests, "Attempts": run.attempts}),
    }  # fmt: skip
    return with_regions(body, settings)


def pointer(body: Mapping[str, Any]) -> Body:
    """The body without its results, which are in the manifests that `ExtInfo` names."""
    member, results = ("WorkflowTaskEvent", "MediaProcessResultSet")
    if body.get("ScheduleTaskEvent"):
        member, results = ("ScheduleTaskEvent", "ActivityResultSet")
    return {**body, member: {**body[member], results: [], "MetaData": None}}
