"""Break-down of a task into subtasks: one for each output spec, also if that is a series of pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mps_dagster.errors import InvalidConfiguration, MpsError
from mps_dagster.execution.attachments import with_digests
from mps_dagster.execution.fingerprint import fingerprint
from mps_dagster.execution.parts import with_parts
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.segment_keys import with_key
from mps_dagster.execution.subtask import Members, Refusal, Subtask, TaskResult, Upload
from mps_dagster.ffmpeg.chunks import Chunking
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.storage.keys import check_key
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import Spec
from mps_dagster.workflow.model import RECORDS_DIR, UPLOAD, Place, Source, Task
from mps_dagster.workflow.parse import parse_valid_outputs
from mps_dagster.workflow.templates import Templates


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task, its source, and one subtask for each of its outputs."""

    source: Source | None = None
    task: Task | None = None
    """Without outputs whose parameters are wrong; None if no valid ones are left."""
    subtasks: tuple[Subtask, ...] = ()

    def members(self, workflow: str) -> Members | None:
        """None if there is nothing to assemble."""
        if self.task is None or self.source is None:
            return None
        ids = tuple(subtask.id for subtask in self.subtasks)
        parts = tuple(subtask.id for subtask in self.subtasks if subtask.is_part)
        return Members(workflow=workflow, task=self.task, source=self.source, ids=ids, parts=parts)


def plan_task(document: Mapping[str, Any], upstream: Upload | TaskResult, worker: Worker) -> TaskPlan:
    """Break down a task of the run config; a task without outputs has no subtasks.

    A workflow's outputs were checked when its file was loaded. Those of ProcessMedia were not: a wrong one becomes a
    subtask that fails, because MPS reports it in the task's result.
    """
    outputs = document.get("outputs", ())
    if not outputs:
        return TaskPlan()
    place = upstream.output if isinstance(upstream, Upload) else Place()
    name, body = document["name"], {key: value for key, value in document.items() if key != "name"}
    inherited = {key: value for key, value in place.model_dump().items() if value}
    task, errors = parse_valid_outputs(name, body, inherited, Templates.load(worker.settings.templates_dir))
    source = upstream.as_source((task.source if task else document.get("source", UPLOAD)).partition("/")[2])
    planned = break_down(task, source, worker) if task else ()
    parts = (subtask for subtask in planned if subtask.is_part)
    wholes = (subtask for subtask in planned if not subtask.is_part)
    subtasks = (
        _refused(document, number, errors[number], source) if number in errors else next(wholes)
        for number in range(len(outputs))
    )
    return TaskPlan(source, task, (*parts, *subtasks))


def _refused(document: Mapping[str, Any], number: int, error: MpsError, source: Source) -> Subtask:
    """The subtask of an output with wrong parameters: it fails alone, with the reason."""
    output = document["outputs"][number]
    label = str(output.get("name") or output.get("definition") or 0)
    return Subtask(
        id=_identifier(number, f"{label}_refused"), task=document["name"], type=document["type"], label=label,
        source=source, bucket=source.bucket, spec=dict(output), plan=None, refusal=Refusal.of(error),
    )  # fmt: skip


def break_down(task: Task, source: Source, worker: Worker) -> tuple[Subtask, ...]:
    """One subtask per output, in the task's order, after those of all parts. An output that cannot be made fails alone.

    What can pass, such as a bucket of watermarks that does not answer, is raised.
    """
    place = task.place(source)
    subtasks, parts, taken = [], dict[str, Subtask](), dict[tuple[str, str], str]()
    for number, spec in enumerate(task.specs):
        plan, refusal, mark, bucket = None, None, "", spec.output_bucket or place.bucket
        try:
            names = task.names(spec, source)
            looked_at = with_digests(spec, worker.buckets, worker.settings.templates_dir)
            looked_at = with_key(looked_at, names, worker.buckets)
            plan = TASKS[task.type].plan(looked_at, source.media, names)
            # In chunks or not, it is the same output; so one that stands is not made again after a change of the settings.
            mark = fingerprint(source, bucket, plan, worker.ffmpeg.version)
            plan = _in_chunks(task, looked_at, source, worker) or plan
            _check_keys(plan, source, bucket)
            _check_taken(plan, bucket, spec.label, taken)
        except MpsError as error:
            if error.retryable:
                # A temporary error of the bucket, not of this output: retry the whole step.
                raise
            plan, refusal = None, Refusal.of(error)
        subtask = Subtask(
            id=_identifier(number, spec.label), task=task.name, type=task.type, label=spec.label, source=source,
            bucket=bucket, spec=spec.model_dump(mode="json"), plan=plan, refusal=refusal,
            fingerprint="" if refusal else mark,
            revision=task.revision, paths=task.paths(spec, source),
        )  # fmt: skip
        subtasks.append(with_parts(subtask, number, worker.ffmpeg.version, parts))
    return (*parts.values(), *subtasks)


def _in_chunks(task: Task, spec: Spec, source: Source, worker: Worker) -> Plan | None:
    settings, plan_chunks = worker.settings, TASKS[task.type].plan_chunks
    if not settings.chunks_from_s or plan_chunks is None:
        return None
    chunking = Chunking(settings.chunks_from_s, settings.chunk_s)
    return plan_chunks(spec, source.media, task.names(spec, source), chunking)


def output_keys(plan: Plan) -> Iterable[str]:
    """All keys that are known before the run, which those of segments are not."""
    yield from (output.key for output in plan.outputs)
    yield from (text.key for text in plan.texts)
    if plan.packaging:
        yield from plan.packaging.keys


def _check_keys(plan: Plan, source: Source, bucket: str) -> None:
    segments = [plan.segments.key(0)] if plan.segments else []
    for key in [*output_keys(plan), *segments]:
        check_key(key)
        if key.startswith(RECORDS_DIR):
            raise InvalidConfiguration(
                f"{key!r} lies in {RECORDS_DIR}, which is ours", hint="choose another output path"
            )
        if (bucket, key) == (source.bucket, source.key):
            raise InvalidConfiguration(
                f"the output would overwrite its own source {source.uri}", hint="set output_object_path"
            )


def _check_taken(plan: Plan, bucket: str, label: str, taken: dict[tuple[str, str], str]) -> None:
    """Fail all but the first of several outputs on one path, which would overwrite each other."""
    segments = [plan.segments.key(0)] if plan.segments else []
    keys = [(bucket, key) for key in [*output_keys(plan), *segments]]
    other = next((taken[key] for key in keys if key in taken), None)
    if other is not None:
        raise InvalidConfiguration(
            f"output {other} is written to a path of {plan.primary_key!r} already",
            hint="set other paths on one of them",
        )
    taken.update(dict.fromkeys(keys, label))


def _identifier(number: int, label: str) -> str:
    """A readable Dagster mapping key."""
    return re.sub(r"[^A-Za-z0-9_]", "_", f"{number}_{label}")[:64]
