"""Assembly: collect the subtasks' results into the task's result and write its manifest beside the outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mps_dagster.errors import MpsError
from mps_dagster.execution.parts import remove_parts
from mps_dagster.execution.subtask import Members, TaskResult
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import RECORDS_DIR


class MemberMissing(MpsError):
    """A subtask's result did not arrive. Dagster can lose mapped steps when a run is retried from failure."""

    retryable = False


def manifests(bucket: str, upload: str) -> str:
    """The prefix of all manifests of an upload, the same in every bucket."""
    return f"{RECORDS_DIR}manifests/{upload_digest(bucket, upload)}/"


def upload_digest(bucket: str, upload: str) -> str:
    """Stands for an upload in keys: its own name may already be as long as a key can be."""
    return hashlib.sha256("\n".join((bucket, upload)).encode()).hexdigest()[:40]


def manifest_key(bucket: str, upload: str, workflow: str, run_id: str, task: str) -> str:
    """The key of a task's manifest, in the bucket of its first output; the run is the root run."""
    return f"{manifests(bucket, upload)}{workflow}.{run_id}/{task}.json"


def assemble(members: Members, run_id: str, results: Sequence[SubtaskResult], buckets: Buckets) -> TaskResult:
    """The task's result, with subtasks in the planned order. Raise if one of them is missing.

    The files of parts are removed: they have gone into the outputs.
    """
    task, source = members.task, members.source
    by_id = {result.id: result for result in results}
    missing = [member for member in members.ids if member not in by_id]
    if missing:
        raise MemberMissing(
            f"task {task.name}: no result came from {', '.join(missing)}, though nothing failed",
            hint="re-execute the run with all steps; outputs that are up to date are not encoded again",
        )
    key = manifest_key(source.upload_bucket or source.bucket, source.upload, members.workflow, run_id, task.name)
    result = TaskResult(
        workflow=members.workflow, task=task.name, type=task.type, run_id=run_id, source=source,
        results=tuple(by_id[member] for member in members.ids if member not in members.parts), manifest_key=key,
    )  # fmt: skip
    content = result.model_dump_json(indent=2).encode()
    buckets.get(result.results[0].bucket).write(key, content, content_type="application/json")
    remove_parts([by_id[member] for member in members.parts], buckets)
    return result
