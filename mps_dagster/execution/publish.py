"""Publishes verified files (outputs, segments, texts, a preview) and their record."""

from __future__ import annotations

import hashlib
import posixpath
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from mps_dagster.errors import DiskFull, MpsError, SourceNotAccessible
from mps_dagster.execution.claims import Claim
from mps_dagster.execution.records import record_key
from mps_dagster.execution.segments import header_key, publish_segments, segment_files
from mps_dagster.execution.sharing import Processes
from mps_dagster.execution.subtask import Subtask
from mps_dagster.execution.verify import SAMPLE, Produced
from mps_dagster.ffmpeg.plan import SOURCE, Plan
from mps_dagster.media import preview
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.tasks.result import OutputObject, SegmentSet, SubtaskResult
from mps_dagster.workflow.model import RECORDS_DIR


@dataclass(frozen=True, slots=True)
class Encoded:
    """The files of a subtask, the processes that made them, and the run."""

    files: tuple[Produced, ...]
    processes: Processes
    run_id: str
    ffmpeg_version: str


def publish(subtask: Subtask, plan: Plan, encoded: Encoded, claim: Claim) -> SubtaskResult:
    """Publish everything and record it. Files that name others (a playlist, an index) go after them.

    If the bucket's disk is full, what was published is removed again: it is no complete set, and takes room.
    """
    publisher = _Publisher(claim.bucket, record_key(plan.primary_key))
    try:
        return _publish(subtask, plan, encoded, claim, publisher)
    except DiskFull:
        with suppress(MpsError):
            claim.check()
            publisher.withdraw()
        raise


def _publish(subtask: Subtask, plan: Plan, encoded: Encoded, claim: Claim, publisher: _Publisher) -> SubtaskResult:
    files, processes, bucket = encoded.files, encoded.processes, claim.bucket
    _unpublish_index(plan, bucket)
    segments, parts = _segments(plan, files[0], publisher, claim)
    rest = [publisher.media(file) for file in reversed(files[1:])][::-1]
    claim.check()
    main = [publisher.media(files[0]), *rest]
    texts = [publisher.text(text.key, text.text) for text in plan.texts]
    result = SubtaskResult(
        id=subtask.id, task=subtask.task, type=subtask.type, label=subtask.label, bucket=subtask.bucket,
        source_uri=subtask.source.uri, spec=subtask.spec, outputs=(*main, *texts, *parts), segments=segments,
        facts=plan.facts,
        preview_key=_preview(plan, files[0], bucket),
        commands=tuple(_shown(command, subtask.source.key) for command in processes.commands),
        ffmpeg_version=encoded.ffmpeg_version, revision=subtask.revision, run_id=encoded.run_id,
        media_s=plan.duration_s, wall_s=processes.wall_s, cpu_s=processes.cpu_s,
        memory_bytes=processes.memory_bytes, fingerprint=subtask.fingerprint,
    )  # fmt: skip
    claim.end(result)
    return result


def _unpublish_index(plan: Plan, bucket: Bucket) -> None:
    """Delete an earlier playlist or index before its files are overwritten, so that no player mixes two sets."""
    for key in ([plan.primary_key] if plan.segments else []) + [text.key for text in plan.texts]:
        with suppress(SourceNotAccessible):
            bucket.head(key)
            bucket.delete(key)


def _segments(
    plan: Plan, playlist: Produced, publisher: _Publisher, claim: Claim
) -> tuple[SegmentSet | None, tuple[OutputObject, ...]]:
    """Publish the segments and their fMP4 header, and write the published names into the playlist."""
    if plan.segments is None:
        return None, ()
    folder = playlist.path.parent
    files = segment_files(plan.segments, folder)
    names = {file.name: plan.segments.key(number) for number, file in enumerate(files)}
    segments = publish_segments(plan.segments, files, publisher.object, claim.check)
    header: tuple[OutputObject, ...] = ()
    if plan.segments.header:
        names[plan.segments.header] = header_key(playlist.key)
        header = (publisher.file(folder / plan.segments.header, names[plan.segments.header], "segment"),)
    _rewrite(playlist.path, names, playlist.key)
    return segments, header


def _rewrite(playlist: Path, keys: dict[str, str], playlist_key: str) -> None:
    """Write the published names into the playlist, relative to it and escaped as URIs."""
    folder = posixpath.dirname(playlist_key) or "."

    def published(name: str) -> str:
        return quote(posixpath.relpath(keys[name], folder)) if name in keys else name

    lines = [
        re.sub(r'(?<=URI=")[^"]*', lambda match: published(match[0]), line) if line[:1] == "#" else published(line)
        for line in playlist.read_text().splitlines()
    ]
    playlist.write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class _Publisher:
    """Publishes outputs, each marked with the key of its record."""

    bucket: Bucket
    record: str
    keys: list[str] = field(default_factory=list)
    """What has been published."""

    def withdraw(self) -> None:
        for key in self.keys:
            self.bucket.delete(key)

    def media(self, file: Produced) -> OutputObject:
        published = self.file(file.path, file.key, "main")
        return published.model_copy(update={"width": file.width, "height": file.height, "media": file.media})

    def object(self, path: Path, key: str) -> ObjectInfo:
        info = self.bucket.publish(path, key, record=self.record)
        self.keys.append(key)
        return info

    def file(self, path: Path, key: str, role: Literal["main", "segment"]) -> OutputObject:
        info = self.object(path, key)
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        return OutputObject(key=key, role=role, size_bytes=info.size, etag=info.etag, md5=md5)

    def text(self, key: str, text: str) -> OutputObject:
        content = text.encode()
        info = self.bucket.write(key, content, record=self.record)
        self.keys.append(key)
        md5 = hashlib.md5(content).hexdigest()  # noqa: S324  (MPS reports md5; nothing is protected by it)
        return OutputObject(key=key, role="index", size_bytes=info.size, etag=info.etag, md5=md5)


def _preview(plan: Plan, first: Produced, bucket: Bucket) -> str:
    """The key of a picture of the output: the output itself if it is a small one, or a preview with our records."""
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
    """The command for a shell, in a folder with the source."""
    name = posixpath.basename(source_key)
    return shlex.join(["ffmpeg", *(f"file:{name}" if part == f"file:{SOURCE}" else part for part in command)])
