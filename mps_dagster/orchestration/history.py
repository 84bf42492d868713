"""What Dagster recorded of a workflow's uploads, read in bulk: what was made, and which last attempts made nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from mps_dagster.orchestration.internals import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from mps_dagster.orchestration.runs import REVISION_TAG, etag_of, run_record
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.workflow.model import UPLOAD, Task, Workflow
from mps_dagster.workflow.naming import node_name, partition_key

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
    RUNNING: "a run is under way, or a backfill that has asked for one",
    BROKEN: "the last run failed for a reason that no retry mends, or somebody aborted it",
    FAILED: "the last run failed for a reason that a retry can mend, or the workflow or the upload was changed since",
    NEVER: "was never made",
    CHANGED: "made of another content than the upload has now",
    STALE: "made by an older revision of the task, or of the one that it works on",
    DONE: "stands",
}
"""Of a task on one source; a source has the first of its tasks'."""
MENDED = (NEVER, FAILED, CHANGED, STALE)
"""What a backfill asks runs for unless it is told otherwise."""
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_AT_ONCE = 500
_DATA_VERSION = "dagster/data_version"


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one task of one source."""

    status: str
    reason: str
    event: int
    """Number of the event by which what stands was made; 0 if nothing stands."""


class History:
    """Of all uploads of one workflow."""

    def __init__(self, instance: DagsterInstance, workflow: Workflow) -> None:
        self._instance = instance
        self._workflow = workflow
        self.tasks = workflow.upstream_first
        self.backfills = _under_way(instance, workflow.name)
        self._asked = {pair for backfill in self.backfills for pair in _not_made(backfill, workflow.name)}
        # In this order: what is made meanwhile then counts as under way or as made, and never as missing.
        self._attempts = {task.name: self._read_attempts(task.name) for task in self.tasks}
        self._runs = self._read_runs({run for attempts in self._attempts.values() for run in attempts.values()})
        self._made = {task.name: self._read_made(task.name) for task in self.tasks}
        self._record = functools.cache(lambda run_id: run_record(instance, self._runs[run_id], workflow))

    def judge(self, info: ObjectInfo) -> dict[str, Verdict]:
        """What became of each task on this upload."""
        verdicts: dict[str, Verdict] = {}
        for task in self.tasks:
            verdicts[task.name] = self._judge(info, task, verdicts.get(task.upstream))
        return verdicts

    def _judge(self, info: ObjectInfo, task: Task, upstream: Verdict | None) -> Verdict:
        partition = partition_key(info.key)
        verdict = self._standing(info, task, upstream, *self._made[task.name].get(partition, ("", 0)))
        run = self._runs.get(self._attempts[task.name].get(partition, ""))
        if run is not None and run.status not in _ENDED:
            return replace(verdict, status=RUNNING, reason="is under way")
        if run is not None and verdict.status != DONE:
            verdict = self._attempted(info, task, run, verdict)
        if verdict.status != DONE and (task.name, partition) in self._asked:
            return replace(verdict, status=RUNNING, reason="is asked for by a backfill")
        if upstream is not None and upstream.status in (RUNNING, BROKEN) and verdict.status in MENDED:
            return replace(
                verdict, status=upstream.status, reason=f"waits for {task.upstream}, which is {upstream.status}"
            )
        return verdict

    def _standing(self, info: ObjectInfo, task: Task, upstream: Verdict | None, version: str, event: int) -> Verdict:
        """By what was made last, whatever was attempted since."""
        revision, _, etag = version.partition(".")
        if not event:
            return Verdict(NEVER, "was never made", event)
        if upstream is None and etag != info.etag:
            return Verdict(CHANGED, "is of an older upload", event)
        if revision != task.revision or (upstream and (upstream.status != DONE or upstream.event > event)):
            return Verdict(STALE, "is out of date", event)
        return Verdict(DONE, "stands", event)

    def _attempted(self, info: ObjectInfo, task: Task, run: DagsterRun, standing: Verdict) -> Verdict:
        """By the last attempt, which made nothing; one of another workflow or upload than there is now keeps nothing back."""
        now = self._is_of_now(run, info)
        if run.status is DagsterRunStatus.SUCCESS or (run.status is DagsterRunStatus.CANCELED and not now):
            return standing
        if run.status is DagsterRunStatus.CANCELED:
            return replace(standing, status=BROKEN, reason="was aborted")
        failed = [step for step in self._record(run.run_id).steps if step.status == "failure"]
        mine = [step for step in failed if self._record(run.run_id).task_of(step) == task.name] or failed
        codes = sorted({str(step.metadata.get("code", "InternalError")) for step in mine}) or ["InternalError"]
        # Without a word of ours the process died, which says nothing against another attempt.
        mendable = not mine or any(step.metadata.get("retryable", True) for step in mine)
        reason = f"failed ({', '.join(codes)})"
        return replace(standing, status=FAILED if mendable or not now else BROKEN, reason=reason)

    def _is_of_now(self, run: DagsterRun, info: ObjectInfo) -> bool:
        """Whether a run was of the workflow and of the upload as they are now."""
        if run.tags.get(REVISION_TAG, self._workflow.revision) != self._workflow.revision:
            return False
        record = self._record(run.run_id)
        fetched = (
            step.metadata.get("etag", "") for step in record.steps if step.op == node_name(self._workflow.name, UPLOAD)
        )
        etag = etag_of(run, self._workflow) or next(fetched, "")
        # A backfill's run that did not get to its source says nothing.
        return etag == info.etag if etag else info.modified.timestamp() < record.created_s

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


def _under_way(instance: DagsterInstance, workflow: str) -> list[PartitionBackfill]:
    """Backfills of this workflow's assets that have not ended, also of the UI; they may have no runs yet."""
    found = instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    return [backfill for backfill in found if any(key.path[0] == workflow for key in backfill.asset_selection or ())]


def _not_made(backfill: PartitionBackfill, workflow: str) -> Iterator[tuple[str, str]]:
    """Task and partition of what it is still to make."""
    if backfill.asset_backfill_data:
        open_ones = backfill.asset_backfill_data.get_targeted_partitions_without_materialization_status()
        for asset, partition in open_ones.iterate_asset_partitions():
            if asset.path[0] == workflow:
                yield asset.path[-1], partition or ""
