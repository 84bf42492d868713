"""The values that steps pass on, as JSON: `Upload` → `Subtask`s and their `Members` → `TaskResult`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mps_dagster import errors
from mps_dagster.errors import MpsError
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.frozen import Facts
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Place, Source, Task


class Upload(Facts):
    """The result of the source step: the object, and the place that its tasks inherit."""

    source: Source
    output: Place = Place()

    def as_source(self, label: str) -> Source:  # noqa: ARG002  (as of a `TaskResult`)
        return self.source


class Refusal(Facts):
    """An error as a value: why an output cannot be made from this source, known before the run."""

    kind: str
    """Name of a class of errors.py."""
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: MpsError) -> Refusal:
        return cls(kind=type(error).__name__, message=error.message, hint=error.hint)

    def error(self) -> MpsError:
        kind: type[MpsError] = getattr(errors, self.kind)
        return kind(self.message, hint=self.hint)


class Whole(Facts):
    """An output that a subtask's files go into. While it is up to date, the files need not be made."""

    path: str
    """Of the primary output."""
    fingerprint: str


class PartRef(Facts):
    """A subtask whose files go into an output."""

    id: str
    name: str
    """The folder of its files in the work folder."""
    path: str
    """Of its primary file."""
    fingerprint: str


class Subtask(Facts):
    """One ffmpeg job, which any worker can run independently."""

    id: str
    """`[A-Za-z0-9_]+`, unique in its task; Dagster's mapping key."""
    task: str
    type: str
    label: str
    """The name or template ID of the output."""
    source: Source
    bucket: str
    """The bucket of the outputs."""
    spec: dict[str, Any]
    plan: Plan | None
    refusal: Refusal | None = None
    """Set instead of a plan. Only this subtask fails; the others run."""
    fingerprint: str = ""
    """Of source, plan and tool: outputs with the same one are up to date and not encoded again."""
    revision: str = ""
    """Of the task."""
    paths: dict[str, str] = Field(default_factory=dict)
    """Paths of the outputs by parameter, as MPS shows them before they exist."""
    wholes: tuple[Whole, ...] = ()
    """Of a part: the outputs that need it."""
    parts: tuple[PartRef, ...] = ()
    """The subtasks that come before this one."""

    @property
    def is_part(self) -> bool:
        return bool(self.wholes)


class Members(Facts):
    """A task and the subtasks whose results its assembly needs."""

    workflow: str
    task: Task
    source: Source
    ids: tuple[str, ...]
    parts: tuple[str, ...] = ()
    """Those of them whose files went into another's output."""

    @property
    def version(self) -> str:
        """Data version of the task's asset: the task's revision and the source's content."""
        return f"{self.task.revision}.{self.source.etag}"


class TaskResult(Facts):
    """The result of a task: the assembly's value, and the manifest's content."""

    workflow: str
    task: str
    type: str
    run_id: str
    """Dagster's id of the run, or of the run that it retries."""
    source: Source
    results: tuple[SubtaskResult, ...]
    manifest_key: str = ""

    def as_source(self, label: str) -> Source:
        """An output as the source of a serial task, with the probe result of its verification; or what was inspected."""
        if self.type in TASKS and TASKS[self.type].inspects:
            return self.source
        result = next((r for r in self.results if not label or r.label == label), None)
        if result is None or result.main[0].media is None:
            raise errors.InvalidConfiguration(f"task {self.task} has no output {label!r} that another task can work on")
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
