"""Daily removal of old data. Dagster itself removes ticks (dagster.yaml); scratch is removed when its run ends."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from mps_dagster.control import tags
from mps_dagster.errors import MpsError
from mps_dagster.execution.outdated import Outdated
from mps_dagster.execution.parts import remove_old_parts
from mps_dagster.execution.perform import Worker
from mps_dagster.orchestration.value_store import ASSETS, ValueStore, log_store, value_store
from mps_dagster.orchestration.values import value_name
from mps_dagster.pages.site import remove_pages
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.model import RECORDS_DIR, UPLOAD, Workflow
from mps_dagster.workflow.naming import RETENTION, op_name, uploads_name
from mps_dagster.workflow.shipping import remove_shipped

DAY_S = 24 * 3600
AT = timedelta(hours=4, minutes=17)
"""When the daily removal begins, after midnight UTC."""
ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
UNFINISHED = [status for status in DagsterRunStatus if status not in ENDED]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one day's removal; the next day continues."""

    seconds: float = 15 * 60.0
    """Each for runs, partitions and records."""
    at_once: int = 500
    """Runs or partitions between two checks of the clock; Dagster removes each in some 10 ms."""


LIMITS = Limits()


def retention_job(
    settings: Settings, workflows: tuple[Workflow, ...], *, are_all: bool = True, limits: Limits = LIMITS
) -> dg.JobDefinition:
    """`are_all` is False while a file is not valid: its workflow's values are not known, so all values stay."""

    @dg.op(
        name=op_name("remove_old"),
        description="Remove data that is older than the settings allow.",
        required_resource_keys={"worker"},
    )
    def remove_old(context: dg.OpExecutionContext) -> None:
        instance, seconds, at_once = context.instance, limits.seconds, limits.at_once
        worker: Worker = context.resources.worker
        store, before = value_store(settings, worker.buckets), time.time() - settings.keep_logs_days * DAY_S
        removals = [
            partial(trim_partitions, instance, workflow.name, settings.keep_partitions, at_once)
            for workflow in workflows
        ]
        removed = {
            "runs": _repeated([partial(remove_runs, instance, settings.keep_runs_days, at_once=at_once)], seconds),
            "partitions": _repeated(removals, seconds),
            # Dagster keeps them by run, too.
            "logs": remove_of_runs(instance, log_store(settings, worker.buckets), before),
            "step values": remove_of_runs(instance, store, before),
            "values of assets": remove_asset_values(instance, store, before, workflows) if are_all else 0,
            "projects": _remove_projects(settings, worker.buckets, before),
            "parts": remove_parts(worker, workflows, before, context.log.warning),
            "records": remove_records(worker, workflows, context.log.warning, seconds),
        }
        context.log.info(f"removed: {removed}")

    @dg.job(
        name=RETENTION, description="Daily removal by MPS_KEEP_RUNS_DAYS, _PARTITIONS, _LOGS_DAYS and _RECORDS_DAYS.",
        executor_def=dg.in_process_executor, tags={tags.PRIORITY: "-2"},
    )  # fmt: skip
    def retention() -> None:
        remove_old.alias("remove_old")()

    return retention


def _remove_projects(settings: Settings, buckets: Buckets, before: float) -> int:
    return remove_shipped(settings, buckets.get(settings.shared_bucket), before) if settings.cluster == "ray" else 0


def retention_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    hours, minutes = divmod(AT.seconds // 60, 60)
    cron = f"{minutes} {hours} * * *"
    return dg.ScheduleDefinition(job=job, cron_schedule=cron, default_status=dg.DefaultScheduleStatus.RUNNING)


def _repeated(removals: Iterable[Callable[[], int]], seconds: float) -> int:
    """Repeat each removal until it removes nothing or the time is up; return the total."""
    deadline, total = time.monotonic() + seconds, 0
    for removal in removals:
        while time.monotonic() < deadline and (removed := removal()):
            total += removed
    return total


def remove_runs(
    instance: DagsterInstance, keep_days: int, now: datetime | None = None, at_once: int = LIMITS.at_once
) -> int:
    """Delete runs that ended before that, and with them the state of their partitions in the UI; 0 keeps all.

    Outputs stay, and so do the uploads' entries in the ledger.
    """
    if not keep_days:
        return 0
    before = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    runs = instance.get_runs(RunsFilter(statuses=ENDED, updated_before=before), limit=at_once, ascending=True)
    for run in runs:
        instance.delete_run(run.run_id)
    return len(runs)


def trim_partitions(instance: DagsterInstance, workflow: str, keep: int, at_once: int = LIMITS.at_once) -> int:
    """Remove the oldest partitions, except those that wait for a run: the UI loads all partitions of an asset at once."""
    name = uploads_name(workflow)
    surplus = len(instance.get_dynamic_partitions(name)) - keep
    if surplus <= 0:
        return 0
    page = instance.get_paginated_dynamic_partitions(name, limit=min(surplus, at_once), ascending=True)
    # A run fails if its partition was removed.
    awaited = {run.tags.get(tags.PARTITION) for run in instance.get_runs(RunsFilter(statuses=UNFINISHED))}
    trimmed = [partition for partition in page.results if partition not in awaited]
    for partition in trimmed:
        instance.delete_dynamic_partition(name, partition)
    return len(trimmed)


def remove_of_runs(instance: DagsterInstance, store: ValueStore, before: float) -> int:
    """Remove what runs left there that wrote nothing since `before`, in Unix seconds; how many runs."""
    # The values of assets belong to no run; a run id has 36 characters.
    old = [group for group, written_s in store.groups() if len(group) == 36 and written_s < before]
    gone = [run for run in old if not _is_running(instance, run)]
    for run in gone:
        store.remove(run)
    return len(gone)


def remove_asset_values(
    instance: DagsterInstance, store: ValueStore, before: float, workflows: Iterable[Workflow]
) -> int:
    """Remove values of assets that are that old, and whose upload or task the UI does not show any more.

    The others stay, however old: a task that is run alone reads them.
    """
    old = {name for name, written_s in store.values(ASSETS) if written_s < before}
    for workflow in workflows if old else ():
        for partition in instance.get_dynamic_partitions(uploads_name(workflow.name)):
            old -= {value_name([workflow.name, part, partition]) for part in (UPLOAD, *workflow.tasks)}
    for name in old:
        store.remove(ASSETS, name)
    return len(old)


def remove_records(
    worker: Worker, workflows: Iterable[Workflow], warn: Callable[[str], None], seconds: float = LIMITS.seconds
) -> int:
    """Remove records, manifests, previews and pages of outputs that no longer exist, in every known bucket."""
    settings, deadline, removed = worker.settings, time.monotonic() + seconds, 0
    if not settings.keep_records_days:
        return 0
    before = datetime.now(UTC) - timedelta(days=settings.keep_records_days)
    cursors: dict[str, str] = (
        json.loads(settings.retention_path.read_text()) if settings.retention_path.exists() else {}
    )
    # Buckets that were not finished the last time come first.
    for name in sorted(_written(settings, workflows), key=lambda name: (name not in cursors, name)):
        try:
            outdated = Outdated(worker.buckets.get(name), worker.buckets, before, cursors.get(name, ""))
            try:
                outdated.remove(lambda: time.monotonic() > deadline)
            finally:
                removed += outdated.removed
                cursors = {**cursors, name: outdated.after}
                for other, why in outdated.unseen.items():
                    warn(f"records in {name} of outputs in {other} stay: {why}")
            removed += remove_pages(outdated.bucket, before)
        except MpsError as error:
            warn(f"records in {name} are left for tomorrow: {error}")
    write_whole(settings.retention_path, json.dumps({name: after for name, after in cursors.items() if after}).encode())
    return removed


def remove_parts(worker: Worker, workflows: Iterable[Workflow], before: float, warn: Callable[[str], None]) -> int:
    """Remove the files of parts that no output has taken since `before`, in Unix seconds: of runs that nobody repeated."""
    removed = 0
    for name in sorted(_written(worker.settings, workflows)):
        try:
            removed += remove_old_parts(worker.buckets.get(name), datetime.fromtimestamp(before, UTC))
        except MpsError as error:
            warn(f"parts in {name} are left for tomorrow: {error}")
    return removed


def _written(settings: Settings, workflows: Iterable[Workflow]) -> set[str]:
    """Buckets with records: the workflows', and the local ones that ProcessMedia wrote to."""
    folders = settings.buckets_dir.iterdir() if settings.buckets_dir.is_dir() else ()
    return {name for workflow in workflows for name in workflow.written_buckets} | {
        folder.name for folder in folders if (folder / RECORDS_DIR).is_dir()
    }


def _is_running(instance: DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and not run.is_finished
