"""Notifications of runs: run-status sensors add an event to the outbox, a delivery sensor sends what it holds.

A run-status sensor loses its event when it raises, and misses runs that ended before its first tick. So the delivery
sensor also scans the runs that ended lately, and adds the events that are missing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from mps_dagster.control import tags
from mps_dagster.control.run_config import source_config
from mps_dagster.control.task_run import TaskRun, task_id, task_run
from mps_dagster.errors import MpsError, StorageFailed
from mps_dagster.execution.progress import progress_store
from mps_dagster.execution.staging import sweep as remove_scratch
from mps_dagster.mps.event import change, change_id, event, event_id, pointer
from mps_dagster.notify.config import SinkConfig, parse_sinks
from mps_dagster.notify.delivery import deliver_due
from mps_dagster.notify.outbox import Outbox
from mps_dagster.notify.sinks import open_sink
from mps_dagster.orchestration.every import Every
from mps_dagster.orchestration.rhythm import REST_S, RESTS
from mps_dagster.orchestration.runs import run_record, stored_run
from mps_dagster.orchestration.wakes import wake
from mps_dagster.pages.page import page_of
from mps_dagster.pages.site import publish_page
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import DELIVERY, notify_name

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
INTERVAL_S = 3
CHANGES_S = 5.0
"""How often the subtasks of runs that go on are looked at."""
KEEP_DELIVERED = timedelta(days=30)
LATE_EVERY_S, MOST_LATE = 60.0, 100
"""How often a page is tried again, and among how many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one scan of ended runs."""

    seconds: float = 10.0
    """An event takes some hundredths of a second, and Dagster aborts a tick after 60 s."""
    runs: int = 2000
    """Dagster takes 0.1 to 0.4 s to load so many. The next scan goes on."""
    overlap: timedelta = timedelta(minutes=10)
    """How far before now the next scan begins: clocks of other hosts differ, and an event that failed is tried again."""
    first_look_back: timedelta = timedelta(days=1)
    """Where the scan begins when the cursor is new or was reset."""


LIMITS = Limits()


@dataclass(frozen=True)
class Notifier:
    """Adds events of runs to the outbox, each once, for the sinks of the run. Its methods return how many were new."""

    settings: Settings
    workflows: Mapping[str, Workflow]

    @property
    def outbox(self) -> Outbox:
        return Outbox.of(self.settings)

    @cached_property
    def buckets(self) -> Buckets:
        return Buckets(self.settings).short_timeout

    def add_end(self, instance: DagsterInstance, run: DagsterRun) -> int:
        """Add the event of a run that ended, and those of its subtasks; then write its source's page."""
        # The failure is in the log a moment before the run has its status, and its tags; the scan adds its event.
        if run.status not in ENDED or stored_run(run).is_retried:
            return 0
        sinks, outbox = self._sinks(run), self.outbox
        is_new = bool(sinks) and not outbox.known([_event_id(run)])
        if not (is_new or self.lacks_page(run)):
            return 0
        state, added = self._state(instance, run), 0
        if is_new:
            self._add_subtasks(outbox, state, sinks)
            added = int(outbox.add(event(state, self.settings), sinks) > 0)
        if self.lacks_page(run):
            self._write_page(instance, run, state)
        return added

    def lacks_page(self, run: DagsterRun) -> bool:
        """Whether the source's page does not tell of the run yet. Not of runs of our own jobs, and deleted workflows."""
        has_source = self._workflow(run) or source_config(run.run_config)
        return self.settings.pages and tags.PAGE not in run.tags and bool(has_source)

    def _write_page(self, instance: DagsterInstance, run: DagsterRun, state: TaskRun) -> None:
        """In the bucket of the outputs; of a run that got to none, where they would have gone."""
        made = next((subtask.bucket for subtask in state.subtasks if subtask.bucket), "")
        workflow, asked = self._workflow(run), source_config(run.run_config).get("output") or {}
        name = made or asked.get("bucket") or (workflow.output.bucket if workflow else "")
        try:
            page = page_of(state, run.tags.get(tags.HOST) or self.settings.host_name)
            where = f"{name}/{publish_page(page, self.buckets.get(name))}"
        except MpsError as error:
            # It must delay no event: it is tried again between them.
            where = tags.NOT_WRITTEN
            if run.tags.get(tags.PAGE) != where:
                instance.report_engine_event(f"The page of the source cannot be written now: {error}", run)
        instance.add_run_tags(run.run_id, {tags.PAGE: where})

    def write_late_page(self, instance: DagsterInstance) -> None:
        """Try again one of the pages of the last day that could not be written."""
        late = RunsFilter(tags={tags.PAGE: tags.NOT_WRITTEN}, created_after=datetime.now(UTC) - timedelta(days=1))
        if runs := instance.get_runs(late, limit=MOST_LATE):
            # One after another: their buckets may differ, and one may be gone for good.
            run = runs[int(time.time() / LATE_EVERY_S) % len(runs)]
            self._write_page(instance, run, self._state(instance, run))

    def add_changes(self, instance: DagsterInstance, run: DagsterRun) -> int:
        """Add an event for each ended subtask of a run that goes on."""
        sinks = self._sinks(run)
        if not any(sink.notify_mode == "change" for sink in sinks):
            return 0
        return self._add_subtasks(self.outbox, self._state(instance, run), sinks)

    def _add_subtasks(self, outbox: Outbox, state: TaskRun, sinks: Sequence[SinkConfig]) -> int:
        sinks = [sink for sink in sinks if sink.notify_mode == "change"]
        if not sinks:
            return 0
        ended = {change_id(state, item): item for item in state.subtasks if item.id and item.status != "PROCESSING"}
        new = ended.keys() - outbox.known(ended)
        return sum(outbox.add(change(state, ended[name], self.settings), sinks) > 0 for name in ended if name in new)

    def _state(self, instance: DagsterInstance, run: DagsterRun) -> TaskRun:
        workflow = self._workflow(run)
        return task_run(run_record(instance, run, workflow), tasks=stored_run(run).tasks_of(workflow))

    def _sinks(self, run: DagsterRun) -> tuple[SinkConfig, ...]:
        """Those of ProcessMedia, else the workflow's; if that was removed, those it had when the run began."""
        named, workflow = source_config(run.run_config).get("notify"), self._workflow(run)
        if not named and workflow:
            return workflow.notify
        return parse_sinks(named or source_config(run.run_config, stored_run(run).workflow).get("notify", ()))

    def _workflow(self, run: DagsterRun) -> Workflow | None:
        return self.workflows.get(stored_run(run).workflow)


def notification_sensors(
    settings: Settings, workflows: Mapping[str, Workflow], limits: Limits = LIMITS
) -> list[dg.SensorDefinition]:
    notifier = Notifier(settings, workflows)
    # Runs on other hosts wake nobody here.
    rests = {} if settings.cluster else {RESTS: str(REST_S)}
    return [*(_status_sensor(status, notifier, rests) for status in ENDED), _delivery_sensor(notifier, limits, rests)]


def _status_sensor(status: DagsterRunStatus, notifier: Notifier, rests: Mapping[str, str]) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=notify_name(status.value),
        minimum_interval_seconds=INTERVAL_S,
        tags=rests,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Adds the event of each run that ends as {status.value} to the outbox.",
    )
    def notify(context: dg.RunStatusSensorContext) -> None:
        if notifier.add_end(context.instance, context.dagster_run):
            wake(notifier.settings.dagster_home, DELIVERY)

    return notify


def _delivery_sensor(notifier: Notifier, limits: Limits, rests: Mapping[str, str]) -> dg.SensorDefinition:
    settings = notifier.settings
    late_pages = Every(LATE_EVERY_S)

    @dg.sensor(
        name=DELIVERY,
        minimum_interval_seconds=INTERVAL_S,
        tags=rests,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends what waits in the outbox, each sink by itself; adds events that a status sensor lost.",
        asset_selection=dg.AssetSelection.all(),
    )
    def deliver(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        outbox = notifier.outbox
        send = partial(deliver_due, outbox, partial(open_sink, settings=settings, shorten=pointer))
        start = datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - limits.first_look_back
        # Before the scan, so that none of its problems delays what waits.
        deliveries = [str(send())]
        scan = _Scan(context, notifier, limits)
        if scan.add_changes():
            wake(settings.dagster_home, DELIVERY, in_s=CHANGES_S)
        next_start, ended = scan.add_ends(start)
        remove_scratch(settings.scratch_dir, ended)
        progress_store(settings).forget(ended)
        context.update_cursor(next_start.isoformat())
        if scan.added:
            deliveries.append(str(send()))
        if late_pages.is_due():
            notifier.write_late_page(context.instance)
        outbox.prune(time.time() - KEEP_DELIVERED.total_seconds())
        return dg.SkipReason("\n".join([f"{scan.added} events added; {'; '.join(deliveries)}", *scan.problems]))

    return deliver


@dataclass(slots=True)
class _Scan:
    """Adds the events that are missing. Every run that ends is scanned, however long the sensor was down."""

    context: dg.SensorEvaluationContext
    notifier: Notifier
    limits: Limits
    added: int = 0
    problems: list[str] = field(default_factory=list)
    """Of single runs, which do not fail the tick: its cursor would never move on."""

    def add_changes(self) -> bool:
        """For runs that go on; return whether there are any."""
        records = self.context.instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
        for record in records:
            self._add(record.dagster_run, self.notifier.add_changes)
        return bool(records)

    def add_ends(self, start: datetime) -> tuple[datetime, set[str]]:
        """For runs that ended after `start`, oldest first, within the time limit. Return the next start, and those runs."""
        now, deadline = datetime.now(UTC), time.monotonic() + self.limits.seconds
        records = self.context.instance.get_run_records(
            RunsFilter(statuses=list(ENDED), updated_after=start),
            limit=self.limits.runs,
            order_by="update_timestamp",
            ascending=True,
        )
        known = self.notifier.outbox.known(_event_id(record.dagster_run) for record in records)
        ended: set[str] = set()
        for record in records:
            run = record.dagster_run
            ended.add(run.run_id)
            if _event_id(run) not in known or self.notifier.lacks_page(run):
                self._add(run, self.notifier.add_end)
                if time.monotonic() > deadline:
                    break
        if len(ended) < len(records) or len(records) == self.limits.runs:
            # `updated_after` excludes the time itself, at which another run may have ended, too.
            return records[len(ended) - 1].update_timestamp - timedelta(microseconds=1), ended
        return now - self.limits.overlap, ended

    def _add(self, run: DagsterRun, add: Callable[[DagsterInstance, DagsterRun], int]) -> None:
        try:
            self.added += add(self.context.instance, run)
        except StorageFailed:
            # The outbox itself cannot be used: fail the tick, so that no run is skipped.
            raise
        except Exception as error:
            self.problems.append(f"no event for run {run.run_id}: {type(error).__name__}: {error}")
            self.context.log.exception(self.problems[-1])


def _event_id(run: DagsterRun) -> str:
    return event_id(task_id(run.root_run_id or run.run_id), stored_run(run).first_run_id, run.status.value)
