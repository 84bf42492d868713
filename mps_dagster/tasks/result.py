"""`SubtaskResult`: the objects that one subtask published, and what they cost. Read from and written as JSON."""

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
    """`segment` is the fMP4 header; in results of earlier versions, each segment."""
    size_bytes: int
    etag: str
    md5: str
    width: int | None = None
    height: int | None = None
    media: MediaInfo | None = None
    """For video, audio and animations."""


class SegmentSet(Facts):
    """The segments of an HLS output, in one record: a film has thousands."""

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
    """The outputs of one subtask and their cost."""

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
    """As they were run, ready for a shell."""
    ffmpeg_version: str = ""
    media_s: float = 0.0
    """Seconds of media processed."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    fingerprint: str = ""
    revision: str = ""
    """The latest revision of the task that has this output."""
    run_id: str = ""
    """The Dagster run that made it."""
    reused: bool = False
    """True if all outputs were up to date already."""

    @property
    def main(self) -> tuple[OutputObject, ...]:
        return tuple(output for output in self.outputs if output.role == "main")

    @property
    def paths(self) -> list[str]:
        """Paths of the main outputs, with MPS's leading slash."""
        return [f"/{output.key}" for output in self.main]

    @property
    def watermark_definitions(self) -> list[int]:
        """IDs of the watermark templates used; names are left out, as MPS has numbers only."""
        marks = self.spec.get("watermark_set") or []
        return [mark["definition"] for mark in marks if isinstance(mark.get("definition"), int) and mark["definition"]]

    @property
    def size_bytes(self) -> int:
        return sum(output.size_bytes for output in self.outputs) + (self.segments.size_bytes if self.segments else 0)

    @property
    def keys(self) -> list[str]:
        """Keys of all published objects."""
        return [output.key for output in self.outputs] + (self.segments.keys if self.segments else [])

    @property
    def speed(self) -> float:
        """Media seconds per second."""
        return self.media_s / self.wall_s if self.wall_s else 0.0
