"""`Subtask` and `SubtaskResult`: what goes to a worker and what comes back. Small, typed, JSON both ways."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mps_dagster import errors
from mps_dagster.errors import MpsError
from mps_dagster.ffmpeg.plan import Plan, Segments
from mps_dagster.media.info import Facts, MediaInfo
from mps_dagster.workflow.model import Source


class Refusal(Facts):
    """An error as a value: why an output cannot be made of this source, known before anything runs."""

    kind: str
    """Class of errors.py."""
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: MpsError) -> Refusal:
        return cls(kind=type(error).__name__, message=error.message, hint=error.hint)

    def error(self) -> MpsError:
        kind: type[MpsError] = getattr(errors, self.kind)
        return kind(self.message, hint=self.hint)


class Subtask(Facts):
    """One ffmpeg job, run alone, on any worker."""

    id: str
    """`[A-Za-z0-9_]+`, unique in its task; Dagster's mapping key."""
    task: str
    type: str
    label: str
    """What people call the output: its name or template ID."""
    source: Source
    bucket: str
    """Where the outputs go."""
    spec: dict[str, Any]
    plan: Plan | None
    refusal: Refusal | None = None
    """Set instead of a plan. The subtask fails with it, so that its siblings are made all the same."""
    fingerprint: str = ""
    """Of source, plan and tool: outputs standing with the same one are not made again."""
    revision: str = ""
    """Of the task."""
    paths: dict[str, str] = Field(default_factory=dict)
    """Of its outputs, by parameter: what MPS tells of them before they are made."""


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


class TaskResult(Facts):
    """What a whole task made: the assembly's value, and the manifest's content."""

    workflow: str
    task: str
    type: str
    run_id: str
    """Dagster's, of the run or of the one that it is a retry of."""
    source: Source
    results: tuple[SubtaskResult, ...]
    manifest_key: str = ""

    def as_source(self, label: str) -> Source:
        """One output as the source of a serial task; its probe is the one it was verified with."""
        result = next((r for r in self.results if not label or r.label == label), None)
        if result is None or result.main[0].media is None:
            raise errors.InvalidConfiguration(
                f"task {self.task} made no output {label!r} that another task can work on"
            )
        output = result.main[0]
        assert output.media is not None  # noqa: S101  (checked above)
        return Source(
            upload_key=self.source.upload,
            upload_bucket=self.source.upload_bucket or self.source.bucket,
            bucket=result.bucket,
            key=output.key,
            etag=output.etag,
            size_bytes=output.size_bytes,
            media=output.media,
        )
