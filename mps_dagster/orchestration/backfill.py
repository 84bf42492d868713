"""What of a workflow's uploads is missing, failed or out of date, and how that is mended.

The bucket's inventory is held against what Dagster recorded, in bulk. Imported at need only: pandas costs 0.4 s.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from dagster import DagsterInstance

from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import InvalidInput, SourceNotAccessible, StorageFailed
from mps_dagster.execution.lineage import results_of
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.orchestration.history import BROKEN, DONE, MENDED, NEVER, RUNNING, STATUSES, History, Verdict
from mps_dagster.orchestration.ledger import PartitionLedger
from mps_dagster.orchestration.runs import BUCKET_TAG, REVISION_TAG, WORKFLOW_TAG
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.model import UPLOAD, Task, Workflow
from mps_dagster.workflow.naming import partition_key, run_key, uploads_name

PRIORITY = "-1"
"""Uploads that come meanwhile go first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the sources and tasks a backfill is about."""

    prefix: str = ""
    since: datetime | None = None
    until: datetime | None = None
    """Of the upload, UTC; `until` is exclusive."""
    tasks: tuple[str, ...] = ()
    statuses: tuple[str, ...] = MENDED
    limit: int | None = None


@contextmanager
def deployed(settings: Settings) -> Iterator[DagsterInstance]:
    """The Dagster instance of this deployment, also while nothing of it runs."""
    if not (settings.dagster_home / "dagster.yaml").is_file():
        raise InvalidInput(f"nothing was ever started in {settings.home}", hint="mps up, or set MPS_HOME")
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield instance


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be processed."""

    table: pd.DataFrame
    """One row per source, oldest upload first.

    Columns: key, size (bytes), modified (UTC), status, tasks (tuple of names), reason, run_key (empty where the upload will
    lack something all the same).
    """
    left: Mapping[str, int]
    """How many of the other sources are left alone, by status. Not of those that were never made: they may be our own outputs."""
    under_way: tuple[str, ...]
    """Backfills of the workflow that have not ended."""


def plan(instance: DagsterInstance, workflow: Workflow, buckets: Buckets, wanted: Wanted) -> Plan:
    _check(workflow, wanted)
    bucket = buckets.get(workflow.trigger.bucket)
    history = History(instance, workflow)
    rows, left = [], Counter[str]()
    for info in _uploads(bucket, workflow, wanted):
        verdicts = history.judge(info)
        if row := _row(info, workflow, verdicts, wanted):
            rows.append(row)
        else:
            left[_first(verdicts[name].status for name in wanted.tasks or verdicts)] += 1
    table = pd.DataFrame(rows, columns=["key", "size", "modified", "status", "tasks", "reason", "run_key"])
    table = table.sort_values(["modified", "key"])
    # Only buckets tell which of these lack nothing, so no more of them are asked than needed.
    uploads = (
        row for row in table.itertuples() if row.status != NEVER or _lacks(row.key, row.tasks, workflow, buckets)
    )
    chosen = [row.Index for row in itertools.islice(uploads, wanted.limit)]
    counts = {status: left[status] for status in STATUSES if left[status] and status != NEVER}
    return Plan(
        table.loc[chosen].reset_index(drop=True), counts, tuple(found.backfill_id for found in history.backfills)
    )


def launch(instance: DagsterInstance, settings: Settings, workflow: Workflow, table: pd.DataFrame) -> Iterator[str]:
    """Launch a plan as Dagster's own backfills, one for each set of tasks that some sources lack; give each one's id at once."""
    dagster = Dagster(settings.ui_url)
    # The plan is of the files as they are now; what runs must be, too.
    dagster.reload()
    tags = {
        WORKFLOW_TAG: workflow.name,
        BUCKET_TAG: workflow.trigger.bucket,
        REVISION_TAG: workflow.revision,
        "dagster/priority": PRIORITY,
    }
    for tasks, rows in table.groupby("tasks", sort=False):
        partitions = [partition_key(key) for key in rows["key"]]
        instance.add_dynamic_partitions(uploads_name(workflow.name), partitions)
        for assets in connected(workflow, tasks):
            title = f"{workflow.name}: {', '.join(assets)} of {len(partitions)} sources"
            yield dagster.backfill([[workflow.name, name] for name in assets], partitions, title, tags)
        # The upload sensor need not ask for these, too; only now, so that none is lost if Dagster does not answer.
        PartitionLedger(instance, workflow.name).add(key for key in rows["run_key"] if key)


def connected(workflow: Workflow, tasks: tuple[str, ...]) -> list[list[str]]:
    """The tasks in sets that hang together, the ones that work on the upload with the source.

    Dagster leaves out of a backfill what hangs on nothing else in it.
    """
    sets: dict[str, list[str]] = {}
    for task in workflow.upstream_first:
        if task.name in tasks:
            mine = next((found for found in sets.values() if task.upstream in found), None)
            if mine is None:
                # With the source: what it staged may be gone, and its content may be another one.
                mine = sets[task.name] = [UPLOAD] if task.upstream == UPLOAD else []
            mine.append(task.name)
    return list(sets.values())


def _check(workflow: Workflow, wanted: Wanted) -> None:
    for what, given, known in (("task", wanted.tasks, workflow.tasks), ("status", wanted.statuses, STATUSES)):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InvalidInput(f"there is no {what} {', '.join(unknown)}", hint=f"there are: {', '.join(known)}")


def _uploads(bucket: Bucket, workflow: Workflow, wanted: Wanted) -> Iterator[ObjectInfo]:
    trigger = workflow.trigger
    for info in bucket.list(max(trigger.prefix, wanted.prefix.lstrip("/"), key=len)):
        if (
            not info.settled
            or not workflow.takes(info.key, info.modified)
            or not info.key.startswith(wanted.prefix.lstrip("/"))
        ):
            continue
        if (not wanted.since or info.modified >= wanted.since) and (not wanted.until or info.modified < wanted.until):
            yield info


def _row(
    info: ObjectInfo, workflow: Workflow, verdicts: Mapping[str, Verdict], wanted: Wanted
) -> tuple[Any, ...] | None:
    named = wanted.tasks or tuple(workflow.tasks)
    asked = {name for name in named if verdicts[name].status in wanted.statuses}
    if not asked:
        return None
    chosen = tuple(name for name in workflow.tasks if name in asked | _lacking(asked, workflow, verdicts))
    status = _first(verdicts[name].status for name in asked)
    held = {name for name in named if verdicts[name].status in (RUNNING, BROKEN)}
    told = [name for name in workflow.tasks if name in chosen or name in held]
    reason = "; ".join(f"{name} {verdicts[name].reason}" for name in told)
    # Else the upload sensor would leave to nobody what is not in the plan.
    whole = all(name in chosen or verdict.status == DONE for name, verdict in verdicts.items())
    key = run_key(workflow.trigger.bucket, info) if whole else ""
    return info.key, info.size, info.modified, status, chosen, reason, key


def _lacking(asked: set[str], workflow: Workflow, verdicts: Mapping[str, Verdict]) -> set[str]:
    """The tasks that these work on, as far as nothing of them stands."""
    lacking = set()
    for name in asked:
        above = workflow.tasks[name].upstream
        while above != UPLOAD and not verdicts[above].event:
            lacking.add(above)
            above = workflow.tasks[above].upstream
    return lacking


def _first(statuses: Iterable[str]) -> str:
    return min(statuses, key=list(STATUSES).index)


def _lacks(key: str, tasks: tuple[str, ...], workflow: Workflow, buckets: Buckets) -> bool:
    """Whether what Dagster knows nothing of is an upload of which something was never made, in a run that is gone either."""
    upload = workflow.trigger.bucket
    try:
        info = buckets.get(upload).head(key)
    except SourceNotAccessible:
        return False
    if info.record:
        # An output of ours that lies among the uploads.
        return False
    try:
        results = [result for place in workflow.written for result in results_of(upload, key, buckets.get(place))]
    except StorageFailed:
        # Of a folder that the first output will make, above all. What is asked for in vain is not made again.
        return True
    mine = [result for result in results if result.workflow == workflow.name]
    return not all(any(_is_of(result, workflow.tasks[name], info.etag) for result in mine) for name in tasks)


def _is_of(result: TaskResult, task: Task, etag: str) -> bool:
    """Whether this is what the task makes of the upload now."""
    same = task.upstream != UPLOAD or result.source.etag == etag
    return same and result.task == task.name and result.results[0].revision == task.revision
