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

from mps_dagster.errors import StorageFailed
from mps_dagster.execution.progress import forget
from mps_dagster.execution.staging import sweep as remove_scratch
from mps_dagster.execution.task_run import TaskRun, task_id, task_run
from mps_dagster.notify.delivery import deliver_due
from mps_dagster.notify.event import change, event, event_id
from mps_dagster.notify.outbox import Outbox
from mps_dagster.notify.sinks import open_sink
from mps_dagster.orchestration.runs import run_record, source_config, workflow_of
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.notification import SinkConfig, parse_sinks

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
INTERVAL_S = 3
SWEEP_BACK = timedelta(hours=1)
"""How far before the last look the sweep looks again: longer than any sensor is down without anybody noticing."""
KEEP_DELIVERED = timedelta(days=30)


def notification_sensors(settings: Settings, workflows: Mapping[str, Workflow]) -> list[dg.SensorDefinition]:
    announce = functools.partial(_announce, settings, workflows)
    tell_changes = functools.partial(_tell_changes, settings, workflows)
    return [*(_status_sensor(status, announce) for status in ENDED), _delivery_sensor(settings, announce, tell_changes)]


def _status_sensor(status: DagsterRunStatus, announce: functools.partial[bool]) -> dg.SensorDefinition:
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


def _delivery_sensor(
    settings: Settings, announce: functools.partial[bool], tell_changes: functools.partial[int]
) -> dg.SensorDefinition:
    @dg.sensor(
        name="deliver_notifications",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends what waits in the outbox, each sink by itself; adds events that a status sensor lost.",
        asset_selection=dg.AssetSelection.all(),
    )
    def deliver(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        outbox = Outbox(settings.outbox_path)
        send = functools.partial(deliver_due, outbox, functools.partial(open_sink, settings=settings))
        now = datetime.now(UTC)
        since = datetime.fromisoformat(context.cursor) if context.cursor else now
        # What waits goes first, so that nothing that the sweep runs into holds it up.
        told = [str(send())]
        sweep = _Sweep(context)
        _sweep(sweep, settings, since - SWEEP_BACK, announce, tell_changes)
        context.update_cursor(now.isoformat())
        if sweep.added:
            told.append(str(send()))
        outbox.prune(time.time() - KEEP_DELIVERED.total_seconds())
        return dg.SkipReason("\n".join([f"{sweep.added} events added; {'; '.join(told)}", *sweep.problems]))

    return deliver


@dataclass(slots=True)
class _Sweep:
    """One look for what nobody has told yet."""

    context: dg.SensorEvaluationContext
    added: int = 0
    problems: list[str] = field(default_factory=list)
    """Of single runs: shown, while the others go on. A tick that failed could not move its cursor, and meet them for ever."""

    def tell(self, run: DagsterRun, announce: Callable[[DagsterInstance, DagsterRun], int]) -> None:
        try:
            self.added += announce(self.context.instance, run)
        except StorageFailed:
            # The outbox cannot be used, which is no matter of this run: nothing is passed over.
            raise
        except Exception as error:
            self.problems.append(f"run {run.run_id} could not be told: {type(error).__name__}: {error}")
            self.context.log.exception(self.problems[-1])


def _sweep(
    look: _Sweep,
    settings: Settings,
    since: datetime,
    announce: functools.partial[bool],
    tell_changes: functools.partial[int],
) -> None:
    instance = look.context.instance
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        look.tell(record.dagster_run, tell_changes)
    records = instance.get_run_records(RunsFilter(statuses=list(ENDED), updated_after=since))
    for record in records:
        look.tell(record.dagster_run, announce)
    ended = {record.dagster_run.run_id for record in records}
    remove_scratch(settings.scratch_dir, ended)
    for run_id in ended:
        forget(settings.progress_dir, run_id)


def _announce(
    settings: Settings, workflows: Mapping[str, Workflow], instance: DagsterInstance, run: DagsterRun
) -> bool:
    """Put the run's event into the outbox; False if there is nothing to tell or it is there already."""
    name = workflow_of(run)
    workflow = workflows.get(name or "")
    sinks = _sinks(run, workflow)
    # A failed run that Dagster will retry has not ended yet for anybody outside.
    if not sinks or run.tags.get("dagster/will_retry") == "true":
        return False
    outbox = Outbox(settings.outbox_path)
    if outbox.has(event_id(task_id(run.root_run_id or run.run_id), run.run_id, run.status.value)):
        return False
    state = _state(instance, run, workflow)
    _add_changes(outbox, state, sinks)
    return outbox.add(event(state), sinks) > 0


def _tell_changes(
    settings: Settings, workflows: Mapping[str, Workflow], instance: DagsterInstance, run: DagsterRun
) -> int:
    """Put an event for each subtask of a running run that ended into the outbox, for the sinks that want it."""
    workflow = workflows.get(workflow_of(run) or "")
    sinks = _sinks(run, workflow)
    if not any(sink.notify_mode == "change" for sink in sinks):
        return 0
    return _add_changes(Outbox(settings.outbox_path), _state(instance, run, workflow), sinks)


def _add_changes(outbox: Outbox, state: TaskRun, sinks: Sequence[SinkConfig]) -> int:
    curious = [sink for sink in sinks if sink.notify_mode == "change"]
    ended = [subtask for subtask in state.subtasks if subtask.id and subtask.status != "PROCESSING"] if curious else []
    return sum(outbox.add(change(state, subtask), curious) > 0 for subtask in ended)


def _state(instance: DagsterInstance, run: DagsterRun, workflow: Workflow | None) -> TaskRun:
    # Only what the run was to make: somebody may have materialized one task alone.
    selected = {key.path[-1] for key in run.asset_selection or ()}
    tasks = [task for task in workflow.tasks.values() if not selected or task.name in selected] if workflow else []
    return task_run(run_record(instance, run, workflow), tasks=tasks)


def _sinks(run: DagsterRun, workflow: Workflow | None) -> tuple[SinkConfig, ...]:
    """Whom ProcessMedia named, or else whom the workflow names; where that is gone, whom it named when the run began."""
    named = source_config(run).get("notify")
    if not named and workflow:
        return workflow.notify
    return parse_sinks(named or source_config(run, f"{workflow_of(run)}__source").get("notify", ()))
