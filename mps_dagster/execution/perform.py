"""Doing one subtask: stage in → run → verify → publish."""

from __future__ import annotations

import hashlib
import posixpath
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.execution.attachments import lay_out
from mps_dagster.execution.progress import Report
from mps_dagster.execution.records import Record, check_owner, read_record, standing, write_record
from mps_dagster.execution.staging import check_room, check_unchanged, staged, work_folder
from mps_dagster.execution.subtask import OutputObject, Subtask, SubtaskResult
from mps_dagster.execution.verify import SAMPLE, Produced, segment_files, verified
from mps_dagster.ffmpeg.plan import SOURCE, Plan, Segments
from mps_dagster.ffmpeg.process import Completed
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.ffmpeg.progress import Progress
from mps_dagster.media import preview
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.keys import content_type_of
from mps_dagster.workflow.model import RECORDS_DIR, Source


@dataclass(frozen=True, slots=True)
class Worker:
    """What every subtask of this process works with."""

    settings: Settings
    buckets: Buckets
    ffmpeg: Ffmpeg

    @classmethod
    def of(cls, settings: Settings, buckets: Buckets) -> Worker:
        return cls(settings, buckets, Ffmpeg.of(settings))

    def fetch_source(self, bucket: str, key: str, etag: str | None, run_id: str) -> Source:
        """Stage and probe an upload. `etag` is the announced one; None takes the object as it is now."""
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
        """Make, check and publish one subtask's outputs; nothing is done for outputs that stand already."""
        if subtask.refusal or subtask.plan is None:
            raise subtask.refusal.error() if subtask.refusal else InvalidConfiguration("the subtask has no plan")
        bucket = self.buckets.get(subtask.bucket)
        record = read_record(bucket, subtask.plan.primary_key)
        if earlier := standing(record, subtask, bucket):
            report(1.0, 0.0)
            return earlier
        check_owner(record, subtask, self.buckets)
        run_dir = self.settings.scratch_dir / run_id
        origin = self.buckets.get(subtask.source.bucket)
        source = staged(origin, subtask.source.key, subtask.source.etag, run_dir)
        with work_folder(run_dir, f"{subtask.task}.{subtask.id}") as folder:
            # The name on the command line is ours; the upload's own may be anything.
            (folder / SOURCE).symlink_to(source)
            lay_out(subtask.plan.attachments, folder, self.buckets, self.settings.templates_dir)
            runs = self._run(subtask.plan, folder, report)
            produced = verified(subtask.plan, folder)
            check_unchanged(origin, subtask.source.key, subtask.source.etag)
            result = _publish(subtask, subtask.plan, produced, runs, bucket, self.ffmpeg.version)
        report(1.0, result.speed)
        return result

    def _run(self, plan: Plan, folder: Path, report: Report) -> list[Completed]:
        runs = []
        for number, command in enumerate(plan.commands):

            def on_progress(progress: Progress, before: int = number) -> None:
                done = min(1.0, progress.out_time_s / plan.duration_s) if plan.duration_s else 0.0
                report(min(0.99, (before + done) / len(plan.commands)), progress.speed)

            runs.append(self.ffmpeg.run(command, cwd=folder, on_progress=on_progress))
        return runs


def _publish(
    subtask: Subtask, plan: Plan, produced: tuple[Produced, ...], runs: list[Completed], bucket: Bucket, version: str
) -> SubtaskResult:
    """Record what is coming, put everything, record what came. The primary output goes last: with it the set is whole."""
    segments = _segment_keys(plan.segments, produced[0]) if plan.segments else []
    if plan.segments:
        _rewrite(produced[0].path, [(file.name, key) for file, key in segments], plan.primary_key)
    keys = (*(file.key for file in produced), *(key for _, key in segments), *(text.key for text in plan.texts))
    owner = Record(source_bucket=subtask.source.bucket, source_key=subtask.source.key, keys=keys)
    write_record(bucket, plan.primary_key, owner)
    parts = [_put_file(bucket, file, key, "segment") for file, key in segments]
    texts = [_put_text(bucket, text.key, text.text) for text in plan.texts]
    main = [_put_produced(bucket, file) for file in reversed(produced)][::-1]
    result = SubtaskResult(
        id=subtask.id, task=subtask.task, type=subtask.type, label=subtask.label, bucket=subtask.bucket,
        source_uri=subtask.source.uri, spec=subtask.spec, outputs=(*main, *texts, *parts), facts=plan.facts,
        preview_key=_preview(plan, produced[0], bucket),
        commands=tuple(_shown(command, subtask.source.key) for command in plan.commands), ffmpeg_version=version,
        media_s=plan.duration_s, wall_s=sum(run.wall_s for run in runs), cpu_s=sum(run.cpu_s for run in runs),
        memory_bytes=max((run.memory_bytes for run in runs), default=0), fingerprint=subtask.fingerprint,
    )  # fmt: skip
    write_record(bucket, plan.primary_key, owner.model_copy(update={"result": result}))
    return result


def _segment_keys(segments: Segments, playlist: Produced) -> list[tuple[Path, str]]:
    """Each segment file with its key; the fMP4 header keeps a name of its own beside them."""
    files = segment_files(segments, playlist.path.parent)
    header = files[:1] if segments.header else []
    stem = posixpath.splitext(playlist.key)[0]
    numbered = [(file, segments.key(number)) for number, file in enumerate(files[len(header) :])]
    return [(file, f"{stem}_init.mp4") for file in header] + numbered


def _rewrite(playlist: Path, names: list[tuple[str, str]], playlist_key: str) -> None:
    """Put the published names into the playlist, relative to it and escaped as URIs."""
    folder = posixpath.dirname(playlist_key) or "."
    published = {name: quote(posixpath.relpath(key, folder)) for name, key in names}
    text = playlist.read_text()
    pattern = re.compile("|".join(re.escape(name) for name in published))
    playlist.write_text(pattern.sub(lambda found: published[found[0]], text))


def _put_produced(bucket: Bucket, file: Produced) -> OutputObject:
    put = _put_file(bucket, file.path, file.key, "main")
    return put.model_copy(update={"width": file.width, "height": file.height, "media": file.media})


def _put_file(bucket: Bucket, path: Path, key: str, role: Literal["main", "segment"]) -> OutputObject:
    info = bucket.publish(path, key, content_type=content_type_of(key))
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    return OutputObject(key=key, role=role, size_bytes=info.size, etag=info.etag, md5=md5)


def _put_text(bucket: Bucket, key: str, text: str) -> OutputObject:
    content = text.encode()
    info = bucket.write(key, content, content_type=content_type_of(key))
    md5 = hashlib.md5(content).hexdigest()  # noqa: S324  (MPS reports md5; nothing is protected by it)
    return OutputObject(key=key, role="index", size_bytes=info.size, etag=info.etag, md5=md5)


def _preview(plan: Plan, first: Produced, bucket: Bucket) -> str:
    """The key of a picture of the output: the output itself where it is small, or one put beside our records."""
    kind = plan.outputs[0].expected.kind
    if first.width is None or first.height is None:
        return ""
    if kind in ("image", "animation") and max(first.width, first.height) <= preview.MAX_SIDE:
        return first.key
    if kind in ("image", "animation"):
        content = preview.of_picture(first.path)
    elif kind == "playlist":
        content = preview.of_video(first.path.parent / SAMPLE, 0.0)
    else:
        content = preview.of_video(first.path, plan.duration_s / 4)
    key = f"{RECORDS_DIR}previews/{hashlib.sha256(first.key.encode()).hexdigest()[:40]}.jpg"
    bucket.write(key, content, content_type="image/jpeg")
    return key


def _shown(command: tuple[str, ...], source_key: str) -> str:
    """For the shell of a person who has the source beside them."""
    name = posixpath.basename(source_key)
    return shlex.join(["ffmpeg", *(f"file:{name}" if part == f"file:{SOURCE}" else part for part in command)])
