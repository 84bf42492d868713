"""Launches task runs: a workflow on an upload, a schedule or ProcessMedia on any object."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.run_config import Config, by_hand_config, op_configs, upload_config
from mps_dagster.control.task_run import task_id
from mps_dagster.errors import InvalidConfiguration, InvalidInput, SourceNotAccessible
from mps_dagster.notify.config import parse_sinks
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.model import BY_HAND_BUCKET, RECORDS_DIR, UPLOAD, Task, Workflow
from mps_dagster.workflow.naming import (
    PROCESS_MEDIA,
    by_hand_name,
    job_name,
    node_name,
    partition_key,
    run_key,
    sensor_name,
    uploads_name,
)
from mps_dagster.workflow.parse import parse_task, parse_valid_outputs
from mps_dagster.workflow.templates import Templates


def upload(file: Path, bucket: Bucket, key: str) -> None:
    """Upload a local file to a workflow's bucket; never overwrite an object."""
    try:
        bucket.head(key)
    except SourceNotAccessible:
        bucket.publish(file, key)
        return
    hint = f"process it as it is ({bucket.name}/{key}), or rename the file"
    raise InvalidInput(f"{bucket.name}/{key} is there already", hint=hint)


def upload_by_hand(deployment: Deployment, file: Path) -> tuple[str, str]:
    """Upload a local file for processing by hand, under a new key; return bucket and key."""
    name = f"{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex[:8]}/{file.name}"
    bucket, key = by_hand_place(deployment.settings, name)
    deployment.buckets.get(bucket).publish(file, key)
    return bucket, key


def by_hand_place(settings: Settings, name: str) -> tuple[str, str]:
    """Bucket and key for a file or URL that is processed by hand."""
    if settings.cluster:
        return settings.shared_bucket, f"{RECORDS_DIR}uploads/{name}"
    return BY_HAND_BUCKET, name


def upload_and_launch(deployment: Deployment, workflow: Workflow, file: Path, key: str) -> str:
    """Upload a local file to a workflow's bucket and run the workflow on it; return the TaskId."""
    bucket = deployment.buckets.get(workflow.trigger.bucket)
    upload(file, bucket, key)
    info = bucket.head(key)
    # The sensor may have been quicker.
    runs = deployment.dagster.runs({"tags": _as_sensor(workflow, info)}, limit=1)
    return task_id(runs[0].root_run_id) if runs else _launch_on(deployment, workflow, info)


def launch_workflow(deployment: Deployment, workflow: Workflow, key: str) -> str:
    """Run a workflow on an object of its trigger bucket; return the TaskId."""
    return _launch_on(deployment, workflow, deployment.buckets.get(workflow.trigger.bucket).head(key))


def _launch_on(deployment: Deployment, workflow: Workflow, info: ObjectInfo) -> str:
    partition = partition_key(info.key)
    deployment.dagster.add_partition(uploads_name(workflow.name), partition)
    run_tags = tags.workflow_tags(workflow, info.key) | {tags.PARTITION: partition} | _as_sensor(workflow, info)
    config = upload_config(workflow.name, info.etag, workflow.notify)
    return task_id(deployment.dagster.launch(job_name(workflow.name), config, run_tags))


def _as_sensor(workflow: Workflow, info: ObjectInfo) -> dict[str, str]:
    """Tags of a run that the sensor launches for an upload: it does not launch one that has them again."""
    bucket = workflow.trigger.bucket
    return {tags.RUN_KEY: run_key(workflow.name, bucket, info), tags.SENSOR: sensor_name(bucket)}


def launch_schedule(deployment: Deployment, schedule: Workflow, source: Config, run_tags: Mapping[str, str]) -> str:
    """Run a schedule on any object; outputs without a bucket of their own go to the source's place."""
    tasks = {node_name(schedule.name, name): {"output": source["output"]} for name in schedule.tasks}
    config = _by_hand(source, tasks)
    return _launch(deployment, by_hand_name(schedule.name), config, {tags.WORKFLOW: schedule.name, **run_tags})


def launch_media(
    deployment: Deployment, source: Config, outputs: Mapping[str, Sequence[Any]], run_tags: Mapping[str, str]
) -> str:
    """Run ProcessMedia's outputs, by task type, on a source; return the TaskId. Wrong outputs fail in the run, as with MPS."""
    config = _by_hand(source, {kind: {"outputs": list(entries)} for kind, entries in outputs.items()})
    return _launch(deployment, PROCESS_MEDIA, config, {**_media_tags(outputs), **run_tags})


def process_media(deployment: Deployment, source: Config, tasks: Mapping[str, Any], *, priority: int = 0) -> str:
    """Run tasks, by type, on one object; return the TaskId. All of it is validated first."""
    info = deployment.buckets.get(source["bucket"]).head(source["key"])
    valid = parse_tasks(tasks, source["output"], deployment.project.templates)
    config = _by_hand({**source, "etag": info.etag}, {task.name: task.model_dump(mode="json") for task in valid})
    return _launch(deployment, PROCESS_MEDIA, config, _media_tags(tasks) | {tags.PRIORITY: str(priority)})


def parse_tasks(documents: Mapping[str, Any], output: Mapping[str, Any], templates: Templates) -> list[Task]:
    """Tasks by type, as their outputs or as in a workflow file. `output` is the place that they inherit."""
    unknown = [name for name in documents if name not in TASKS]
    if unknown or not documents:
        raise InvalidConfiguration(
            f"tasks: {', '.join(unknown) or 'none given'}", hint=f"task types: {', '.join(TASKS)}"
        )
    bodies = {
        name: {"outputs": document} if isinstance(document, list) else dict(document)
        for name, document in documents.items()
    }
    return [parse_task(name, {"type": name, **body}, output, templates, where=name) for name, body in bodies.items()]


def requested_tasks(outputs: Mapping[str, Iterable[Any]], templates: Templates) -> dict[str, Task]:
    """ProcessMedia's tasks without invalid outputs, which fail in the run."""
    parsed = {
        kind: parse_valid_outputs(kind, {"type": kind, "outputs": entries}, {}, templates)[0]
        for kind, entries in outputs.items()
    }
    return {kind: task for kind, task in parsed.items() if task}


def _by_hand(source: Config, tasks: Mapping[str, Config]) -> dict[str, Any]:
    # A wrong sink would otherwise go unnoticed until the run has ended.
    parse_sinks(source["notify"])
    return by_hand_config(source, tasks)


def _media_tags(kinds: Iterable[str]) -> dict[str, str]:
    return {tags.WORKFLOW: PROCESS_MEDIA, tags.TYPES: ",".join(kinds)}


def _launch(deployment: Deployment, job: str, config: Config, run_tags: Mapping[str, str]) -> str:
    ops = op_configs(config)
    source = {tags.BUCKET: ops[UPLOAD]["bucket"], tags.KEY: ops[UPLOAD]["key"]}
    # Only ops with a config: an empty slot of `process_media` would take two steps.
    return task_id(deployment.dagster.launch(job, config, {**source, **run_tags}, only=list(ops)))
