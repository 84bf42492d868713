"""What is sent when a task run ends: run-status sensors put an event into the outbox, a delivery sensor drains it.

A run-status sensor loses its event when it raises, and knows nothing of runs that ended before its first tick. So it
does next to nothing that can fail, and the delivery sensor also looks at what ended lately and adds what is missing.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from mps_dagster.control import tags
from mps_dagster.control.run_config import source_config
from mps_dagster.control.task_run import TaskRun, task_id, task_run
from mps_dagster.errors import StorageFailed
from mps_dagster.execution.progress import forget
from mps_dagster.execution.staging import sweep as remove_scratch
from mps_dagster.mps.event import change, change_id, event, event_id, pointer
from mps_dagster.notify.config import SinkConfig, parse_sinks
from mps_dagster.notify.delivery import deliver_due
from mps_dagster.notify.outbox import Outbox
from mps_dagster.notify.sinks import open_sink
from mps_dagster.orchestration.runs import run_record, stored_run
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Workflow

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
INTERVAL_S = 3
OVERLAP = timedelta(minutes=10)
"""How far before now the next sweep begins: clocks of other hosts differ, and what could not be told gets another chance."""
FIRST_LOOK_BACK = timedelta(days=1)
"""Where the sweep begins when the cursor is new or was reset."""
AT_ONCE = 2000
"""Ended runs that one sweep looks at, at most; Dagster takes 0.1 to 0.4 s to load them. The next one goes on."""
SWEEP_S = 10.0
"""One sweep's time. An event takes some hundredths of a second, and Dagster gives up a tick after 60 s."""
KEEP_DELIVERED = timedelta(days=30)

Tell = Callable[[DagsterInstance, DagsterRun], int]
"""Puts events of a run into the outbox; how many were new."""


def notification_sensors(settings: Settings, workflows: Mapping[str, Workflow]) -> list[dg.SensorDefinition]:
    announce = functools.partial(_announce, settings, workflows)
    tell_changes = functools.partial(_tell_changes, settings, workflows)
    return [*(_status_sensor(status, announce) for status in ENDED), _delivery_sensor(settings, announce, tell_changes)]


def _status_sensor(status: DagsterRunStatus, announce: Tell) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=f"notify_{status.value.lower()}",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Puts the event of each run that ends as {status.value} into the outbox.",
    )
    def notify(context: dg.RunStatusSensorContext) -> None:
        announce(context.instance, context.dagster_run)

    return notify


def _delivery_sensor(settings: Settings, announce: Tell, tell_changes: Tell) -> dg.SensorDefinition:
    @dg.sensor(
        name="deliver_notifications",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends what waits in the outbox, each sink by itself; adds events that a status sensor lost.",
        asset_selection=dg.AssetSelection.all(),
    )
    def deliver(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        outbox = Outbox(settings.outbox_path)
        send = functools.partial(deliver_due, outbox, functools.partial(open_sink, settings=settings, shorten=pointer))
        start = datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - FIRST_LOOK_BACK
        # What waits goes first, so that nothing that the sweep runs into holds it up.
        told = [str(send())]
        sweep = _Sweep(context, outbox)
        sweep.tell_changes(tell_changes)
        next_start, ended = sweep.tell_ends(start, announce)
        _clean_up(settings, ended)
        context.update_cursor(next_start.isoformat())
        if sweep.added:
            told.append(str(send()))
        outbox.prune(time.time() - KEEP_DELIVERED.total_seconds())
        return dg.SkipReason("\n".join([f"{sweep.added} events added; {'; '.join(told)}", *sweep.problems]))

    return deliver


@dataclass(slots=True)
class _Sweep:
    """One look for what nobody has told yet. Every run that ends comes into one, however long the sensor was down."""

    context: dg.SensorEvaluationContext
    outbox: Outbox
    added: int = 0
    problems: list[str] = field(default_factory=list)
    """Of single runs: shown, while the others go on. A tick that failed could not move its cursor, and meet them for ever."""

    def tell_changes(self, tell: Tell) -> None:
        for record in self.context.instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
            self._tell(record.dagster_run, tell)

    def tell_ends(self, start: datetime, tell: Tell) -> tuple[datetime, set[str]]:
        """Of runs that ended after `start`, oldest first, until the time is up. Where the next sweep begins; which ended."""
        now, deadline = datetime.now(UTC), time.monotonic() + SWEEP_S
        records = self.context.instance.get_run_records(
            RunsFilter(statuses=list(ENDED), updated_after=start),
            limit=AT_ONCE,
            order_by="update_timestamp",
            ascending=True,
        )
        told = self.outbox.known(_event_id(record.dagster_run) for record in records)
        ended: set[str] = set()
        for record in records:
            run = record.dagster_run
            ended.add(run.run_id)
            if _event_id(run) not in told:
                self._tell(run, tell)
                if time.monotonic() > deadline:
                    break
        if len(ended) < len(records) or len(records) == AT_ONCE:
            # `updated_after` excludes the moment itself, in which another run may have ended, too.
            return records[len(ended) - 1].update_timestamp - timedelta(microseconds=1), ended
        return now - OVERLAP, ended

    def _tell(self, run: DagsterRun, tell: Tell) -> None:
        try:
            self.added += tell(self.context.instance, run)
        except StorageFailed:
            # The outbox cannot be used, which is no matter of this run: nothing is passed over.
            raise
        except Exception as error:
            self.problems.append(f"run {run.run_id} could not be told: {type(error).__name__}: {error}")
            self.context.log.exception(self.problems[-1])


def _clean_up(settings: Settings, ended: set[str]) -> None:
    remove_scratch(settings.scratch_dir, ended)
    for run_id in ended:
        forget(settings.progress_dir, run_id)


def _event_id(run: DagsterRun) -> str:
    return event_id(task_id(run.root_run_id or run.run_id), run.run_id, run.status.value)


def _announce(
    settings: Settings, workflows: Mapping[str, Workflow], instance: DagsterInstance, run: DagsterRun
) -> bool:
    """Put the run's event into the outbox; False if there is nothing to tell or it is there already."""
    workflow = workflows.get(stored_run(run).workflow)
    sinks = _sinks(run, workflow)
    # A failed run that Dagster will retry has not ended yet for anybody outside.
    if not sinks or run.tags.get(tags.WILL_RETRY) == "true":
        return False
    outbox = Outbox(settings.outbox_path)
    if outbox.known([_event_id(run)]):
        return False
    state = _state(instance, run, workflow)
    _add_changes(outbox, settings, state, sinks)
    return outbox.add(event(state, settings), sinks) > 0


def _tell_changes(
    settings: Settings, workflows: Mapping[str, Workflow], instance: DagsterInstance, run: DagsterRun
) -> int:
    """Put an event for each subtask of a running run that ended into the outbox, for the sinks that want it."""
    workflow = workflows.get(stored_run(run).workflow)
    sinks = _sinks(run, workflow)
    if not any(sink.notify_mode == "change" for sink in sinks):
        return 0
    return _add_changes(Outbox(settings.outbox_path), settings, _state(instance, run, workflow), sinks)


def _add_changes(outbox: Outbox, settings: Settings, state: TaskRun, sinks: Sequence[SinkConfig]) -> int:
    curious = [sink for sink in sinks if sink.notify_mode == "change"]
    if not curious:
        return 0
    ended = {change_id(state, item): item for item in state.subtasks if item.id and item.status != "PROCESSING"}
    told = outbox.known(ended)
    return sum(outbox.add(change(state, ended[name], settings), curious) > 0 for name in ended if name not in told)


def _state(instance: DagsterInstance, run: DagsterRun, workflow: Workflow | None) -> TaskRun:
    # Only what the run was to make: somebody may have materialized one task alone.
    selected = {key.path[-1] for key in run.asset_selection or ()}
    tasks = [task for task in workflow.tasks.values() if not selected or task.name in selected] if workflow else []
    return task_run(run_record(instance, run, workflow), tasks=tasks)


def _sinks(run: DagsterRun, workflow: Workflow | None) -> tuple[SinkConfig, ...]:
    """Whom ProcessMedia named, or else whom the workflow names; where that is gone, whom it named when the run began."""
    named = source_config(run.run_config).get("notify")
    if not named and workflow:
        return workflow.notify
    return parse_sinks(named or source_config(run.run_config, stored_run(run).workflow).get("notify", ()))
