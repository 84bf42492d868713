"""The state of a task run, computed only from Dagster's records.

`RunRecord` is that record in neutral form: the sensors read it from the instance, CLI and API over GraphQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mps_dagster.control import tags
from mps_dagster.control.causes import ABORTED
from mps_dagster.control.run_config import source_config
from mps_dagster.control.steps import StepEvent, StepRecord, cause_of, steps_of
from mps_dagster.control.time_left import time_left_s
from mps_dagster.execution.assemble import manifest_key
from mps_dagster.execution.pace import StepProgress
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source, Task, Workflow, predecessor
from mps_dagster.workflow.naming import StepKey, object_key

State = Literal["WAITING", "PROCESSING", "FINISH"]
SubtaskStatus = Literal["PROCESSING", "SUCCESS", "FAIL"]

TASK_ID_PREFIX = "mps-WorkflowTask-"
PLANNED = ("task", "id", "type", "label", "spec", "override", "bucket", "paths")
"""Members of a subtask that the break-down records."""
NO_ERROR: dict[str, Any] = {"code": "", "number": 0, "message": "", "hint": ""}
WAITING = frozenset({"QUEUED", "NOT_STARTED", "MANAGED"})
NOTHING = StepProgress(0.0)
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})


def task_id(root_run_id: str) -> str:
    """The `TaskId` of a run and of all its retries, in MPS's format."""
    return TASK_ID_PREFIX + root_run_id.replace("-", "")


def run_id_of(task_id: str) -> str:
    """The root run's id; raise ValueError if it is no TaskId of ours."""
    digits = task_id.removeprefix(TASK_ID_PREFIX)
    if task_id == digits or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        raise ValueError(f"{task_id!r} is no task id; one looks like {TASK_ID_PREFIX}<32 hexadecimal digits>")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One Dagster run."""

    run_id: str
    root_run_id: str
    workflow: str
    job: str
    """Dagster's job; not the workflow's if single assets were materialized."""
    status: str
    """Dagster's: QUEUED, STARTED, SUCCESS, FAILURE, CANCELED … ; unknown ones count as still going on."""
    created_s: float
    started_s: float | None
    ended_s: float | None
    bucket: str
    key: str
    priority: int = 0
    session_id: str = ""
    session_context: str = ""
    """Returned to the caller of ProcessMedia."""
    url: str = ""
    """The URL that the source was downloaded from, if any."""
    steps: tuple[StepRecord, ...] = ()
    cause: str = ""
    """Why its process died, in words; empty if it did not."""
    attempt: int = 1
    """Automatic retries count on."""
    first_run_id: str = ""
    """The run of the first attempt; empty if it is this one."""

    @property
    def why(self) -> str:
        """Why the run ended, if not by a step's failure."""
        return ABORTED if self.status == "CANCELED" else self.cause if self.status == "FAILURE" else ""

    def task_of(self, step: StepRecord) -> str:
        """The task of a step."""
        return step.place.task(self.workflow)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as Dagster stores it, without its events; read from the instance or over GraphQL."""

    run_id: str
    root_run_id: str
    job: str
    status: str
    created_s: float
    started_s: float | None
    ended_s: float | None
    tags: Mapping[str, str]
    assets: tuple[tuple[str, ...], ...] = ()
    """Keys of the selected assets; empty for all assets of the job."""
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def workflow(self) -> str:
        """The run's workflow; empty for runs that are no task. "Materialize" in the UI sets no tag, but names assets."""
        return self.tags.get(tags.WORKFLOW) or next((path[0] for path in self.assets if len(path) > 1), "")

    @property
    def awaits_retry(self) -> bool:
        """Whether it failed, and its retry is not in the queue yet."""
        own = self.tags
        return self.status == "FAILURE" and own.get(tags.WILL_RETRY) == "true" and tags.RETRIED_BY not in own

    @property
    def is_retried(self) -> bool:
        """Whether it failed, and another run carries on; for everybody else, the task has not ended yet."""
        return self.status == "FAILURE" and (self.tags.get(tags.WILL_RETRY) == "true" or tags.RETRIED_BY in self.tags)

    @property
    def first_run_id(self) -> str:
        """The run of the first attempt. A run that a user repeats is a first one."""
        return self.tags.get(tags.FIRST_RUN, self.run_id) if tags.RETRY_NUMBER in self.tags else self.run_id

    def tasks_of(self, workflow: Workflow | None) -> list[Task]:
        """What it had to do of its workflow, which is None if it was deleted. One task may be materialized alone."""
        selected = {path[-1] for path in self.assets}
        return [task for task in workflow.tasks.values() if not selected or task.name in selected] if workflow else []

    def record(self, events: Iterable[StepEvent] = (), workflow: Workflow | None = None) -> RunRecord:
        """The run with its events. `workflow` is its workflow, if that still exists."""
        if self.awaits_retry:
            # For everybody, the task waits for its next attempt.
            return replace(self, status="QUEUED", started_s=None, ended_s=None).record((), workflow)
        events, source, own = list(events), source_config(self.config), self.tags
        return RunRecord(
            run_id=self.run_id, root_run_id=self.root_run_id, workflow=self.workflow or self.job, job=self.job,
            status=self.status, created_s=self.created_s, started_s=self.started_s, ended_s=self.ended_s,
            bucket=own.get(tags.BUCKET) or source.get("bucket") or (workflow.trigger.bucket if workflow else ""),
            key=own.get(tags.KEY) or source.get("key") or object_key(own.get(tags.PARTITION, "")),
            priority=int(own.get(tags.PRIORITY, "0")), session_id=own.get(tags.SESSION_ID, ""),
            session_context=own.get(tags.SESSION_CONTEXT, ""), url=own.get(tags.URL, ""),
            steps=steps_of(events), cause=cause_of(events),
            attempt=int(own.get(tags.RETRY_NUMBER, "0")) + 1, first_run_id=self.first_run_id,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SubtaskState:
    """One output spec of a task: MPS's unit of status."""

    task: str
    id: str
    type: str
    label: str
    status: SubtaskStatus
    progress: float = 0.0
    """0 to 1."""
    speed: float | None = None
    """Media seconds per second, in the end of the whole subtask. None of an output with parts, which have theirs."""
    left_s: float | None = None
    """Seconds until it has ended; None if that is not known, or it has."""
    code: str = ""
    number: int = 0
    message: str = ""
    hint: str = ""
    """What a user can do about an error; not part of MPS's API."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    override: Mapping[str, Any] | None = None
    """The template parameters that the caller overrides."""
    bucket: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Paths of the outputs, by parameter."""
    started_s: float | None = None
    ended_s: float | None = None
    result: SubtaskResult | None = None
    parts: tuple[SubtaskState, ...] = ()
    """Those of the subtasks whose files go into the output."""


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One execution of a workflow, or of ProcessMedia, on one source."""

    task_id: str
    run_id: str
    workflow: str
    state: State
    outcome: str
    """Dagster's status."""
    code: str
    number: int
    message: str
    """Error of the source or the run itself; failed outputs have their own."""
    created_s: float
    started_s: float | None
    ended_s: float | None
    bucket: str
    key: str
    priority: int
    source: Source | None
    subtasks: tuple[SubtaskState, ...]
    session_id: str = ""
    session_context: str = ""
    url: str = ""
    hint: str = ""
    """Belongs to `message`."""
    attempts: int = 1
    """How often it was run, with automatic retries."""
    first_run_id: str = ""
    """The run of the first attempt."""

    @property
    def manifests(self) -> list[str]:
        """`bucket/key` of the manifest of each assembled task, with all its results."""
        tasks: dict[str, list[SubtaskState]] = {}
        for subtask in self.subtasks:
            tasks.setdefault(subtask.task, []).append(subtask)
        root = run_id_of(self.task_id)
        return [
            f"{states[0].result.bucket}/{manifest_key(self.bucket, self.key, self.workflow, root, task)}"
            for task, states in tasks.items()
            if states[0].result and all(state.status == "SUCCESS" for state in states)
        ]

    @property
    def progress(self) -> float:
        """0 to 1: the mean of its subtasks'."""
        if self.outcome == "SUCCESS":
            return 1.0
        return sum(subtask.progress for subtask in self.subtasks) / len(self.subtasks) if self.subtasks else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until it has ended; None if that is not known, or it has."""
        return time_left_s(self.subtasks) if self.state == "PROCESSING" else None

    @property
    def failed(self) -> bool:
        return bool(self.number) or any(subtask.status == "FAIL" for subtask in self.subtasks)


def task_run(
    record: RunRecord, *, progress: Mapping[str, StepProgress] | None = None, tasks: Iterable[Task] = ()
) -> TaskRun:
    """Compute the state from the record.

    `progress` is that of running subtasks by step key. `tasks` are those of the workflow, to include tasks that have not
    begun, or whose process died.
    """
    ended = record.status in ENDED
    source_step = next((step for step in record.steps if step.op.endswith("source") and not step.graph), None)
    error = _error(source_step, record.why) if source_step and source_step.status == "failure" else {}
    known = {task.name: task for task in tasks}
    subtasks = tuple(_subtasks(record, progress or {}, known, ended=ended))
    # A run that succeeded is complete: other tasks of the workflow are newer than the run.
    if not error and record.status != "SUCCESS":
        subtasks += tuple(_not_begun(record, known, subtasks, ended=ended))
    if not error and record.why:
        error = _internal_error(record.why)
    if not error and record.status == "FAILURE" and not any(subtask.status == "FAIL" for subtask in subtasks):
        error = _internal_error("the run failed outside its subtasks")
    return TaskRun(
        task_id=task_id(record.root_run_id), run_id=record.run_id, workflow=record.workflow,
        state="FINISH" if ended else "WAITING" if record.status in WAITING else "PROCESSING",
        outcome=record.status, **(error or NO_ERROR),
        created_s=record.created_s, started_s=record.started_s, ended_s=record.ended_s,
        bucket=record.bucket, key=record.key, priority=record.priority,
        source=_source(source_step), subtasks=subtasks,
        session_id=record.session_id, session_context=record.session_context, url=record.url,
        attempts=record.attempt, first_run_id=record.first_run_id or record.run_id,
    )  # fmt: skip


def _subtasks(
    record: RunRecord, progress: Mapping[str, StepProgress], tasks: Mapping[str, Task], *, ended: bool
) -> Iterator[SubtaskState]:
    steps = {step.key: step for step in record.steps}
    for step in record.steps:
        if step.op != "break_down":
            continue
        if step.status == "failure":
            yield _failed_task(step, record, tasks)
        for planned in step.metadata.get("subtasks") or ():
            key = str(StepKey(step.graph, "subtask", planned["id"]))
            facts = {name: planned[name] for name in PLANNED if name in planned}
            parts = tuple(
                _subtask(
                    {**facts, "id": part, "label": f"{facts['label']} {name}"},
                    steps.get(own := str(StepKey(step.graph, "subtask", part))),
                    progress.get(own, NOTHING),
                    ended=ended,
                    why=record.why,
                )
                for part, name in (planned.get("parts") or {}).items()
            )
            whole = _subtask(facts, steps.get(key), progress.get(key, NOTHING), ended=ended, why=record.why)
            yield _with_parts(whole, parts) if parts else whole


def _subtask(
    facts: dict[str, Any], step: StepRecord | None, progress: StepProgress, *, ended: bool, why: str
) -> SubtaskState:
    done = progress.fraction
    now: dict[str, Any] = {"progress": done, "speed": progress.speed or None, "left_s": progress.left_s}
    if step is None:
        if ended:
            message = f"it was not run: {why}" if why else "it was not run"
            return SubtaskState(**facts, status="FAIL", code="InternalError", number=70000, message=message)
        # Its file may be in the making by another step's process.
        return SubtaskState(**facts, status="PROCESSING", **now)
    facts |= {"started_s": step.started_s, "ended_s": step.ended_s}
    if step.status == "success" and (stored := step.metadata.get("result")):
        result = SubtaskResult.model_validate(stored)
        return SubtaskState(**facts, status="SUCCESS", progress=1.0, speed=result.speed or None, result=result)
    if step.status == "failure" or ended:
        return SubtaskState(**facts, status="FAIL", progress=done, **_error(step, why))
    return SubtaskState(**facts, status="PROCESSING", **now)


PACKAGING = 0.05
"""Share of the progress of an output with parts that is its own; the rest is theirs."""


def _with_parts(whole: SubtaskState, parts: tuple[SubtaskState, ...]) -> SubtaskState:
    """The output with its parts: it begins with the first of them, and fails for the reason of the one that failed."""
    failed = next((part for part in parts if part.status == "FAIL"), None)
    begun = [part.started_s for part in parts if part.started_s is not None]
    done = sum(part.progress for part in parts) / len(parts)
    state = replace(
        whole,
        parts=parts,
        progress=1.0 if whole.status == "SUCCESS" else (1 - PACKAGING) * done + PACKAGING * whole.progress,
        speed=None,
        left_s=time_left_s(parts) if any(part.status == "PROCESSING" for part in parts) else whole.left_s,
        started_s=min(begun, default=whole.started_s),
    )
    if whole.status != "FAIL" or failed is None:
        return state
    message = f"{failed.label}: {failed.message}"
    return replace(state, code=failed.code, number=failed.number, message=message, hint=failed.hint)


def _not_begun(
    record: RunRecord, tasks: Mapping[str, Task], begun_ones: Iterable[SubtaskState], *, ended: bool
) -> Iterator[SubtaskState]:
    """Outputs of tasks that wait for another task, or will not run because it failed."""
    failures = {subtask.task: subtask.message for subtask in begun_ones if subtask.status == "FAIL"}
    begun = {record.task_of(step) for step in record.steps if step.op == "break_down"}
    for task in tasks.values():
        if task.name in begun:
            continue
        for spec in task.specs:
            waiting = SubtaskState(
                task=task.name,
                id="",
                type=task.type,
                label=spec.label,
                status="PROCESSING",
                spec=spec.model_dump(mode="json"),
            )
            upstream = predecessor(task, tasks)
            failure = f": {failures[upstream]}" if upstream in failures else ""
            reason = f"it was not run, because {upstream} did not succeed{failure}"
            reason = f"it was not run: {record.why}" if record.why else reason
            failed = replace(waiting, status="FAIL", code="InternalError", number=70000, message=reason)
            yield failed if ended else waiting


def _failed_task(step: StepRecord, record: RunRecord, tasks: Mapping[str, Task]) -> SubtaskState:
    """One state for a task that failed before it had subtasks. If its process died, there is no metadata."""
    task, name = step.metadata.get("task") or {}, record.task_of(step)
    # A slot of process_media has its type's name.
    kind = task.get("type") or (tasks[name].type if name in tasks else name)
    return SubtaskState(
        task=name, id="", type=kind, label="", status="FAIL", ended_s=step.ended_s, **_error(step, record.why)
    )


def _error(step: StepRecord, why: str) -> dict[str, Any]:
    """The step's own error, or else the cause of its end."""
    return {
        "code": step.metadata.get("code") or "InternalError",
        "number": int(step.metadata.get("number") or 70000),
        "message": step.metadata.get("message") or step.error or why or "it was ended before it was done",
        "hint": step.metadata.get("hint") or "",
    }


def _internal_error(message: str) -> dict[str, Any]:
    return {"code": "InternalError", "number": 70000, "message": message, "hint": ""}


def _source(step: StepRecord | None) -> Source | None:
    source = step.metadata.get("source") if step else None
    return Source.model_validate(source) if isinstance(source, dict) else None
