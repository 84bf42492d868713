"""Launching a task run by hand, and what became of it: the calls behind the command line and the HTTP API."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mps_dagster.control.graphql import Dagster, tags_of
from mps_dagster.control.task_run import ENDED, RunRecord, TaskRun, run_id_of, task_id, task_run
from mps_dagster.errors import InvalidConfiguration, InvalidInput, SourceNotAccessible
from mps_dagster.execution.progress import read_progress
from mps_dagster.notify.config import as_written, parse_sinks
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.model import BY_HAND_BUCKET, UPLOAD, Task, Workflow
from mps_dagster.workflow.naming import (
    by_hand_name,
    job_name,
    node_name,
    partition_key,
    run_key,
    sensor_name,
    uploads_name,
)
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.project import Project

UPLOADS = BY_HAND_BUCKET


@dataclass(frozen=True)
class Processing:
    """ProcessMedia and its queries, over one deployment. Made per command: it reads the project's files once."""

    settings: Settings
    buckets: Buckets
    dagster: Dagster

    @classmethod
    def of(cls, settings: Settings) -> Processing:
        return cls(settings, Buckets(settings), Dagster(settings.ui_url))

    def workflow(self, name: str) -> Workflow:
        found = self.project.by_name.get(name)
        if found is None:
            names, bad = ", ".join(self.project.by_name) or "none", self.project.bad
            hint = f"there are: {names}" + (f"; {len(bad)} files are not valid (mps workflows validate)" if bad else "")
            raise InvalidInput(f"there is no workflow {name!r} in {self.settings.workflows_dir}", hint=hint)
        return found

    @cached_property
    def project(self) -> Project:
        return Project.load(self.settings)

    def upload(self, path: Path, bucket: str, key: str) -> None:
        """Put a local file where a workflow looks for it; never over another one."""
        target = self.buckets.get(bucket)
        if _exists(target, key):
            raise InvalidInput(
                f"{bucket}/{key} is there already", hint=f"process it as it is ({bucket}/{key}), or rename the file"
            )
        target.publish(path, key)

    def run_workflow(self, workflow: Workflow, key: str) -> str:
        """Run a workflow on an object of its trigger bucket; return the TaskId."""
        bucket = workflow.trigger.bucket
        info = self.buckets.get(bucket).head(key)
        partition = partition_key(key)
        self.dagster.add_partition(uploads_name(workflow.name), partition)
        tags = {
            "mps/workflow": workflow.name, "mps/bucket": bucket, "mps/key": key, "dagster/partition": partition,
            "dagster/priority": str(workflow.priority),
            # As the sensor would have launched it, so that it does not launch it once more.
            "dagster/run_key": run_key(bucket, info), "dagster/sensor_name": sensor_name(workflow.name),
        }  # fmt: skip
        config = {"etag": info.etag, "notify": as_written(workflow.notify)}
        ops = {node_name(workflow.name, UPLOAD): {"config": config}}
        return task_id(self.dagster.launch(job_name(workflow.name), {"ops": ops}, tags))

    def run_schedule(self, schedule: Workflow, source: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Run a schedule on any object; its outputs go to the source's place, but for those that have a bucket of their own."""
        tasks = {node_name(schedule.name, name): {"output": source["output"]} for name in schedule.tasks}
        return self._launch(by_hand_name(schedule.name), schedule.name, source, tasks, tags)

    def process_media(
        self,
        bucket: str,
        key: str,
        tasks: Mapping[str, Any],
        *,
        output: Mapping[str, str],
        notify: Sequence[Any] = (),
        priority: int = 0,
    ) -> str:
        """Run tasks, given per type, on one object; return the TaskId. All is validated before it is launched."""
        info = self.buckets.get(bucket).head(key)
        unknown = [name for name in tasks if name not in TASKS]
        if unknown or not tasks:
            raise InvalidConfiguration(
                f"tasks: {', '.join(unknown) or 'none given'}", hint=f"task types: {', '.join(TASKS)}"
            )
        documents = {}
        for name, document in tasks.items():
            body = {"outputs": document} if isinstance(document, list) else dict(document)
            task = parse_task(name, {"type": name, **body}, output, self.project.templates, where=name)
            documents[name] = task.model_dump(mode="json")
        source = {"bucket": bucket, "key": key, "etag": info.etag, "output": dict(output), "notify": list(notify)}
        return self.launch_media(source, documents, {"dagster/priority": str(priority)})

    def launch_media(
        self, source: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]], tags: Mapping[str, str]
    ) -> str:
        """Run tasks (each with its outputs) on a source as the job `process_media` has it; return the TaskId."""
        return self._launch("process_media", "process_media", source, tasks, {"mps/types": ",".join(tasks), **tags})

    def _launch(
        self,
        job: str,
        workflow: str,
        source: Mapping[str, Any],
        tasks: Mapping[str, Mapping[str, Any]],
        tags: Mapping[str, str],
    ) -> str:
        # Whom nobody can tell would go unnoticed until the run has ended.
        parse_sinks(source["notify"])
        ops = {"source": {"config": dict(source)}, **{name: {"config": {"task": task}} for name, task in tasks.items()}}
        own = {"mps/workflow": workflow, "mps/bucket": source["bucket"], "mps/key": source["key"]}
        # A slot of `process_media` that has nothing to do would cost two steps all the same.
        return task_id(self.dagster.launch(job, {"ops": ops}, {**own, **tags}, only=list(ops)))

    def put_by_hand(self, path: Path) -> tuple[str, str]:
        """Put a local file into the uploads bucket, under a key of its own."""
        key = f"{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex[:8]}/{path.name}"
        self.buckets.get(UPLOADS).publish(path, key)
        return UPLOADS, key

    def describe(self, task: str) -> TaskRun:
        """The task run, with the progress of what is running on this host."""
        try:
            root = run_id_of(task)
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        run = self.dagster.newest_of(root)
        if run is None:
            raise InvalidInput(f"there is no task {task}", hint="mps tasks")
        return self.described(run)

    def described(self, run: Mapping[str, Any]) -> TaskRun:
        """A run of Dagster's as the task run that it is, with its subtasks."""
        record = self._record(run, steps=True)
        progress = {} if record.status in ENDED else read_progress(self.settings.progress_dir, record.run_id)
        tasks = self._tasks_of(record) or self._asked(run.get("runConfigYaml", "")).values()
        return task_run(record, progress=progress, tasks=tasks)

    def recorded(self, run: Mapping[str, Any]) -> TaskRun:
        """The same without its subtasks, which are a query of their own."""
        return task_run(self._record(run, steps=False))

    def types_of(self, run: Mapping[str, Any]) -> list[str]:
        """MPS's names of what a run makes."""
        asked = tags_of(run).get("mps/types", "").split(",")
        names = [*asked, *(task.type for task in self._tasks_of(self.dagster.record(run, steps=False)))]
        return list(dict.fromkeys(TASKS[name].wire for name in names if name in TASKS))

    def tasks_of(self, outputs: Mapping[str, Iterable[Any]]) -> dict[str, Task]:
        """ProcessMedia's, out of their outputs; those that are wrong are told of by the run."""
        right = {name: [output for output in given if self._is_right(name, output)] for name, given in outputs.items()}
        return {
            name: parse_task(name, {"type": name, "outputs": given}, {}, self.project.templates, where=name)
            for name, given in right.items()
            if given
        }

    def _asked(self, config: str) -> dict[str, Task]:
        ops = (yaml.safe_load(config) or {}).get("ops", {})
        slots = {name: op.get("config", {}).get("task", {}) for name, op in ops.items() if name in TASKS}
        return self.tasks_of({name: task.get("outputs", ()) for name, task in slots.items()})

    def _is_right(self, kind: str, output: Any) -> bool:
        try:
            parse_task(kind, {"type": kind, "outputs": [output]}, {}, self.project.templates, where=kind)
        except InvalidInput:
            return False
        return True

    def _tasks_of(self, record: RunRecord) -> list[Task]:
        """What the workflow has as it is now, where the run was of all of it."""
        workflow = self.project.by_name.get(record.workflow)
        whole = workflow and record.job in (job_name(workflow.name), by_hand_name(workflow.name))
        return list(workflow.tasks.values()) if workflow and whole else []

    def tasks(self, *, limit: int, statuses: Sequence[str] = ()) -> Iterator[TaskRun]:
        """Newest first, without their subtasks."""
        wanted = {"statuses": list(statuses)} if statuses else {}
        for run in self.dagster.without_retried(self.dagster.runs(wanted, limit=limit)):
            yield self.recorded(run)

    def _record(self, run: Mapping[str, Any], *, steps: bool) -> RunRecord:
        """A run of single assets, launched in the UI, does not say its bucket; its workflow does."""
        record = self.dagster.record(run, steps=steps)
        workflow = self.project.by_name.get(record.workflow)
        return replace(record, bucket=workflow.trigger.bucket) if workflow and not record.bucket else record

    def abort(self, task: str) -> TaskRun:
        """End a task run; its ffmpeg processes end with it."""
        run = self.describe(task)
        if run.state == "FINISH":
            raise InvalidInput(f"task {task} has ended already ({run.outcome})")
        self.dagster.terminate(run.run_id)
        return self.describe(task)


def split_address(address: str) -> tuple[str, str]:
    """`inbox/a/b.mp4` → inbox, a/b.mp4; `s3://media/a.mp4` → s3://media, a.mp4."""
    scheme, found, rest = address.rpartition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise InvalidInput(f"{address!r} is neither a file nor bucket/key")
    return f"{scheme}{found}{bucket}", key


def _exists(bucket: Bucket, key: str) -> bool:
    try:
        bucket.head(key)
    except SourceNotAccessible:
        return False
    return True
