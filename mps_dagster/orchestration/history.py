"""Dagster's records of a workflow's uploads, read in bulk."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, RunsFilter

from mps_dagster.control import tags
from mps_dagster.control.history import History, Outcomes
from mps_dagster.orchestration.internals import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from mps_dagster.orchestration.runs import run_record, stored_run
from mps_dagster.workflow.model import Workflow

AT_ONCE = 500


def read_history(instance: DagsterInstance, workflow: Workflow) -> History:
    backfills = _under_way(instance, workflow.name)
    requested = {pair for backfill in backfills for pair in _requested(backfill, workflow.name)}
    # In this order: an output made meanwhile counts as under way or as made, but never as missing.
    attempts = {name: _attempts(instance, workflow.name, name) for name in workflow.tasks}
    runs = _runs(instance, {run for by_partition in attempts.values() for run in by_partition.values()})
    newest = {run_id: _last_retry(instance, run) for run_id, run in runs.items()}
    attempts = {
        name: {partition: newest[run].run_id for partition, run in by_partition.items() if run in newest}
        for name, by_partition in attempts.items()
    }
    runs = {run.run_id: run for run in newest.values()}
    outputs = {name: _outputs(instance, workflow.name, name) for name in workflow.tasks}
    return History(
        workflow=workflow,
        outcomes={name: Outcomes(outputs[name], attempts[name]) for name in workflow.tasks},
        runs={run_id: stored_run(run) for run_id, run in runs.items()},
        record=functools.cache(lambda run_id: run_record(instance, runs[run_id], workflow)),
        backfills=tuple(backfill.backfill_id for backfill in backfills),
        requested=requested,
    )


def _outputs(instance: DagsterInstance, workflow: str, task: str) -> dict[str, tuple[str, int]]:
    asset, kind = dg.AssetKey([workflow, task]), DagsterEventType.ASSET_MATERIALIZATION
    events = instance.get_latest_storage_id_by_partition(asset, kind)
    versions = instance.event_log_storage.get_latest_tags_by_partition(asset, kind, [tags.DATA_VERSION])
    return {
        partition: (versions.get(partition, {}).get(tags.DATA_VERSION, ""), event)
        for partition, event in events.items()
    }


def _attempts(instance: DagsterInstance, workflow: str, task: str) -> dict[str, str]:
    storage, asset = instance.event_log_storage, dg.AssetKey([workflow, task])
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
    return {partition: run_id for partition, (run_id, _) in attempts.items()}


def _runs(instance: DagsterInstance, run_ids: set[str]) -> dict[str, DagsterRun]:
    ordered = sorted(run_ids)
    return {
        run.run_id: run
        for start in range(0, len(ordered), AT_ONCE)
        for run in instance.get_runs(RunsFilter(run_ids=ordered[start : start + AT_ONCE]))
    }


def _last_retry(instance: DagsterInstance, run: DagsterRun) -> DagsterRun:
    """A retry that waits in the queue, or was aborted there, has no attempts of its own."""
    while (run_id := run.tags.get(tags.RETRIED_BY)) and (retry := instance.get_run_by_id(run_id)):
        run = retry
    return run


def _under_way(instance: DagsterInstance, workflow: str) -> list[PartitionBackfill]:
    backfills = instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    return [
        backfill for backfill in backfills if any(key.path[0] == workflow for key in backfill.asset_selection or ())
    ]


def _requested(backfill: PartitionBackfill, workflow: str) -> Iterator[tuple[str, str]]:
    if backfill.asset_backfill_data:
        remaining = backfill.asset_backfill_data.get_targeted_partitions_without_materialization_status()
        for asset, partition in remaining.iterate_asset_partitions():
            if asset.path[0] == workflow:
                yield asset.path[-1], partition or ""
