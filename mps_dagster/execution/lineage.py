"""From an output back to its source and how it was made; from a source to all its outputs. Read from the buckets alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import ValidationError

from mps_dagster.errors import MpsError, SourceNotAccessible
from mps_dagster.execution.assemble import manifests
from mps_dagster.execution.records import Record, read_record
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets

State = Literal["unchanged", "replaced", "gone"]


class LineageLost(MpsError):
    """An output whose record is gone or unreadable."""


def record_of(bucket: Bucket, key: str) -> Record | None:
    """How an output was made, also if it is gone; None if the object is an upload."""
    try:
        address = bucket.head(key).record
    except SourceNotAccessible:
        return read_record(bucket, key)
    if not address:
        return None
    try:
        return Record.model_validate_json(bucket.read(address))
    except (SourceNotAccessible, ValidationError) as error:
        raise LineageLost(
            f"{bucket.name}/{key} is an output, but its record {address} cannot be read: {error}",
            hint="run its source again: mps backfill run",
        ) from error


def way_up(bucket: str, key: str, buckets: Buckets) -> Iterator[tuple[str, str, Record]]:
    """Bucket, key and record of an output, and of each output that it was made of, up to the upload."""
    seen = set()
    while (bucket, key) not in seen and (record := record_of(buckets.get(bucket), key)):
        seen.add((bucket, key))
        yield bucket, key, record
        bucket, key = record.source_bucket, record.source_key


def results_of(bucket: str, upload: str, place: Bucket) -> list[TaskResult]:
    """The results that were made of an upload in this bucket, newest first; an output that was made again is there each time."""
    infos = sorted(place.list(manifests(bucket, upload)), key=lambda info: info.modified, reverse=True)
    results = (_manifest(place, info.key) for info in infos)
    return [result for result in results if result]


def state_of(bucket: Bucket, key: str, etag: str) -> State:
    """Whether an object still is what it was."""
    try:
        return "unchanged" if bucket.head(key).etag == etag else "replaced"
    except SourceNotAccessible:
        return "gone"


def _manifest(bucket: Bucket, key: str) -> TaskResult | None:
    try:
        return TaskResult.model_validate_json(bucket.read(key))
    except (SourceNotAccessible, ValidationError):
        return None
