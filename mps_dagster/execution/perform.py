"""Performs one subtask: stage in → claim → run → verify → publish, each in a module of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.execution.claims import WAIT_S, Claim
from mps_dagster.execution.inspect import check_passed, inspect
from mps_dagster.execution.measure import Meter, Stages
from mps_dagster.execution.parts import fitted, keep_on_host, lay_out_parts, standing_result
from mps_dagster.execution.produce import Producer
from mps_dagster.execution.progress import Report
from mps_dagster.execution.publish import Encoded, publish
from mps_dagster.execution.room import Needs, Room, full_if_rejected, named
from mps_dagster.execution.sharing import Processes
from mps_dagster.execution.staging import check_room, check_unchanged, staged, work_folder
from mps_dagster.execution.subtask import Subtask
from mps_dagster.execution.verify import verified
from mps_dagster.ffmpeg.plan import SOURCE, Plan
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source


@dataclass(frozen=True, slots=True)
class Worker:
    """Settings, buckets and ffmpeg for the subtasks of this process."""

    settings: Settings
    buckets: Buckets
    ffmpeg: Ffmpeg
    claim_wait_s: float = WAIT_S

    @classmethod
    def of(cls, settings: Settings, buckets: Buckets) -> Worker:
        return cls(settings, buckets, Ffmpeg.of(settings))

    def fetch_source(self, bucket: str, key: str, etag: str | None, run_id: str) -> Source:
        """Stage and probe an upload. Raise `SourceChanged` if it has not this `etag`; None accepts any."""
        origin = self.buckets.get(bucket)
        info = origin.head(key)
        run_dir = self.settings.scratch_dir / run_id
        check_room(run_dir, info, max_bytes=self.settings.max_source_bytes)
        path = staged(origin, key, etag or info.etag, run_dir)
        media = self.ffmpeg.probe(path)
        if media.duration_s > self.settings.max_duration_s:
            raise InvalidConfiguration(
                f"the source lasts {media.duration_s:.0f} s; at most {self.settings.max_duration_s:.0f} s are taken",
                hint="MPS_MAX_DURATION_S",
            )
        return Source(bucket=bucket, key=key, etag=etag or info.etag, size_bytes=info.size, media=media)

    def perform(self, subtask: Subtask, run_id: str, report: Report) -> SubtaskResult:
        """Make, verify and publish one subtask's outputs; up-to-date outputs are left as they are."""
        if subtask.refusal or subtask.plan is None:
            raise subtask.refusal.error() if subtask.refusal else InvalidConfiguration("the subtask has no plan")
        bucket = self.buckets.get(subtask.bucket)
        if earlier := standing_result(subtask, bucket):
            report(1.0, 0.0)
            check_passed(subtask.plan, earlier)
            return earlier
        run_dir = self.settings.scratch_dir / run_id
        with named(subtask.plan.primary_key, run_dir):
            result = self._make(subtask, subtask.plan, run_dir, report)
        report(1.0, result.speed)
        check_passed(subtask.plan, result)
        return result

    def _make(self, subtask: Subtask, plan: Plan, run_dir: Path, report: Report) -> SubtaskResult:
        origin, run_id = self.buckets.get(subtask.source.bucket), run_dir.name
        source = staged(origin, subtask.source.key, subtask.source.etag, run_dir)
        # A run of replaced content must not take the path of the new content's run.
        check_unchanged(origin, subtask.source.key, subtask.source.etag)
        claim = Claim.of(subtask, plan, run_id, self.buckets, self.claim_wait_s)
        claim.take()
        with work_folder(run_dir, f"{subtask.task}.{subtask.id}") as folder, self._room(subtask, plan, folder):
            # A name of our own, as the upload's may contain anything.
            (folder / SOURCE).symlink_to(source)
            parts = lay_out_parts(subtask, claim.bucket, run_dir, folder)
            plan = fitted(plan, parts)
            with full_if_rejected(folder):
                producer = Producer(self.settings, self.buckets, self.ffmpeg, run_id)
                processes = producer.produce(subtask, plan, folder, report)
                facts = inspect(plan, subtask.source.media, folder)
                found = {name: result.main[0].media for name, result in parts.items() if result.main[0].media}
                files = verified(plan, folder, found)
                processes = self._checked(subtask, plan, folder, processes, report)
            check_unchanged(origin, subtask.source.key, subtask.source.etag)
            encoded = Encoded(files, processes, run_id, self.ffmpeg.version, tuple(parts.values()), facts)
            result = claim.begin() or publish(subtask, plan, encoded, claim)
            if subtask.is_part:
                keep_on_host(result, plan, folder, claim.bucket, run_dir)
            return result

    def _checked(self, subtask: Subtask, plan: Plan, folder: Path, processes: Processes, report: Report) -> Processes:
        """The processes, with what was measured of the verified files."""
        wall_s = self.ffmpeg.time_limit_s(subtask.source.media)
        return Meter(self.ffmpeg, folder, wall_s, Stages.of(plan).scoring(report), processes).check(plan)

    def _room(self, subtask: Subtask, plan: Plan, folder: Path) -> AbstractContextManager[None]:
        needs = Needs.of(plan.estimated_bytes, folder, self.buckets.get(subtask.bucket))
        room = Room(self.settings.scratch_dir, self.settings.subtask_timeout_s)
        return room.reserved(plan.primary_key, needs, folder)
