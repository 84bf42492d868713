"""`SubtaskResult`: the objects that one subtask published, and what they cost. JSON both ways."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mps_dagster.ffmpeg.plan import Segments
from mps_dagster.frozen import Facts
from mps_dagster.media.info import MediaInfo


class OutputObject(Facts):
    """One published object."""

    key: str
    role: Literal["main", "segment", "index"]
    """Of segments only the fMP4 header; in results of earlier versions each of them."""
    size_bytes: int
    etag: str
    md5: str
    width: int | None = None
    height: int | None = None
    media: MediaInfo | None = None
    """Of video, audio and animations."""


class SegmentSet(Facts):
    """The segments of an HLS output, told of together: a film has thousands."""

    names: Segments
    """How they are numbered."""
    count: int
    size_bytes: int
    digest: str
    """Of each one's key, size and etag."""

    @property
    def keys(self) -> list[str]:
        return [self.names.key(index) for index in range(self.count)]


class SubtaskResult(Facts):
    """What one subtask made, and at what cost."""

    id: str
    task: str
    type: str
    label: str
    bucket: str
    source_uri: str
    spec: dict[str, Any]
    outputs: tuple[OutputObject, ...]
    segments: SegmentSet | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    preview_key: str = ""
    commands: tuple[str, ...] = ()
    """In copy-paste form, as they were run."""
    ffmpeg_version: str = ""
    media_s: float = 0.0
    """Seconds of media worked through."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    fingerprint: str = ""
    revision: str = ""
    """Of the task: the last one that asked for just this."""
    run_id: str = ""
    """Dagster's, of the run that made it."""
    reused: bool = False
    """True if everything stood already."""

    @property
    def main(self) -> tuple[OutputObject, ...]:
        return tuple(output for output in self.outputs if output.role == "main")

    @property
    def paths(self) -> list[str]:
        """Of the main outputs, as MPS writes them."""
        return [f"/{output.key}" for output in self.main]

    @property
    def watermark_definitions(self) -> list[int]:
        """The watermark templates in it; MPS's have numbers only."""
        marks = self.spec.get("watermark_set") or []
        return [mark["definition"] for mark in marks if isinstance(mark.get("definition"), int) and mark["definition"]]

    @property
    def size_bytes(self) -> int:
        return sum(output.size_bytes for output in self.outputs) + (self.segments.size_bytes if self.segments else 0)

    @property
    def keys(self) -> list[str]:
        """Of everything that was published."""
        return [output.key for output in self.outputs] + (self.segments.keys if self.segments else [])

    @property
    def speed(self) -> float:
        """Media seconds per second."""
        return self.media_s / self.wall_s if self.wall_s else 0.0
