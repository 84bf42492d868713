"""Traces an output back to its source, and a source to all its outputs, from the records in the buckets alone."""

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
    """The record of an output, even if the output is gone; None if the object is an upload."""
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
    """Bucket, key and record of an output, then of each output upstream of it, up to the upload."""
    seen = set()
    while (bucket, key) not in seen and (record := record_of(buckets.get(bucket), key)):
        seen.add((bucket, key))
        yield bucket, key, record
        bucket, key = record.source_bucket, record.source_key


def results_of(bucket: str, upload: str, place: Bucket) -> list[TaskResult]:
    """All results of an upload in this bucket, newest first, also earlier ones of the same output."""
    infos = sorted(place.list(manifests(bucket, upload)), key=lambda info: info.modified, reverse=True)
    results = (_manifest(place, info.key) for info in infos)
    return [result for result in results if result]


def state_of(bucket: Bucket, key: str, etag: str) -> State:
    """Whether an object is unchanged, replaced or gone."""
    try:
        return "unchanged" if bucket.head(key).etag == etag else "replaced"
    except SourceNotAccessible:
        return "gone"


def _manifest(bucket: Bucket, key: str) -> TaskResult | None:
    try:
        return TaskResult.model_validate_json(bucket.read(key))
    except (SourceNotAccessible, ValidationError):
        return None
