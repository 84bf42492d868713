"""What of a workflow's uploads is missing, failed or out of date, and how that is mended.

The bucket's inventory is held against what Dagster recorded, in bulk. Imported at need only: pandas costs 0.4 s.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
import pandas as pd
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from mps_dagster.api.graphql import Dagster
from mps_dagster.errors import InvalidInput, SourceNotAccessible
from mps_dagster.orchestration.requested import Requested
from mps_dagster.orchestration.runs import REVISION_TAG, WORKFLOW_TAG, run_record
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.workflow.model import UPLOAD, Task, Workflow
from mps_dagster.workflow.naming import partition_key, run_key, uploads_name

RUNNING, BROKEN, FAILED, NEVER, CHANGED, STALE, DONE = (
    "running",
    "broken",
    "failed",
    "never",
    "changed",
    "stale",
    "done",
)
STATUSES = {
    RUNNING: "a run is under way",
    BROKEN: "the last run failed for a reason that no retry mends, or somebody aborted it",
    FAILED: "the last run failed for a reason that a retry can mend, or the workflow was changed since",
    NEVER: "was never made",
    CHANGED: "made of another content than the upload has now",
    STALE: "made by an older revision of the task, or of the one that it works on",
    DONE: "stands",
}
"""Of a task on one source; a source has the first of its tasks'."""
MENDED = (NEVER, FAILED, CHANGED, STALE)
"""What a backfill asks runs for unless it is told otherwise."""
PRIORITY = "-1"
"""Uploads that come meanwhile go first."""
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_AT_ONCE = 500
_DATA_VERSION = "dagster/data_version"


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
    os.environ.setdefault("DAGSTER_HOME", str(settings.dagster_home))
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield instance


def plan(instance: DagsterInstance, workflow: Workflow, bucket: Bucket, wanted: Wanted) -> pd.DataFrame:
    """One row per source to process, oldest upload first.

    Columns: key, size (bytes), modified (UTC), status, tasks (tuple of names), reason, run_key.
    """
    _check(workflow, wanted)
    history = _History(instance, workflow)
    rows = [row for info in _uploads(bucket, workflow, wanted) if (row := _row(info, workflow, history, wanted))]
    table = pd.DataFrame(rows, columns=["key", "size", "modified", "status", "tasks", "reason", "run_key"])
    table = table.sort_values(["modified", "key"])
    # Our own outputs may lie among the uploads; only the object itself tells, so no more of them are asked than needed.
    uploads = (row for row in table.itertuples() if row.status != NEVER or not _is_ours(bucket, row.key))
    chosen = [row.Index for row in itertools.islice(uploads, wanted.limit)]
    return table.loc[chosen].reset_index(drop=True)


def launch(instance: DagsterInstance, settings: Settings, workflow: Workflow, table: pd.DataFrame) -> list[str]:
    """Launch a plan as Dagster's own backfills, one for each set of tasks that some sources lack; return their ids."""
    dagster = Dagster(settings.ui_url)
    # The plan is of the files as they are now; what runs must be, too.
    dagster.reload()
    tags = {"dagster/priority": PRIORITY, WORKFLOW_TAG: workflow.name, REVISION_TAG: workflow.revision}
    ids = []
    for tasks, rows in table.groupby("tasks", sort=False):
        partitions = [partition_key(key) for key in rows["key"]]
        instance.add_dynamic_partitions(uploads_name(workflow.name), partitions)
        for assets in connected(workflow, tasks):
            title = f"{workflow.name}: {', '.join(assets)} of {len(partitions)} sources"
            ids.append(dagster.backfill([[workflow.name, name] for name in assets], partitions, title, tags))
        # The upload sensor need not ask for these, too; only now, so that none is lost if Dagster does not answer.
        Requested(instance, workflow.name).add(rows["run_key"])
    return ids


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


def _row(info: ObjectInfo, workflow: Workflow, history: _History, wanted: Wanted) -> tuple[Any, ...] | None:
    verdicts: dict[str, _Verdict] = {}
    for task in history.tasks:
        verdicts[task.name] = history.judge(info, task, verdicts.get(task.upstream))
    names = wanted.tasks or tuple(workflow.tasks)
    chosen = {
        name: verdicts[name] for name in workflow.tasks if name in names and verdicts[name].status in wanted.statuses
    }
    if not chosen:
        return None
    status = min((verdict.status for verdict in chosen.values()), key=list(STATUSES).index)
    reason = "; ".join(f"{name} {verdict.reason}" for name, verdict in chosen.items())
    key = run_key(workflow.trigger.bucket, info)
    return info.key, info.size, info.modified, status, tuple(chosen), reason, key


def _is_ours(bucket: Bucket, key: str) -> bool:
    try:
        return bool(bucket.head(key).record)
    except SourceNotAccessible:
        return True


@dataclass(frozen=True, slots=True)
class _Verdict:
    """On one task of one source."""

    status: str
    reason: str
    event: int
    """Number of the event by which what stands was made; 0 if nothing stands."""


class _History:
    """What Dagster recorded of a workflow's sources, read in bulk: what was made, and which last attempts made nothing."""

    def __init__(self, instance: DagsterInstance, workflow: Workflow) -> None:
        self._instance = instance
        self._workflow = workflow
        self.tasks = workflow.upstream_first
        self._made = {task.name: self._read_made(task.name) for task in self.tasks}
        self._attempts = {task.name: self._read_attempts(task.name) for task in self.tasks}
        self._runs = self._read_runs({run for attempts in self._attempts.values() for run in attempts.values()})
        self._record = functools.cache(lambda run_id: run_record(instance, self._runs[run_id], workflow))

    def judge(self, info: ObjectInfo, task: Task, upstream: _Verdict | None) -> _Verdict:
        """What became of the task on this upload; `upstream` is the verdict on the task that it works on."""
        partition = partition_key(info.key)
        version, event = self._made[task.name].get(partition, ("", 0))
        run = self._runs.get(self._attempts[task.name].get(partition, ""))
        if run is not None:
            return _Verdict(*self._unfinished(task, run), event)
        revision, _, etag = version.partition(".")
        if not event:
            return _Verdict(NEVER, "was never made", event)
        if upstream is None and etag != info.etag:
            return _Verdict(CHANGED, "is of an older upload", event)
        if revision != task.revision or (upstream and (upstream.status in MENDED or upstream.event > event)):
            return _Verdict(STALE, "is out of date", event)
        return _Verdict(DONE, "stands", event)

    def _unfinished(self, task: Task, run: DagsterRun) -> tuple[str, str]:
        if run.status not in _ENDED:
            return RUNNING, "is under way"
        if run.status is DagsterRunStatus.CANCELED:
            return BROKEN, "was aborted"
        failed = [step for step in self._record(run.run_id).steps if step.status == "failure"]
        mine = [step for step in failed if step.graph == f"{self._workflow.name}__{task.name}"] or failed
        codes = sorted({str(step.metadata.get("code", "InternalError")) for step in mine}) or ["InternalError"]
        # Without a word of ours the process died, which says nothing against another attempt.
        mendable = not mine or any(step.metadata.get("retryable", True) for step in mine)
        mended = run.tags.get(REVISION_TAG, self._workflow.revision) != self._workflow.revision
        return (FAILED if mendable or mended else BROKEN), f"failed ({', '.join(codes)})"

    def _read_made(self, task: str) -> dict[str, tuple[str, int]]:
        """By partition: the data version of what was made last, and the number of that event."""
        asset, kind = dg.AssetKey([self._workflow.name, task]), DagsterEventType.ASSET_MATERIALIZATION
        events = self._instance.get_latest_storage_id_by_partition(asset, kind)
        tags = self._instance.event_log_storage.get_latest_tags_by_partition(asset, kind, [_DATA_VERSION])
        return {
            partition: (tags.get(partition, {}).get(_DATA_VERSION, ""), event) for partition, event in events.items()
        }

    def _read_attempts(self, task: str) -> dict[str, str]:
        """By partition: the last run that was to make it and did not, or not yet."""
        storage, asset = self._instance.event_log_storage, dg.AssetKey([self._workflow.name, task])
        attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
        return {partition: run_id for partition, (run_id, _) in attempts.items()}

    def _read_runs(self, run_ids: set[str]) -> dict[str, DagsterRun]:
        ordered = sorted(run_ids)
        return {
            run.run_id: run
            for start in range(0, len(ordered), _AT_ONCE)
            for run in self._instance.get_runs(RunsFilter(run_ids=ordered[start : start + _AT_ONCE]))
        }
