"""Publishes verified files (outputs, segments, texts, a preview) and their record."""

from __future__ import annotations

import hashlib
import posixpath
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mps_dagster.errors import DiskFull, MpsError, SourceNotAccessible
from mps_dagster.execution.claims import Claim
from mps_dagster.execution.publisher import Publisher, publish_series, publish_tracks, rewrite
from mps_dagster.execution.records import record_key
from mps_dagster.execution.sharing import Processes
from mps_dagster.execution.subtask import Subtask
from mps_dagster.execution.verify import SAMPLE, Produced
from mps_dagster.ffmpeg.measures import AFTER, BEFORE
from mps_dagster.ffmpeg.plan import SOURCE, Plan
from mps_dagster.media import preview
from mps_dagster.storage.bucket import Bucket
from mps_dagster.streaming.segments import header_key
from mps_dagster.tasks.result import OutputObject, SegmentSet, SubtaskResult
from mps_dagster.workflow.model import RECORDS_DIR


@dataclass(frozen=True, slots=True)
class Encoded:
    """The files of a subtask, the processes that made them, and the run."""

    files: tuple[Produced, ...]
    processes: Processes
    run_id: str
    ffmpeg_version: str
    parts: tuple[SubtaskResult, ...] = ()
    """The results of the parts that went into them."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known only after the run, besides the plan's facts."""


def publish(subtask: Subtask, plan: Plan, encoded: Encoded, claim: Claim) -> SubtaskResult:
    """Publish everything and record it. Files that name others (a playlist, an index) go after them.

    If the bucket's disk is full, what was published is removed again: it is no complete set, and takes room.
    """
    publisher = Publisher(claim.bucket, record_key(plan.primary_key))
    try:
        return _publish(subtask, plan, encoded, claim, publisher)
    except DiskFull:
        with suppress(MpsError):
            claim.check()
            publisher.withdraw()
        raise


def _publish(subtask: Subtask, plan: Plan, encoded: Encoded, claim: Claim, publisher: Publisher) -> SubtaskResult:
    files, processes, bucket = encoded.files, encoded.processes, claim.bucket
    _unpublish_index(plan, bucket)
    segments, headers = _segments(plan, files[0], publisher, claim)
    tracks, indexes = publish_tracks(plan, files, publisher, claim)
    rest = [publisher.media(file) for file in reversed(files[1:])][::-1]
    claim.check()
    main = [publisher.media(files[0]), *rest]
    texts = [publisher.text(text.key, text.text) for text in plan.texts]
    result = SubtaskResult(
        id=subtask.id, task=subtask.task, type=subtask.type, label=subtask.label, bucket=subtask.bucket,
        source_uri=subtask.source.uri, spec=subtask.spec, outputs=(*main, *texts, *headers, *indexes),
        segments=segments, tracks=tracks, parts=encoded.parts,
        facts={**plan.facts, **processes.facts, **encoded.facts, **_comparison(plan, files[0].path.parent, bucket)},
        preview_key="" if subtask.is_part else _preview(plan, files[0], bucket),
        commands=tuple(_shown(command, subtask.source.key) for command in processes.commands),
        ffmpeg_version=encoded.ffmpeg_version, revision=subtask.revision, run_id=encoded.run_id,
        media_s=plan.duration_s, wall_s=processes.wall_s, cpu_s=processes.cpu_s,
        memory_bytes=processes.memory_bytes, fingerprint=subtask.fingerprint,
    )  # fmt: skip
    claim.end(result)
    return result


def _unpublish_index(plan: Plan, bucket: Bucket) -> None:
    """Delete an earlier playlist or index before its files are overwritten, so that no player mixes two sets."""
    names_others = plan.outputs if plan.packaging else plan.outputs[:1] if plan.segments else ()
    for key in [*(output.key for output in names_others), *(text.key for text in plan.texts)]:
        with suppress(SourceNotAccessible):
            bucket.head(key)
            bucket.delete(key)


def _segments(
    plan: Plan, playlist: Produced, publisher: Publisher, claim: Claim
) -> tuple[SegmentSet | None, tuple[OutputObject, ...]]:
    """Publish the segments and their fMP4 header, and write the published names into the playlist."""
    if plan.segments is None:
        return None, ()
    folder = playlist.path.parent
    segments, names = publish_series(plan.segments, folder, publisher, claim)
    header: tuple[OutputObject, ...] = ()
    if plan.segments.header:
        names[plan.segments.header] = header_key(playlist.key)
        header = (publisher.file(folder / plan.segments.header, names[plan.segments.header], "segment"),)
    rewrite(playlist.path, names, playlist.key)
    return segments, header


def _preview(plan: Plan, first: Produced, bucket: Bucket) -> str:
    """The key of a picture of the output: the output itself if it is a small one, or a preview with our records."""
    kind = plan.outputs[0].expected.kind
    if first.width is None or first.height is None:
        return ""
    if kind in ("image", "animation") and max(first.width, first.height) <= preview.MAX_SIDE:
        return first.key
    if kind in ("image", "animation"):
        content = preview.of_picture(first.path)
    elif plan.packaging:
        content = preview.of_video(first.path.parent / plan.packaging.largest.file, plan.duration_s / 4)
    elif kind == "playlist":
        content = preview.of_video(first.path.parent / SAMPLE, 0.0)
    else:
        content = preview.of_video(first.path, plan.duration_s / 4)
    key = _preview_key(first.key)
    bucket.write(key, content, content_type="image/jpeg")
    return key


def _comparison(plan: Plan, folder: Path, bucket: Bucket) -> dict[str, dict[str, str]]:
    """Publish the pictures that show the watermarks, if they were made."""
    names = [BEFORE, AFTER] if plan.comparison and all((folder / name).is_file() for name in (BEFORE, AFTER)) else []
    keys = {name.partition(".")[0]: _preview_key(f"{plan.primary_key} {name}") for name in names}
    for name, key in zip(names, keys.values(), strict=True):
        bucket.publish(folder / name, key)
    return {"comparison": keys} if keys else {}


def _preview_key(what: str) -> str:
    return f"{RECORDS_DIR}previews/{hashlib.sha256(what.encode()).hexdigest()[:40]}.jpg"


def _shown(command: tuple[str, ...], source_key: str) -> str:
    """The command for a shell, in a folder with the source."""
    name = posixpath.basename(source_key)
    return shlex.join(f"file:{name}" if part == f"file:{SOURCE}" else part for part in command)
