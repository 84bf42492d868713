"""A task run as rows: one for each output, and one more for each rendition of an adaptive set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.media.info import MediaInfo
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.tasks.spec import Spec
from mps_dagster.usage.runs import Ended, day_of

DIMENSIONS = ("day", "workflow", "template", "key", "code", "task", "type")
"""Members of a row by which usage is summed up."""
COPY = "copy"
"""In place of a codec: the picture, or sound alone, was not encoded."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a day's table. What was not made, or stood already, has only zeros below `source_fps`."""

    day: str
    """The UTC day in which the run ended: 2026-11-27."""
    ended: str
    """ISO 8601, UTC."""
    task_id: str
    workflow: str
    key: str
    """The owner of the API key that launched the run; empty if none did."""
    bucket: str
    """Of the upload."""
    task: str = ""
    """Empty if the run failed before it had any."""
    type: str = ""
    template: str = ""
    """`transcode/100030`; `transcode` if everything is written out in the file."""
    output: str = ""
    """What the output is called within its task."""
    part: str = ""
    """A rendition of that output. It is no output of its own, and has no bytes."""
    settings: str = ""
    """A hash: equal for outputs that are made alike."""
    outcome: Literal["made", "reused", "failed"] = "made"
    code: str = ""
    """The error's."""
    source_s: float = 0.0
    """Seconds of the upload."""
    source_bytes: int = 0
    source_pixels: int = 0
    """Of one picture."""
    source_fps: float = 0.0
    output_s: float = 0.0
    """Seconds of video or sound; of a set, in the rows of its renditions."""
    output_bytes: int = 0
    pictures: int = 0
    """Still pictures, or sheets of them."""
    pixels: int = 0
    """Of all pictures, those of a video included."""
    codec: str = ""
    """h264, hevc, av1 …; of sound alone its own; or `copy`."""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0


def rows_of(ended: Ended) -> Iterator[Row]:
    """The rows of one task run."""
    run, work = ended.run, _Work(ended.run_ids)
    blank = _blank(run, ended.key)
    for state in run.subtasks:
        earlier = [other for attempt in ended.attempts for other in attempt.subtasks if _same(other, state)]
        yield from _output(_described(blank, state), state, earlier, work)
    if not run.subtasks and run.failed:
        yield replace(blank, outcome="failed", code=run.code)


@dataclass(frozen=True, slots=True)
class _Work:
    """What the attempts of one task run have made."""

    run_ids: frozenset[str]
    counted: set[tuple[str, str]] = field(default_factory=set)
    """Tasks and ids of results, as outputs may have parts in common."""

    def has_made(self, result: SubtaskResult) -> bool:
        """Whether it was not there before."""
        return result.run_id in self.run_ids

    def cost(self, *results: SubtaskResult | None) -> dict[str, Any]:
        """CPU and wall seconds of those that were made, and not counted yet."""
        cpu_s = wall_s = 0.0
        for result in results:
            if result and self.has_made(result) and (result.task, result.id) not in self.counted:
                self.counted.add((result.task, result.id))
                cpu_s, wall_s = cpu_s + result.cpu_s, wall_s + result.wall_s
        return {"cpu_s": cpu_s, "wall_s": wall_s}


def settings_of(kind: str, spec: Mapping[str, Any]) -> str:
    """A hash of what decides how an output is made, which its names and places do not. `spec` is as JSON."""
    names = {*Spec.model_fields, *(TASKS[kind].paths if kind in TASKS else ())}
    content = {name: value for name, value in spec.items() if name not in names}
    return hashlib.sha256(json.dumps([kind, content], sort_keys=True).encode()).hexdigest()[:16]


def template_of(kind: str, spec: Mapping[str, Any]) -> str:
    definition = spec.get("definition")
    return f"{kind}/{definition}" if definition else kind


def source_facts(media: MediaInfo) -> dict[str, Any]:
    """The members of a row that describe its upload."""
    width, height, fps = _picture(media)
    return {
        "source_s": media.duration_s,
        "source_bytes": media.size_bytes,
        "source_pixels": width * height,
        "source_fps": fps,
    }


def _blank(run: TaskRun, key: str) -> Row:
    ended_s = run.ended_s or run.created_s
    source = source_facts(run.source.media) if run.source else {}
    return Row(
        day=day_of(ended_s).isoformat(), ended=datetime.fromtimestamp(ended_s, UTC).isoformat(timespec="milliseconds"),
        task_id=run.task_id, workflow=run.workflow, key=key, bucket=run.bucket, **source,
    )  # fmt: skip


def _described(blank: Row, state: SubtaskState) -> Row:
    return replace(
        blank, task=state.task, type=state.type, output=state.label,
        template=template_of(state.type, state.spec), settings=settings_of(state.type, state.spec),
    )  # fmt: skip


def _same(one: SubtaskState, other: SubtaskState) -> bool:
    return (one.task, one.label) == (other.task, other.label)


def _output(row: Row, state: SubtaskState, earlier: Iterable[SubtaskState], work: _Work) -> Iterator[Row]:
    """The rows of one output; `earlier` is its state in the attempts before."""
    result = state.result
    if result is None:
        parts = [part.result for each in (state, *earlier) for part in (*each.parts, each)]
        took_s = state.ended_s - state.started_s if state.ended_s and state.started_s else 0.0
        yield replace(row, outcome="failed", code=state.code, **{**work.cost(*parts), "wall_s": took_s})
        return
    if not work.has_made(result):
        yield replace(row, outcome="reused")
        return
    renditions = _renditions(result)
    whole = {} if renditions else _made(result, result.spec)
    rest = [part for part in result.parts if part not in renditions]
    yield replace(row, **whole, output_bytes=result.size_bytes, **work.cost(result, *rest))
    for part in renditions:
        yield replace(row, part=part.id.partition("_")[2], **_made(part, {}), **work.cost(part))


def _renditions(result: SubtaskResult) -> list[SubtaskResult]:
    """What players of a set choose from: pictures, or sounds if there are none. The parts of a film are its chunks."""
    if not result.tracks:
        return []
    media = [(part, part.main[0].media) for part in result.parts]
    pictures = [part for part, info in media if info and info.video and info.duration_s]
    return pictures or [part for part, info in media if info and info.audio]


def _made(result: SubtaskResult, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths and pictures of what was made."""
    films = [output.media for output in result.main if output.media]
    stills = [output for output in result.main if not output.media and output.width]
    first = films[0] if films else None
    width, height, fps = _picture(first) if first else (0, 0, 0.0)
    return {
        "output_s": sum(media.duration_s for media in films),
        "pictures": len(stills),
        "pixels": sum(map(_film_pixels, films)) + sum((still.width or 0) * (still.height or 0) for still in stills),
        "codec": _codec(first, spec) if first else "",
        "width": width or _size(stills)[0],
        "height": height or _size(stills)[1],
        "fps": fps,
    }


def _codec(media: MediaInfo, spec: Mapping[str, Any]) -> str:
    template = spec.get("video_template" if media.video else "audio_template") or {}
    if template.get("codec") == COPY:
        return COPY
    return media.video.codec if media.video else media.audio[0].codec if media.audio else ""


def _picture(media: MediaInfo) -> tuple[int, int, float]:
    """Width, height and frames per second; zeros without a picture."""
    video = media.video
    if video is None:
        return 0, 0, 0.0
    rate = float(video.frame_rate) if video.frame_rate else video.frames / video.duration_s if video.duration_s else 0.0
    return video.width, video.height, rate


def _film_pixels(media: MediaInfo) -> int:
    video = media.video
    return video.width * video.height * video.frames if video else 0


def _size(stills: list[OutputObject]) -> tuple[int, int]:
    return (stills[0].width or 0, stills[0].height or 0) if stills else (0, 0)
