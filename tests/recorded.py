"""Dagster's records of task runs, made up: what the usage of days is read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

from mps_dagster.control.steps import StepEvent
from mps_dagster.control.task_run import StoredRun
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.workflow.model import Source

START_S = datetime.fromisoformat("2026-11-26T12:00:00Z").timestamp()


def film(seconds: float, width: int = 1920, height: int = 1080, fps: int = 25, codec: str = "h264") -> MediaInfo:
    video = VideoStream(
        index=0, codec=codec, width=width, height=height, pixel_format="yuv420p", frame_rate=Fraction(fps),
        duration_s=seconds, frames=round(seconds * fps),
    )  # fmt: skip
    return MediaInfo(container="mp4", size_bytes=1000, duration_s=seconds, video=video)


def sound(seconds: float) -> MediaInfo:
    audio = AudioStream(index=0, codec="mp3", sample_rate_hz=48000, channels=2, duration_s=seconds)
    return MediaInfo(container="mp3", size_bytes=1000, duration_s=seconds, audio=(audio,))


def made(
    label: str = "100030", *media: MediaInfo | tuple[int, int], size: int = 500, kind: str = "transcode", **members: Any
) -> SubtaskResult:
    """A result whose main objects are these films, or stills with these sizes."""
    outputs = [
        OutputObject(
            key=f"{label}{number}", role="main", size_bytes=size, etag="", md5="",
            **({"media": each} if isinstance(each, MediaInfo) else {"width": each[0], "height": each[1]}),
        )
        for number, each in enumerate(media)
    ]  # fmt: skip
    definition = int(label) if label.isdecimal() else 0
    return SubtaskResult(
        **{
            "id": f"0_{label}", "task": "web", "type": kind, "label": label, "bucket": "outputs", "source_uri": "",
            "spec": {"definition": definition, "name": "" if definition else label}, "outputs": outputs, "cpu_s": 8.0,
            "wall_s": 4.0, **members,
        }
    )  # fmt: skip


@dataclass
class Recorded:
    """A `usage.runs.Records`."""

    stored: list[StoredRun] = field(default_factory=list)
    logs: dict[str, list[StepEvent]] = field(default_factory=dict)
    queries: list[Mapping[str, Any]] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    """Runs whose events were read."""

    def add(
        self, *results: SubtaskResult, ended_s: float = START_S, source: MediaInfo | None = None, status: str = "SUCCESS",
        failed: Iterable[SubtaskResult] = (), code: str = "InternalError", **tags: str,
    ) -> str:  # fmt: skip
        """A run with these outputs, and others that failed with the code; return its id."""
        run_id = f"{len(self.stored):08d}-0000-0000-0000-000000000000"
        named = {"mps/workflow": "vod", "mps/bucket": "inbox", "mps/key": "a.mp4", **tags}
        root = named.get("dagster/root_run_id", run_id)
        self.stored.append(StoredRun(run_id, root, "vod", status, ended_s - 60, ended_s - 50, ended_s, named))
        info = Source(bucket="inbox", key="a.mp4", etag="e", size_bytes=2000, media=source or film(60))
        planned = [
            {"id": each.id, "task": each.task, "type": each.type, "label": each.label, "spec": each.spec}
            for each in (*results, *failed)
        ]
        events = [
            StepEvent("vod__source", "STEP_OUTPUT", ended_s - 50, {"source": info.model_dump(mode="json")}),
            StepEvent("vod__source", "STEP_SUCCESS", ended_s - 50),
            StepEvent("vod__web.break_down", "STEP_OUTPUT", ended_s - 40, {"subtasks": planned}),
            StepEvent("vod__web.break_down", "STEP_SUCCESS", ended_s - 40),
        ]
        for each in results:
            step, own = f"vod__web.subtask[{each.id}]", _made_by(each, run_id)
            events.append(StepEvent(step, "STEP_OUTPUT", ended_s - 10, {"result": own.model_dump(mode="json")}))
            events.append(StepEvent(step, "STEP_SUCCESS", ended_s - 10))
        for each in failed:
            step = f"vod__web.subtask[{each.id}]"
            events.append(StepEvent(step, "STEP_START", ended_s - 30))
            events.append(
                StepEvent(step, "STEP_FAILURE", ended_s - 20, {"code": code, "number": 70000, "message": "no"})
            )
        self.logs[run_id] = events
        return run_id

    def runs(self, query: Mapping[str, Any], *, limit: int, cursor: str | None = None) -> Sequence[StoredRun]:
        self.queries.append(query)
        found = [run for run in reversed(self.stored) if _fits(run, query)]
        start = [run.run_id for run in found].index(cursor) + 1 if cursor else 0
        return found[start : start + limit]

    def events(self, run_id: str) -> Iterator[StepEvent]:
        self.read.append(run_id)
        return iter(self.logs[run_id])


def _made_by(result: SubtaskResult, run_id: str) -> SubtaskResult:
    """With its parts; unless it says itself who made it."""
    parts = tuple(_made_by(part, run_id) for part in result.parts)
    return result.model_copy(update={"run_id": result.run_id or run_id, "parts": parts})


def _fits(run: StoredRun, query: Mapping[str, Any]) -> bool:
    """Whether Dagster's filter has the run; it was last changed when it ended."""
    return (
        run.status in query.get("statuses", (run.status,))
        and run.created_s < query.get("createdBefore", float("inf"))
        and (run.ended_s or 0) > query.get("updatedAfter", 0)
        and run.run_id in query.get("runIds", (run.run_id,))
        and query.get("tags", {}).items() <= run.tags.items()
    )
