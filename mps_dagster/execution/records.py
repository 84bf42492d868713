"""What stands in a bucket: one small record per subtask, beside the outputs it speaks of.

It is written before the first output (it says which source owns an output path) and again after the last one (so a
complete set can be told from a part). Every output is marked with its record's key.
"""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from mps_dagster.errors import MpsError, OutputTaken, SourceNotAccessible
from mps_dagster.execution.subtask import Subtask, SubtaskResult
from mps_dagster.media.info import Facts
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.model import RECORDS_DIR

PREFIX = f"{RECORDS_DIR}records/"


class Record(Facts):
    source_bucket: str
    source_key: str
    source_etag: str = ""
    result: SubtaskResult | None = None
    """Set when all of it stands."""


def record_key(primary_key: str) -> str:
    # Hashed: an output's own name may already be as long as a name can be.
    return f"{PREFIX}{hashlib.sha256(primary_key.encode()).hexdigest()[:40]}.json"


def read_record(bucket: Bucket, primary_key: str) -> Record | None:
    """The record of an output path; None if there is none, or one of another version of this program."""
    try:
        return Record.model_validate_json(bucket.read(record_key(primary_key)))
    except (SourceNotAccessible, ValidationError):
        return None


def write_record(bucket: Bucket, primary_key: str, record: Record) -> None:
    content = record.model_dump_json().encode()
    bucket.write(record_key(primary_key), content, content_type="application/json")


def standing(record: Record | None, subtask: Subtask, bucket: Bucket) -> SubtaskResult | None:
    """The earlier result, if it is of the same fingerprint and every object still is what was published."""
    if record is None or record.result is None or record.result.fingerprint != subtask.fingerprint:
        return None
    try:
        for output in record.result.outputs:
            info = bucket.head(output.key)
            if (info.size, info.etag) != (output.size_bytes, output.etag):
                return None
    except SourceNotAccessible:
        return None
    return record.result.model_copy(
        update={
            "id": subtask.id,
            "label": subtask.label,
            "task": subtask.task,
            "revision": subtask.revision,
            "reused": True,
        }
    )


def check_owner(record: Record | None, subtask: Subtask, buckets: Buckets) -> None:
    """Two sources whose names differ only in the extension share MPS's default output names; the second one is told."""
    owner = (record.source_bucket, record.source_key) if record else None
    if owner is None or owner == (subtask.source.bucket, subtask.source.key):
        return
    try:
        buckets.get(owner[0]).head(owner[1])
    except MpsError:
        return
    primary = subtask.plan.primary_key if subtask.plan else ""
    raise OutputTaken(
        f"{subtask.bucket}/{primary} already holds the output of another source, {owner[0]}/{owner[1]}",
        hint="put {inputFormat} into output_object_path or the output dir, or remove the other source",
    )
