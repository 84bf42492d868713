"""Removes the records, manifests and previews of outputs that no longer exist, one bucket at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from mps_dagster.errors import MpsError, SourceFileError, SourceNotAccessible
from mps_dagster.execution.records import PREFIX as RECORDS
from mps_dagster.execution.records import Record
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import RECORDS_DIR

MANIFESTS = f"{RECORDS_DIR}manifests/"


@dataclass(slots=True)
class Outdated:
    """One scan of a bucket's records, in key order; a later scan goes on where it ended.

    Raises `MpsError` if this bucket fails; nothing is removed because of a failure.
    """

    bucket: Bucket
    buckets: Buckets
    before: datetime
    """Records written since then stay, as their outputs may not be published yet."""
    after: str = ""
    """The last record that was checked; empty once all are."""
    removed: int = 0
    unseen: dict[str, MpsError] = field(default_factory=dict)
    """Errors of buckets that could not be checked, so that their records stay. They must not stop the scan, as a bucket may
    be gone for good."""
    _in_use: dict[str, bool] = field(default_factory=dict)

    def remove(self, over: Callable[[], bool]) -> None:
        """Remove until all records are checked or the time is up."""
        for prefix in (MANIFESTS, RECORDS):
            for info in self.bucket.list(prefix, after=self.after):
                if over():
                    return
                if info.modified < self.before:
                    self._consider(info)
                self.after = info.key
        self.after = ""

    def _consider(self, info: ObjectInfo) -> None:
        results = self._results(info.key)
        if results is None or not all(self._is_gone(result) for result in results):
            return
        try:
            if self.bucket.head(info.key).etag != info.etag:
                # The record was rewritten meanwhile, by a run that makes the outputs again.
                return
        except SourceNotAccessible:
            return
        for result in results:
            for key in result.pictures if result.bucket == self.bucket.name else ():
                if key.startswith(RECORDS_DIR):
                    self.bucket.delete(key)
        self.bucket.delete(info.key)
        self.removed += 1

    def _results(self, key: str) -> tuple[SubtaskResult, ...] | None:
        """The outputs of a record; None if they are unknown, or if it claims a path for a source that exists."""
        try:
            content = self.bucket.read(key)
            if key.startswith(MANIFESTS):
                return TaskResult.model_validate_json(content).results
            record = Record.model_validate_json(content)
        except (SourceFileError, ValidationError):
            return None
        if (record.claim or not record.result) and self._may_exist(*record.owner):
            return None
        return (record.result,) if record.result else ()

    def _is_gone(self, result: SubtaskResult) -> bool:
        if not self._is_in_use(result.bucket):
            return False
        return not any(self._may_exist(result.bucket, key) for key in result.keys)

    def _may_exist(self, bucket: str, key: str) -> bool:
        # Cached, as a bucket that does not answer takes a minute each time.
        if bucket in self.unseen and bucket != self.bucket.name:
            return True
        try:
            self.buckets.get(bucket).head(key)
        except SourceNotAccessible:
            return False
        except MpsError as error:
            self._pass_over(bucket, error)
        return True

    def _is_in_use(self, bucket: str) -> bool:
        """False also if the bucket is empty: it may be a disk that is not mounted."""
        if bucket not in self._in_use:
            try:
                self._in_use[bucket] = next(self.buckets.get(bucket).list(), None) is not None
            except MpsError as error:
                self._pass_over(bucket, error)
                self._in_use[bucket] = False
        return self._in_use[bucket]

    def _pass_over(self, bucket: str, error: MpsError) -> None:
        if bucket == self.bucket.name and error.retryable:
            raise error
        self.unseen.setdefault(bucket, error)
