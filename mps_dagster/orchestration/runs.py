"""Dagster's runs as `StoredRun`s and `RunRecord`s, read from the instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun

from mps_dagster.control.causes import in_words
from mps_dagster.control.steps import KINDS, StepEvent
from mps_dagster.control.task_run import RunRecord, StoredRun
from mps_dagster.workflow.model import Workflow


def stored_run(run: DagsterRun, record: dg.RunRecord | None = None) -> StoredRun:
    """The times come from the record."""
    return StoredRun(
        run_id=run.run_id, root_run_id=run.root_run_id or run.run_id, job=run.job_name, status=run.status.value,
        created_s=record.create_timestamp.timestamp() if record else 0.0,
        started_s=record.start_time if record else None, ended_s=record.end_time if record else None,
        tags=run.tags, assets=tuple(tuple(key.path) for key in run.asset_selection or ()), config=run.run_config,
    )  # fmt: skip


def run_record(instance: DagsterInstance, run: DagsterRun, workflow: Workflow | None) -> RunRecord:
    """The run with all events that matter to us."""
    stored = stored_run(run, instance.get_run_record_by_id(run.run_id))
    return stored.record(step_events(instance, run.run_id), workflow)


_KINDS = {DagsterEventType[kind] for kind in KINDS}


def step_events(instance: DagsterInstance, run_id: str) -> Iterator[StepEvent]:
    """What Dagster logged about the run and its steps, in order."""
    for entry in instance.all_logs(run_id, of_type=_KINDS):
        event = entry.dagster_event
        if event is None:
            continue
        metadata, error = {}, ""
        if event.event_type is DagsterEventType.STEP_OUTPUT:
            metadata = _plain(event.step_output_data.metadata)
        elif event.event_type is DagsterEventType.STEP_FAILURE:
            failure = event.step_failure_data
            metadata = _plain(failure.user_failure_data.metadata) if failure.user_failure_data else {}
            error = in_words(_messages(failure.error))
        elif event.event_type in (DagsterEventType.ENGINE_EVENT, DagsterEventType.RUN_FAILURE):
            error = event.message or ""
        yield StepEvent(event.step_key or "", event.event_type_value, entry.timestamp, metadata, error)


def _messages(error: Any) -> list[str]:
    """The messages of the error and of its causes."""
    return [error.message, *_messages(error.cause)] if error else []


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}
