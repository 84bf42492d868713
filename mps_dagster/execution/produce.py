"""Makes the files of a subtask with ffmpeg: alone, or together with other subtasks that read the same source alike."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mps_dagster.errors import MpsError
from mps_dagster.execution.attachments import lay_out
from mps_dagster.execution.claims import Claim
from mps_dagster.execution.inspect import message_log
from mps_dagster.execution.joining import write_list
from mps_dagster.execution.measure import Meter, Stages
from mps_dagster.execution.packaging import packaged
from mps_dagster.execution.parts import standing_result
from mps_dagster.execution.progress import Report, progress_store, reporter
from mps_dagster.execution.room import Needs, Room
from mps_dagster.execution.sharing import Group, Member, Processes, member_name
from mps_dagster.execution.subtask import Subtask
from mps_dagster.ffmpeg.plan import SOURCE, Plan
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.ffmpeg.progress import Progress
from mps_dagster.ffmpeg.sharing import MAX_MEMBERS, processes
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Producer:
    """Makes files for the subtasks of one run."""

    settings: Settings
    buckets: Buckets
    ffmpeg: Ffmpeg
    run_id: str

    def produce(self, subtask: Subtask, plan: Plan, folder: Path, report: Report) -> Processes:
        """Make all files of the plan in its work folder, in which the source is."""
        group = Group.of(self.settings.scratch_dir / self.run_id, subtask) if self.settings.share_decoding else None
        if group and group.has_several():
            name, source = member_name(subtask), (folder / SOURCE).resolve()
            made = group.take(name, folder, lambda: self._make_together(group, name, source, report))
            if made:
                return made
        self._lay_out(plan, folder)
        if plan.chunks:
            write_list(plan.chunks, folder)
        stages = Stages.of(plan)
        wall_s = self.ffmpeg.time_limit_s(subtask.source.media)
        meter = Meter(self.ffmpeg, folder, wall_s, stages.measuring(report))
        filled = meter.prepare(plan)
        ran = self._run({"": filled}, subtask, folder, stages.encoding(report))[""]
        if plan.packaging and (packager := packaged(plan.packaging, folder, self.ffmpeg)):
            ran = ran.plus(*packager, program="packager")
        return meter.processes.then(ran)

    def _make_together(self, group: Group, name: str, source: Path, report: Report) -> None:
        """Make the files of this member and of those that lack theirs. All of them are settled afterwards."""
        unsettled = {other: member for other, member in group.members().items() if not group.is_settled(other)}
        if name not in unsettled:
            return
        own = unsettled.pop(name)
        chosen = {name: own, **dict(list(unsettled.items())[: MAX_MEMBERS - 1])}
        group.work.mkdir(exist_ok=True)
        _link(group.work / SOURCE, source)
        ready = {other: member for other, member in chosen.items() if self._is_ready(member, group.work / other)}
        made: Mapping[str, Processes] = {}
        with group.attempt() as allowed:
            try:
                if allowed and len(ready) > 1:
                    made = self._run_together(group, own, ready, report)
                for other in chosen:
                    group.settle(other, made.get(other))
            except (MpsError, OSError) as error:
                # One of them may be at fault, or all together need too much: each is made alone, and tells its own error.
                log.warning("%s could not be made together, so each is made alone: %s", ", ".join(ready), error)
                made = {}
                self._free(group, chosen)
                for other in chosen:
                    group.settle(other, None)
            finally:
                if not made:
                    self._free(group, chosen)

    def _run_together(
        self, group: Group, own: Member, members: Mapping[str, Member], report: Report
    ) -> Mapping[str, Processes]:
        others = [member for member in members.values() if member.step != own.step]
        store = progress_store(self.settings)
        reports = [_encoding(own, report)]
        reports += [_encoding(member, reporter(store.keep(self.run_id, member.step))) for member in others]

        def report_all(fraction: float, speed: float) -> None:
            for each in reports:
                each(fraction, speed)

        plans = {name: member.subtask.plan for name, member in members.items() if member.subtask.plan}
        with self._room(others, group.work):
            return self._run(plans, own.subtask, group.work, report_all)

    def _room(self, members: Sequence[Member], folder: Path) -> AbstractContextManager[None]:
        """Room for the other members' files, besides this one's. Not waited for: each finds it when it is made alone."""
        estimate = sum(member.subtask.plan.estimated_bytes for member in members if member.subtask.plan)
        needs = Needs.of(estimate, folder, self.buckets.get(members[0].subtask.bucket))
        return Room(self.settings.scratch_dir, wait_s=0).reserved("what is made together", needs, folder)

    def _is_ready(self, member: Member, folder: Path) -> bool:
        """Whether the member is to be made, and its files can be laid out. If not, its own step finds out the same."""
        subtask, plan = member.subtask, member.subtask.plan
        if plan is None:
            return False
        try:
            if standing_result(subtask, self.buckets.get(subtask.bucket)):
                return False
            # A path is claimed before work is put into it; that its own step claims it again changes nothing.
            Claim.of(subtask, plan, self.run_id, self.buckets).take()
            # What a process left that died here.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self._lay_out(plan, folder)
        except (MpsError, OSError) as error:
            log.warning("%s is made alone: %s", member_name(subtask), error)
            return False
        return True

    def _lay_out(self, plan: Plan, folder: Path) -> None:
        lay_out(plan.attachments, folder, self.buckets, self.settings.templates_dir)

    def _free(self, group: Group, members: Mapping[str, Member]) -> None:
        for name in members:
            shutil.rmtree(group.work / name, ignore_errors=True)

    def _run(self, plans: Mapping[str, Plan], subtask: Subtask, folder: Path, report: Report) -> dict[str, Processes]:
        """Run the processes for some plans, each of which has a folder in the working directory, or is alone in it ("")."""
        results = {name: Processes() for name in plans}
        media_s = max(plan.duration_s for plan in plans.values())
        planned = processes(plans, subtask.source.media.video)
        wall_s = self.ffmpeg.time_limit_s(subtask.source.media)
        for number, process in enumerate(planned):

            def on_progress(progress: Progress, before: int = number) -> None:
                done = min(1.0, progress.out_time_s / media_s) if media_s else 0.0
                report(min(0.99, (before + done) / len(planned)), progress.speed)

            with message_log(folder, kept=any(plan.inspection for plan in plans.values())) as on_message:
                ran = self.ffmpeg.run(
                    process.argv,
                    cwd=folder,
                    on_progress=on_progress,
                    on_message=on_message,
                    wall_s=wall_s,
                    members=len(process.shares),
                )
            for name, share in process.shares.items():
                results[name] = results[name].plus(process.argv, ran, share)
        return results


def _encoding(member: Member, report: Report) -> Report:
    """The part of a member's progress in which its files are made."""
    return Stages.of(member.subtask.plan).encoding(report) if member.subtask.plan else report


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)
