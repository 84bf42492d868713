"""A path is claimed before the encode, and the claim is checked again before and while outputs are published.

The claim is in the path's record, which is only changed by compare-and-swap: of two sources at once one gets it, and the
other fails. It stays: the path belongs to its source until that source is deleted. Runs on one source share it and publish
one after another, each its whole set; a run that died is not waited for long.
"""

from __future__ import annotations

import posixpath
import time
from dataclasses import dataclass

from mps_dagster.errors import OutputTaken, SourceNotAccessible, StorageFailed
from mps_dagster.execution.records import (
    Claimant,
    Record,
    parse_record,
    read_content,
    read_record,
    record_key,
    up_to_date,
)
from mps_dagster.execution.subtask import Subtask
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.streaming.segments import header_key
from mps_dagster.tasks.result import SubtaskResult

ATTEMPTS = 20
"""S3 also answers "conflict" when another write is merely in progress."""
WAIT_S, POLL_S = 60.0, 0.5
"""How long to wait for a run that is publishing; after that it counts as killed and loses the path."""
OTHER_SOURCE = "put {inputFormat} into output_object_path or the output dir, or remove the other source"
OTHER_OUTPUT = "set other paths on one of them"
OTHER_RUN = "the other run's outputs are there; run this one again to replace them"


def claimed_paths(subtask: Subtask, plan: Plan) -> list[str]:
    """The path of the primary output, then those of the other outputs, one per series."""
    series = subtask.paths.get("output_object_path", "").lstrip("/")
    stills = [series + posixpath.splitext(plan.primary_key)[1]] if "{number}" in series else []
    segments = [plan.segments.key_pattern] if plan.segments else []
    if plan.segments and plan.segments.header:
        segments.append(header_key(plan.primary_key))
    for track in plan.packaging.tracks if plan.packaging else ():
        segments += [track.playlist_key, track.segments.key_pattern]
    others = [output.key for output in plan.outputs[1:]] if plan.packaging else []
    return list(dict.fromkeys([plan.primary_key, *others, *stills, *segments, *(text.key for text in plan.texts)]))


@dataclass(frozen=True)
class Claim:
    """The claim of one subtask on its paths."""

    subtask: Subtask
    paths: list[str]
    """The primary output's first."""
    mine: Claimant
    bucket: Bucket
    buckets: Buckets
    wait_s: float

    @classmethod
    def of(cls, subtask: Subtask, plan: Plan, run_id: str, buckets: Buckets, wait_s: float = WAIT_S) -> Claim:
        source, paths = subtask.source, claimed_paths(subtask, plan)
        mine = Claimant(
            bucket=source.bucket, key=source.key, run_id=run_id, subtask=f"{subtask.task}.{subtask.id}",
            path=paths[0],
        )  # fmt: skip
        return cls(subtask, paths, mine, buckets.get(subtask.bucket), buckets, wait_s)

    def take(self) -> None:
        """Claim the paths before the work. Raise `OutputTaken` if one belongs to another existing source or another output."""
        for path in self.paths:
            self._take(path)

    def _take(self, path: str) -> None:
        for _ in range(ATTEMPTS):
            content = read_content(self.bucket, path)
            record = parse_record(content)
            if record:
                self._check_may_take(path, record)
                if record.owner == self.mine.source and self._is_published_by_another_run(record):
                    # The other run may end first; `begin` waits for it.
                    return
            claimed = (record or self._record()).model_copy(update={"claim": self.mine})
            if self.bucket.swap(record_key(path), content, claimed.model_dump_json().encode()):
                return
        raise self._busy(path)

    def begin(self) -> SubtaskResult | None:
        """Begin to publish; return the result of another run if it has published the same outputs meanwhile."""
        path, deadline = self.paths[0], time.monotonic() + self.wait_s
        while True:
            content = read_content(self.bucket, path)
            record = parse_record(content)
            if earlier := up_to_date(record, self.subtask, self.bucket):
                return earlier
            if record and record.owner != self.mine.source:
                raise self._lost(path, record)
            if record and self._is_published_by_another_run(record) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            elif self._swap(path, content, claim=self.mine.model_copy(update={"publishing": True})):
                self.check()
                return None

    def check(self) -> None:
        """Raise `OutputTaken` if another run has begun to publish meanwhile."""
        for path in self.paths:
            record = read_record(self.bucket, path)
            claim = record.claim if record else None
            ours = claim is not None and (claim.source, claim.path) == (self.mine.source, self.mine.path)
            if not ours or (path == self.mine.path and not self._is_publishing(record)):
                raise self._lost(path, record)

    def end(self, result: SubtaskResult) -> None:
        """Record that the set of outputs is complete."""
        path = self.paths[0]
        for _ in range(ATTEMPTS):
            content = read_content(self.bucket, path)
            record = parse_record(content)
            if not self._is_publishing(record):
                raise self._lost(path, record)
            if self._swap(path, content, result=result):
                return
        raise self._busy(path)

    def _record(self) -> Record:
        source = self.subtask.source
        return Record(source_bucket=source.bucket, source_key=source.key, source_etag=source.etag)

    def _is_publishing(self, record: Record | None) -> bool:
        claim = record.claim if record else None
        return claim is not None and claim.publishing and claim.is_same_subtask(self.mine)

    def _check_may_take(self, path: str, record: Record) -> None:
        if record.owner != self.mine.source:
            if self._exists(*record.owner):
                owner = "/".join(record.owner)
                raise OutputTaken(
                    f"{self.bucket.name}/{path} is the path of another source's output, {owner}", hint=OTHER_SOURCE
                )
            return
        claim = record.claim
        if claim and claim.path != self.mine.path and self._exists(self.bucket.name, claim.path):
            raise OutputTaken(f"{self.bucket.name}/{path} belongs to the output {claim.path}", hint=OTHER_OUTPUT)
        run_id, subtask = _maker(record)
        if run_id == self.mine.run_id and subtask != self.mine.subtask:
            raise OutputTaken(
                f"{self.bucket.name}/{path} is already an output of {subtask} in this run", hint=OTHER_OUTPUT
            )

    def _exists(self, bucket: str, key: str) -> bool:
        try:
            self.buckets.get(bucket).head(key)
        except SourceNotAccessible:
            return False
        return True

    def _is_published_by_another_run(self, record: Record) -> bool:
        """True also for a run that was killed while it published."""
        claim = record.claim
        return claim is not None and claim.publishing and not claim.is_same_subtask(self.mine)

    def _swap(self, path: str, content: bytes | None, **members: object) -> bool:
        record = self._record().model_copy(update=members)
        return self.bucket.swap(record_key(path), content, record.model_dump_json().encode())

    def _busy(self, path: str) -> StorageFailed:
        return StorageFailed(f"cannot claim {self.bucket.name}/{path}: other runs change its record all the time")

    def _lost(self, path: str, record: Record | None) -> OutputTaken:
        by = "another writer"
        if record:
            by = f"run {_maker(record)[0]} on {'/'.join(record.owner)}"
        return OutputTaken(f"{self.bucket.name}/{path} was taken by {by} meanwhile", hint=OTHER_RUN)


def _maker(record: Record) -> tuple[str, str]:
    """Run and subtask that took the path last."""
    if record.claim:
        return record.claim.run_id, record.claim.subtask
    return (record.result.run_id, f"{record.result.task}.{record.result.id}") if record.result else ("", "")
