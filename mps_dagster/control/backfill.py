"""Plans backfills: uploads of a workflow whose outputs are missing, failed or out of date.

Compares the bucket's listing with Dagster's records, in bulk. Import it only where needed, as pandas takes 0.4 s.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from mps_dagster.control.history import TO_BACKFILL, History, Status, Verdict
from mps_dagster.errors import InvalidInput, SourceNotAccessible, StorageFailed
from mps_dagster.execution.lineage import results_of
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.model import UPLOAD, Task, Workflow, predecessor
from mps_dagster.workflow.naming import run_key

COLUMNS = ["key", "size", "modified", "status", "tasks", "reason", "run_key"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Selects the sources and tasks of a backfill."""

    prefix: str = ""
    since: datetime | None = None
    until: datetime | None = None
    """Of the upload, UTC; `until` is exclusive."""
    tasks: tuple[str, ...] = ()
    statuses: tuple[str, ...] = TO_BACKFILL
    limit: int | None = None

    def check(self, workflow: Workflow) -> None:
        for what, names, known in (("task", self.tasks, [*workflow.tasks]), ("status", self.statuses, [*Status])):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise InvalidInput(f"there is no {what} {', '.join(unknown)}", hint=f"there are: {', '.join(known)}")

    def covers(self, info: ObjectInfo) -> bool:
        if not info.key.startswith(self.prefix.lstrip("/")):
            return False
        return (not self.since or info.modified >= self.since) and (not self.until or info.modified < self.until)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be processed."""

    table: pd.DataFrame
    """One row per source, oldest upload first.

    Columns: key, size (bytes), modified (UTC), status, tasks (tuple of names), reason, run_key (empty where the upload will
    still lack something).
    """
    others: Mapping[str, int]
    """The number of other sources by status, without `never`: those may be our own outputs."""
    under_way: tuple[str, ...]
    """Backfills of the workflow that have not ended."""


def plan(history: History, buckets: Buckets, scope: Scope) -> Plan:
    workflow = history.workflow
    scope.check(workflow)
    rows, others = [], Counter[str]()
    for info in _uploads(buckets.get(workflow.trigger.bucket), workflow, scope):
        verdicts = history.judge(info)
        if row := _row(info, workflow, verdicts, scope):
            rows.append(row)
        else:
            others[_first(verdicts[name].status for name in scope.tasks or verdicts)] += 1
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(["modified", "key"])
    # Whether these are complete takes requests to buckets, so no more of them are checked than needed.
    uploads = (
        row
        for row in table.itertuples()
        if row.status != Status.NEVER or _lacks_outputs(row.key, row.tasks, workflow, buckets)
    )
    selected = [row.Index for row in itertools.islice(uploads, scope.limit)]
    counts = {status.value: others[status] for status in Status if others[status] and status is not Status.NEVER}
    return Plan(table.loc[selected].reset_index(drop=True), counts, history.backfills)


def connected(workflow: Workflow, tasks: tuple[str, ...]) -> list[list[str]]:
    """Group the tasks into connected sets; those that work on the upload come with the source.

    Dagster leaves assets that are not connected with the others out of a backfill.
    """
    sets: dict[str, list[str]] = {}
    for task in workflow.upstream_first:
        if task.name in tasks:
            upstream = predecessor(task, workflow.tasks)
            own = next((names for names in sets.values() if upstream in names), None)
            if own is None:
                # With the source: its scratch copy may be gone, and its content may have changed.
                own = sets[task.name] = [UPLOAD] if upstream == UPLOAD else []
            own.append(task.name)
    return list(sets.values())


def _uploads(bucket: Bucket, workflow: Workflow, scope: Scope) -> Iterator[ObjectInfo]:
    for info in bucket.list(max(workflow.trigger.prefix, scope.prefix.lstrip("/"), key=len)):
        if info.settled and workflow.takes(info.key, info.modified) and scope.covers(info):
            yield info


def _row(info: ObjectInfo, workflow: Workflow, verdicts: Mapping[str, Verdict], scope: Scope) -> tuple[Any, ...] | None:
    candidates = scope.tasks or tuple(workflow.tasks)
    due = {name for name in candidates if verdicts[name].status in scope.statuses}
    if not due:
        return None
    tasks = tuple(name for name in workflow.tasks if name in due | _missing_upstream(due, workflow, verdicts))
    blocked = {name for name in candidates if verdicts[name].status in (Status.RUNNING, Status.BROKEN)}
    explained = [name for name in workflow.tasks if name in tasks or name in blocked]
    reason = "; ".join(f"{name} {verdicts[name].reason}" for name in explained)
    # Otherwise the upload sensor would never launch what is not in the plan.
    complete = all(name in tasks or verdict.status is Status.DONE for name, verdict in verdicts.items())
    key = run_key(workflow.name, workflow.trigger.bucket, info) if complete else ""
    return info.key, info.size, info.modified, _first(verdicts[name].status for name in due).value, tasks, reason, key


def _missing_upstream(due: set[str], workflow: Workflow, verdicts: Mapping[str, Verdict]) -> set[str]:
    """The tasks upstream of these that have no output."""
    missing = set()
    for name in due:
        upstream = predecessor(workflow.tasks[name], workflow.tasks)
        while upstream != UPLOAD and not verdicts[upstream].event:
            missing.add(upstream)
            upstream = predecessor(workflow.tasks[upstream], workflow.tasks)
    return missing


def _first(statuses: Iterable[Status]) -> Status:
    return min(statuses, key=list(Status).index)


def _lacks_outputs(key: str, tasks: tuple[str, ...], workflow: Workflow, buckets: Buckets) -> bool:
    """Whether an object without runs is an upload, and has no outputs of an earlier, deleted run."""
    upload = workflow.trigger.bucket
    try:
        info = buckets.get(upload).head(key)
    except SourceNotAccessible:
        return False
    if info.record:
        # An output of ours among the uploads.
        return False
    try:
        results = [
            result for place in workflow.written_buckets for result in results_of(upload, key, buckets.get(place))
        ]
    except StorageFailed:
        # Usually a folder that the first output will create. A run that was not needed encodes nothing again.
        return True
    own = [result for result in results if result.workflow == workflow.name]
    return not all(any(_is_current(result, workflow.tasks[name], info.etag) for result in own) for name in tasks)


def _is_current(result: TaskResult, task: Task, etag: str) -> bool:
    """Whether a result is up to date with the task and the upload."""
    same = task.upstream != UPLOAD or result.source.etag == etag
    return same and result.task == task.name and result.results[0].revision == task.revision
