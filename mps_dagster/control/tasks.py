"""Queries and termination of task runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.launching import requested_tasks
from mps_dagster.control.run_config import op_configs
from mps_dagster.control.task_run import ENDED, StoredRun, TaskRun, run_id_of, task_run
from mps_dagster.errors import InvalidInput
from mps_dagster.execution.progress import progress_store
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.model import Task
from mps_dagster.workflow.naming import by_hand_name, job_name

RETRY_QUEUED_S = 30.0
"""How long an abort waits for a retry to be queued; that takes 5 s."""


def describe(deployment: Deployment, task: str) -> TaskRun:
    """The task run by its TaskId, with the progress of subtasks on this host."""
    try:
        root = run_id_of(task)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    run = deployment.dagster.newest_of(root)
    if run is None:
        raise InvalidInput(f"there is no task {task}", hint="mps tasks")
    return describe_run(deployment, run)


def describe_run(deployment: Deployment, run: StoredRun) -> TaskRun:
    """The task run of a Dagster run, with its subtasks."""
    record = run.record(deployment.dagster.events(run.run_id), deployment.project.by_name.get(run.workflow))
    progress = {} if record.status in ENDED else progress_store(deployment.settings).read(record.run_id)
    return task_run(record, progress=progress, tasks=_workflow_tasks(deployment, run) or _slots(deployment, run))


def outline(deployment: Deployment, run: StoredRun) -> TaskRun:
    """The task run without its subtasks, which would take another query."""
    return task_run(run.record(workflow=deployment.project.by_name.get(run.workflow)))


def list_tasks(deployment: Deployment, *, limit: int, statuses: Sequence[str] = ()) -> Iterator[TaskRun]:
    """Task runs without their subtasks, newest first."""
    query = {"statuses": list(statuses)} if statuses else {}
    for run in deployment.dagster.without_retried(deployment.dagster.runs(query, limit=limit)):
        yield outline(deployment, run)


def task_types(deployment: Deployment, run: StoredRun) -> list[str]:
    """The task types of a run, each once."""
    names = [
        *run.tags.get(tags.TYPES, "").split(","),
        *(task.type for task in _workflow_tasks(deployment, run)),
    ]
    return list(dict.fromkeys(name for name in names if name in TASKS))


def abort(deployment: Deployment, task: str) -> TaskRun:
    """End a task run; its ffmpeg processes end with it."""
    run = describe(deployment, task)
    if run.state == "FINISH":
        raise InvalidInput(f"task {task} has ended already ({run.outcome})")
    end(deployment, run)
    return describe(deployment, task)


def end(deployment: Deployment, run: TaskRun) -> None:
    """Terminate the run of a task; of one that is to be retried, the retry, as soon as that is in the queue."""
    deadline = time.monotonic() + RETRY_QUEUED_S
    while (newest := deployment.dagster.newest_of(run_id_of(run.task_id))) and newest.awaits_retry:
        if time.monotonic() > deadline:
            raise InvalidInput(f"task {run.task_id} failed and is not queued again yet", hint="is the daemon running?")
        time.sleep(0.2)
    deployment.dagster.terminate(newest.run_id if newest else run.run_id)


def _workflow_tasks(deployment: Deployment, run: StoredRun) -> list[Task]:
    """The tasks of the current workflow, if the run was of all of it."""
    workflow = deployment.project.by_name.get(run.workflow or run.job)
    whole = workflow and run.job in (job_name(workflow.name), by_hand_name(workflow.name))
    return list(workflow.tasks.values()) if workflow and whole else []


def _slots(deployment: Deployment, run: StoredRun) -> list[Task]:
    """The tasks of a ProcessMedia, from its run config."""
    tasks = {name: config.get("task", {}) for name, config in op_configs(run.config).items() if name in TASKS}
    outputs = {name: task.get("outputs", ()) for name, task in tasks.items()}
    return list(requested_tasks(outputs, deployment.project.templates).values())
