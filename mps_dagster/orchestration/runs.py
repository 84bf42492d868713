"""Dagster's runs as `RunRecord`s, read from the instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun

from mps_dagster.control.causes import in_words
from mps_dagster.control.steps import StepEvent, cause_of, steps_of
from mps_dagster.control.task_run import RunRecord
from mps_dagster.workflow.model import UPLOAD, Workflow
from mps_dagster.workflow.naming import node_name, object_key

WORKFLOW_TAG = "mps/workflow"
BUCKET_TAG = "mps/bucket"
KEY_TAG = "mps/key"
REVISION_TAG = "mps/revision"
"""Of the workflow, as it was when the run was launched."""
PROCESS_MEDIA = "process_media"


def workflow_of(run: DagsterRun) -> str | None:
    """Which workflow a run is of, whoever launched it; None for runs that are not ours."""
    if run.tags.get(WORKFLOW_TAG):
        return run.tags[WORKFLOW_TAG]
    if run.job_name == PROCESS_MEDIA:
        return PROCESS_MEDIA
    # "Materialize" in the UI runs Dagster's own asset job; the assets say whose they are.
    selected = next(iter(run.asset_selection or ()), None)
    return selected.path[0] if selected else None


def run_record(instance: DagsterInstance, run: DagsterRun, workflow: Workflow | None) -> RunRecord:
    """Everything that is known about one run."""
    record = instance.get_run_record_by_id(run.run_id)
    bucket, key = source_of(run, workflow)
    events = list(_events(instance, run.run_id))
    return RunRecord(
        run_id=run.run_id, root_run_id=run.root_run_id or run.run_id, workflow=workflow_of(run) or "", job=run.job_name,
        status=run.status.value, created_s=record.create_timestamp.timestamp() if record else 0.0,
        started_s=record.start_time if record else None, ended_s=record.end_time if record else None,
        bucket=bucket, key=key, priority=int(run.tags.get("dagster/priority", "0")), steps=steps_of(events), cause=cause_of(events),
        session_id=run.tags.get("mps/session_id", ""), session_context=run.tags.get("mps/session_context", ""),
        url=run.tags.get("mps/url", ""),
    )  # fmt: skip


def source_of(run: DagsterRun, workflow: Workflow | None) -> tuple[str, str]:
    """Bucket and key of the source."""
    partition = run.tags.get("dagster/partition")
    if workflow is not None and partition is not None:
        return workflow.trigger.bucket, object_key(partition)
    config = source_config(run)
    return config.get("bucket") or run.tags.get(BUCKET_TAG, ""), config.get("key") or run.tags.get(KEY_TAG, "")


def source_config(run: DagsterRun, op: str = "source") -> Mapping[str, Any]:
    """What a run by hand was asked for: object, output place, sinks; nothing of any other run, whose op has another name."""
    ops: Any = run.run_config.get("ops", {})
    config: Mapping[str, Any] = ops.get(op, {}).get("config", {})
    return config


def etag_of(run: DagsterRun, workflow: Workflow) -> str:
    """The content that an upload's run was asked for; empty if it was to take what is there."""
    ops: Any = run.run_config.get("ops", {})
    etag: str = ops.get(node_name(workflow.name, UPLOAD), {}).get("config", {}).get("etag", "")
    return etag


_KINDS = {
    DagsterEventType.STEP_START, DagsterEventType.STEP_OUTPUT, DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_RESTARTED, DagsterEventType.STEP_UP_FOR_RETRY,
    DagsterEventType.ENGINE_EVENT, DagsterEventType.RUN_FAILURE,
}  # fmt: skip


def _events(instance: DagsterInstance, run_id: str) -> Iterator[StepEvent]:
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
    """Its own, and that of what caused it."""
    return [error.message, *_messages(error.cause)] if error else []


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}
