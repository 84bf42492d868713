"""The status of a workflow's tasks on each upload, computed from Dagster's records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum

from mps_dagster.control import tags
from mps_dagster.control.run_config import source_config
from mps_dagster.control.task_run import ENDED, RunRecord, StoredRun
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.workflow.model import UPLOAD, Task, Workflow, predecessor
from mps_dagster.workflow.naming import node_name, partition_key


class Status(StrEnum):
    """The status of a task on one source. A source has the first of its tasks' statuses, in this order."""

    RUNNING = "running"
    """A run is under way, or a backfill has requested one."""
    BROKEN = "broken"
    """The last run failed for a reason that no retry can help, or was aborted."""
    FAILED = "failed"
    """The last run failed for a reason that a retry can help, or workflow or upload have changed since."""
    NEVER = "never"
    CHANGED = "changed"
    """The output was made from other content than the upload has now."""
    STALE = "stale"
    """The output was made by an older revision of the task, or of its upstream task."""
    DONE = "done"


TO_BACKFILL = (Status.NEVER, Status.FAILED, Status.CHANGED, Status.STALE)
"""The statuses that a backfill processes by default."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status of one task on one source, with its reason."""

    status: Status
    reason: str
    event: int
    """Number of the event by which the last output was recorded; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outputs and attempts of one task, by partition."""

    outputs: Mapping[str, tuple[str, int]]
    """Data version of the last output, and the number of its event."""
    attempts: Mapping[str, str]
    """The last run that was to make an output, and failed or still runs."""


@dataclass(frozen=True, slots=True)
class History:
    """Dagster's records of all uploads of one workflow."""

    workflow: Workflow
    outcomes: Mapping[str, Outcomes]
    """By task."""
    runs: Mapping[str, StoredRun]
    """Runs of the attempts, by id."""
    record: Callable[[str], RunRecord]
    """Reads a run with its events by id; called only when needed, as it takes a query."""
    backfills: tuple[str, ...] = ()
    """Backfills of the workflow that have not ended, also those of the UI; they may have no runs yet."""
    requested: AbstractSet[tuple[str, str]] = frozenset()
    """Task and partition of outputs that the backfills still have to make."""

    def judge(self, info: ObjectInfo) -> dict[str, Verdict]:
        """The verdict on each task for this upload."""
        verdicts: dict[str, Verdict] = {}
        for task in self.workflow.upstream_first:
            verdicts[task.name] = self._judge(info, task, verdicts.get(predecessor(task, self.workflow.tasks)))
        return verdicts

    def _judge(self, info: ObjectInfo, task: Task, upstream: Verdict | None) -> Verdict:
        partition, outcomes = partition_key(info.key), self.outcomes[task.name]
        verdict = _by_output(info, task, upstream, *outcomes.outputs.get(partition, ("", 0)))
        run = self.runs.get(outcomes.attempts.get(partition, ""))
        if run is not None and (run.status not in ENDED or run.awaits_retry):
            return replace(verdict, status=Status.RUNNING, reason="is under way")
        if run is not None and verdict.status is not Status.DONE:
            verdict = self._by_attempt(info, task, run, verdict)
        if verdict.status is not Status.DONE and (task.name, partition) in self.requested:
            return replace(verdict, status=Status.RUNNING, reason="is requested by a backfill")
        if upstream and upstream.status in (Status.RUNNING, Status.BROKEN) and verdict.status in TO_BACKFILL:
            reason = f"waits for {predecessor(task, self.workflow.tasks)}, which is {upstream.status}"
            return replace(verdict, status=upstream.status, reason=reason)
        return verdict

    def _by_attempt(self, info: ObjectInfo, task: Task, run: StoredRun, verdict: Verdict) -> Verdict:
        """By the last attempt, which made no output. Attempts of an earlier workflow or upload do not count."""
        current = self._is_current(run, info)
        if run.status == "SUCCESS" or (run.status == "CANCELED" and not current):
            return verdict
        if run.status == "CANCELED":
            return replace(verdict, status=Status.BROKEN, reason="was aborted")
        record = self.record(run.run_id)
        failed = [step for step in record.steps if step.status == "failure"]
        own = [step for step in failed if record.task_of(step) == task.name] or failed
        codes = sorted({str(step.metadata.get("code", "InternalError")) for step in own}) or ["InternalError"]
        # A step without our metadata died with its process; another attempt may succeed.
        retryable = not own or any(step.metadata.get("retryable", True) for step in own)
        status = Status.FAILED if retryable or not current else Status.BROKEN
        return replace(verdict, status=status, reason=f"failed ({', '.join(codes)})")

    def _is_current(self, run: StoredRun, info: ObjectInfo) -> bool:
        """Whether a run used the current workflow and upload."""
        name = self.workflow.name
        if run.tags.get(tags.REVISION, self.workflow.revision) != self.workflow.revision:
            return False
        record = self.record(run.run_id)
        fetched = (step.metadata.get("etag", "") for step in record.steps if step.op == node_name(name, UPLOAD))
        etag = source_config(run.config, name).get("etag") or next(fetched, "")
        # A backfill's run that failed before its source step has no etag.
        return bool(etag == info.etag) if etag else info.modified.timestamp() < record.created_s


def _by_output(info: ObjectInfo, task: Task, upstream: Verdict | None, version: str, event: int) -> Verdict:
    """By the last output, regardless of later attempts."""
    revision, _, etag = version.partition(".")
    if not event:
        return Verdict(Status.NEVER, "was never made", event)
    if upstream is None and etag != info.etag:
        return Verdict(Status.CHANGED, "is of an older upload", event)
    if revision != task.revision or (upstream and (upstream.status is not Status.DONE or upstream.event > event)):
        return Verdict(Status.STALE, "is out of date", event)
    return Verdict(Status.DONE, "is up to date", event)
