"""Records of outputs: one small file per subtask, in the bucket of its outputs.

It is written before any work (it says which source owns the path: claims.py), before the first output and after the last
one, so that a complete set differs from a partial one. Every output is marked with its record's key.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

from pydantic import ValidationError

from mps_dagster.errors import SourceNotAccessible
from mps_dagster.execution.segments import segments_unchanged
from mps_dagster.execution.subtask import Subtask
from mps_dagster.frozen import Facts
from mps_dagster.storage.bucket import Bucket
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import RECORDS_DIR

PREFIX = f"{RECORDS_DIR}records/"


class Claimant(Facts):
    """The last user of an output path: one subtask of one run on one source."""

    bucket: str
    key: str
    """Of the source."""
    run_id: str
    subtask: str
    """`web.0_100030`"""
    path: str
    """The primary output's."""
    publishing: bool = False
    """Whether outputs are being published now, so that the set is not complete."""

    @property
    def source(self) -> tuple[str, str]:
        return self.bucket, self.key

    def is_same_subtask(self, other: Claimant) -> bool:
        return (self.source, self.run_id, self.subtask) == (other.source, other.run_id, other.subtask)


class Record(Facts):
    source_bucket: str
    source_key: str
    source_etag: str = ""
    result: SubtaskResult | None = None
    """Set when the whole set is published."""
    claim: Claimant | None = None
    """The next user, which has not published yet; the other fields describe the existing outputs."""

    @property
    def owner(self) -> tuple[str, str]:
        """The source that owns the path."""
        return self.claim.source if self.claim else (self.source_bucket, self.source_key)


def record_key(primary_key: str) -> str:
    # Hashed, as an output's own name may already be as long as a name can be.
    return f"{PREFIX}{hashlib.sha256(primary_key.encode()).hexdigest()[:40]}.json"


def read_content(bucket: Bucket, path: str) -> bytes | None:
    """The stored bytes of an output path's record, for `Bucket.swap`; None if there is none."""
    try:
        return bucket.read(record_key(path))
    except SourceNotAccessible:
        return None


def parse_record(content: bytes | None) -> Record | None:
    """Parse a record; of another version's record only the owner of the path. None if not even that is possible."""
    if content is None:
        return None
    with suppress(ValidationError):
        return Record.model_validate_json(content)
    with suppress(ValueError, TypeError, AttributeError):
        known = {name: value for name, value in json.loads(content).items() if name.startswith("source_")}
        return Record.model_validate(known)
    return None


def read_record(bucket: Bucket, path: str) -> Record | None:
    return parse_record(read_content(bucket, path))


def up_to_date(record: Record | None, subtask: Subtask, bucket: Bucket) -> SubtaskResult | None:
    """The earlier result as this subtask's, if it has the same fingerprint and all its objects are unchanged."""
    result = standing(record, subtask.fingerprint, bucket)
    return reused(result, subtask) if result else None


def reused(result: SubtaskResult, subtask: Subtask) -> SubtaskResult:
    """An earlier result as this subtask's."""
    mine = {
        "id": subtask.id,
        "label": subtask.label,
        "task": subtask.task,
        "revision": subtask.revision,
        "reused": True,
    }
    return result.model_copy(update=mine)


def standing(record: Record | None, fingerprint: str, bucket: Bucket) -> SubtaskResult | None:
    """The result of a record, if it has this fingerprint and all its objects are unchanged."""
    if record is None or record.result is None or record.result.fingerprint != fingerprint:
        return None
    try:
        for output in record.result.outputs:
            info = bucket.head(output.key)
            if (info.size, info.etag) != (output.size_bytes, output.etag):
                return None
        if not all(segments_unchanged(segments, bucket) for segments in record.result.segment_sets):
            return None
    except SourceNotAccessible:
        return None
    return record.result
