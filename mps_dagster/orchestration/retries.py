"""Runs that failed because a process, a host or a bucket died are run again: all steps, what stands is not made again.

Dagster retries by tags of the run that failed. They are written here, before its status changes: whoever sees a run that failed
also sees whether it is retried.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from mps_dagster.control import tags
from mps_dagster.control.retries import can_help, delay_s, is_due
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.runs import run_record

WAITS, QUEUED, NONE = "waits", "queued", "none"
"""Values of the tag `mps/retry`."""
GIVE_UP_S = 3600
"""How long it is tried to queue a retry. It fails while the code server is away."""


class DecidesRetries:
    """Mixin for Dagster's run storages. All reports of a failure come here: by the run itself, the runner, run monitoring …"""

    _instance: DagsterInstance

    def handle_run_event(self, run_id: str, event: dg.DagsterEvent, update_timestamp: datetime | None = None) -> None:
        if event.event_type is dg.DagsterEventType.RUN_FAILURE and self._instance.run_retries_enabled:
            self._decide(run_id, event)
        super().handle_run_event(run_id, event, update_timestamp)  # type: ignore[misc]

    def _decide(self, run_id: str, event: dg.DagsterEvent) -> None:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return
        data = event.event_specific_data
        reason = data.failure_reason if isinstance(data, internals.JobFailureData) else None
        try:
            self._instance.add_run_tags(run_id, retry_tags(self._instance, run, reason))
        except Exception:
            # The failure itself must be stored. Dagster would promise a retry that nobody queues.
            logging.getLogger(__name__).exception("it cannot be decided whether run %s is to be retried", run_id)
            self._instance.add_run_tags(run_id, {tags.MAX_RETRIES: "0"})


def retry_tags(instance: DagsterInstance, run: DagsterRun, reason: internals.RunFailureReason | None) -> dict[str, str]:
    """The tags by which a run that fails is retried, or not."""
    helps = can_help(run_record(instance, run, None), reason.value if reason else "")
    # A retry from failure can lose subtasks.
    retry = {tags.RETRY_STRATEGY: "ALL_STEPS", tags.RETRY_ON_STEP_FAILURE: str(helps).lower()}
    if not helps and reason is not internals.RunFailureReason.STEP_FAILURE:
        retry[tags.MAX_RETRIES] = "0"
    failed = run.with_status(DagsterRunStatus.FAILURE).with_tags({**run.tags, **retry})
    if not internals.auto_reexecution_should_retry_run(instance, failed, reason):
        return {**retry, tags.WILL_RETRY: "false", tags.RETRY: NONE}
    number = int(run.tags.get(tags.RETRY_NUMBER, "0"))
    return {
        **retry, tags.WILL_RETRY: "true", tags.RETRY: WAITS,
        tags.NOT_BEFORE: f"{time.time() + delay_s(number):.0f}",
        tags.FIRST_RUN: run.tags.get(tags.FIRST_RUN, run.run_id) if number else run.run_id,
    }  # fmt: skip


class Retries(internals.EventLogConsumerDaemon):
    """Queues the retries. Unlike Dagster's own, it does not give up when the code server is away, and says when it does."""

    def run_iteration(self, workspace_process_context: Any) -> Iterator[Any]:  # type: ignore[override]
        instance = workspace_process_context.instance
        waiting = RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={tags.RETRY: WAITS})
        for record in instance.get_run_records(waiting, ascending=True):
            yield
            run, ended_s = record.dagster_run, record.end_time or record.update_timestamp.timestamp()
            try:
                # Not of a backfill that has ended; retry_run returns without a word if the job is gone.
                if internals.should_retry(run, instance):
                    internals.retry_run(run, workspace_process_context)
            except Exception as error:
                self._logger.warning("run %s cannot be queued again: %s", run.run_id, error)
                if time.time() - ended_s < GIVE_UP_S:
                    continue
                instance.report_engine_event(f"The run cannot be queued again: {error}", run)
            after = instance.get_run_by_id(run.run_id)
            queued = after is not None and tags.RETRIED_BY in after.tags
            instance.add_run_tags(
                run.run_id, {tags.RETRY: QUEUED} if queued else {tags.RETRY: NONE, tags.WILL_RETRY: "false"}
            )


class Queue(internals.QueuedRunCoordinatorDaemon):
    """Dagster's queue, in which retries wait for their time."""

    def _priority_sort(self, runs: Iterable[DagsterRun]) -> list[DagsterRun]:
        now = time.time()
        return super()._priority_sort(run for run in runs if is_due(run.tags, now))
