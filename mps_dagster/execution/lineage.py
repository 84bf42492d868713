"""From an output back to its source and how it was made; from a source to all its outputs. Read from the buckets alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import ValidationError

from mps_dagster.errors import MpsError, SourceNotAccessible
from mps_dagster.execution.assemble import manifest_key
from mps_dagster.execution.records import Record
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets

State = Literal["stands", "replaced", "gone"]


class LineageLost(MpsError):
    """An output whose record is gone or unreadable."""


def record_of(bucket: Bucket, key: str) -> Record | None:
    """How an output was made; None if the object is an upload, or gone."""
    try:
        address = bucket.head(key).record
    except SourceNotAccessible:
        return None
    if not address:
        return None
    try:
        return Record.model_validate_json(bucket.read(address))
    except (SourceNotAccessible, ValidationError) as error:
        raise LineageLost(
            f"{bucket.name}/{key} is an output, but its record {address} cannot be read: {error}",
            hint="run its source again: mps backfill run",
        ) from error


def results_of(
    upload: str, tasks: Iterable[tuple[str, str]], places: Iterable[str], buckets: Buckets
) -> Iterator[TaskResult]:
    """What was made of an upload by these (workflow, task), wherever in these buckets it lies."""
    places = list(places)
    for workflow, task in tasks:
        for place in places:
            result = _manifest(buckets.get(place), manifest_key(workflow, upload, task))
            if result:
                yield result


def state_of(bucket: Bucket, key: str, etag: str) -> State:
    """Whether an object still is what it was."""
    try:
        return "stands" if bucket.head(key).etag == etag else "replaced"
    except SourceNotAccessible:
        return "gone"


def _manifest(bucket: Bucket, key: str) -> TaskResult | None:
    try:
        return TaskResult.model_validate_json(bucket.read(key))
    except (SourceNotAccessible, ValidationError):
        return None
