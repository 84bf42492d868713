"""`Workflow` and its parts; `Source` and `Task`, which are passed from the request to the subtasks."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, StringConstraints, field_validator, model_validator

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.frozen import Facts
from mps_dagster.media.info import MediaInfo
from mps_dagster.notify.config import SinkConfig
from mps_dagster.storage.keys import MAX_NAME_BYTES, check_bucket_name, max_key_bytes
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import OutputNames, Spec, fill, fill_within
from mps_dagster.workflow.naming import OUR_JOBS, by_hand_name

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
"""Names of workflows and tasks become names of Dagster jobs and assets, which allow no other characters."""

UPLOAD = "source"
"""The `source` of a task that works on the upload itself."""

TRIGGER_FORMATS = (
    "mp4", "ts", "flv", "wmv", "asf", "rm", "rmvb", "mpg", "mpeg", "3gp", "mov", "webm", "mkv", "avi", "m4v",
    "mp3", "m4a", "flac", "ogg", "wav", "amr", "aac",
)  # fmt: skip
"""MPS's list (reference C.1) without its two subtitle formats, as there is no subtitle task."""

RECORDS_DIR = "_mps/"
"""Where each bucket keeps our records of its outputs. Never triggers."""

BY_HAND_BUCKET = "uploads"
"""Local bucket for files and URLs that are processed by hand, outside of any workflow."""


class Source(Facts):
    """One uploaded object and its probed media information."""

    bucket: str
    key: str
    etag: str
    size_bytes: int
    media: MediaInfo
    upload_key: str = ""
    """If the source is an output of another task: the upload that it was made from."""
    upload_bucket: str = ""

    @property
    def upload(self) -> str:
        return self.upload_key or self.key

    @property
    def uri(self) -> str:
        return f"{self.bucket}/{self.key}"


class Trigger(Facts):
    """Selects the uploads of a workflow."""

    bucket: str = Field(description="A local bucket (`inbox`), `s3://name` or `cos://name-appid`.")
    dir: str = Field("/", description="Only objects under it; `/` is the whole bucket.")
    formats: tuple[str, ...] = Field(TRIGGER_FORMATS, description="File extensions, any case; `*` takes everything.")
    queue: str = Field(
        "", max_length=512, description="SQS queue (name or URL) in which the bucket announces its uploads."
    )
    queue_region: str | None = Field(None, description="The queue's region; empty = AWS_DEFAULT_REGION.")
    listing: bool = Field(
        True, description="Look through the dir for uploads; without it only the queue announces them."
    )
    list_every_s: float | None = Field(
        None,
        ge=0,
        description="Seconds between two sweeps. Empty = at every look, or once an hour if there is a queue.",
    )

    _bucket = field_validator("bucket")(check_bucket_name)

    @field_validator("formats")
    @classmethod
    def _normalize(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for name in formats:
            if name != "*" and not re.fullmatch(r"\.?[A-Za-z0-9]+", name):
                raise ValueError(f"{name!r} is no file extension; write mp4, or * for everything")
        return tuple(name.lower().removeprefix(".") for name in formats) or TRIGGER_FORMATS

    @model_validator(mode="after")
    def _learns_of_uploads(self) -> Trigger:
        if not self.listing and not self.queue:
            raise ValueError("without listing there must be a queue; else no upload is ever found")
        if self.queue and "://" not in self.bucket:
            raise ValueError(f"bucket {self.bucket!r} is a folder, which announces nothing; remove the queue")
        if self.bucket == BY_HAND_BUCKET:
            raise ValueError(f"bucket {self.bucket!r} is for objects processed by hand; upload into another one")
        return self

    @property
    def prefix(self) -> str:
        return key_prefix(self.dir)

    @property
    def sweep_every_s(self) -> float:
        if self.list_every_s is not None:
            return self.list_every_s
        return 3600.0 if self.queue else 0.0

    def takes(self, key: str) -> bool:
        """Whether an object is an upload of this trigger; our own records never are."""
        if not key.startswith(self.prefix) or key.startswith(RECORDS_DIR):
            return False
        extension = posixpath.splitext(key)[1].lower().removeprefix(".")
        return "*" in self.formats or extension in self.formats


class Place(Facts):
    """Bucket and dir of outputs."""

    bucket: str = Field("", description="Empty = the source's bucket.")
    dir: str = Field(
        "",
        description="Empty = the upload's own directory. May hold {inputName}, {inputFormat}, {inputDir} of the upload.",
    )

    @field_validator("bucket")
    @classmethod
    def _known_form(cls, bucket: str) -> str:
        return check_bucket_name(bucket) if bucket else bucket


class Task(Facts):
    """One or more outputs of one task type, all templates resolved. Written to and read from run config as JSON."""

    name: Name = Field(description="Given by its place under `tasks`.")
    type: str = Field(description="A task type: transcode, image_sprite …")
    source: str = Field(
        UPLOAD, description="`source` (the upload), or `task/output`: the output that this task works on."
    )
    output: Place = Field(Place(), description="Where its outputs go, if not to the workflow's place.")
    outputs: tuple[dict[str, Any], ...] = Field(
        min_length=1, max_length=100, description="Specs of the task's type; each output is a subtask."
    )

    @field_validator("name")
    @classmethod
    def _is_no_upload(cls, name: str) -> str:
        if name == UPLOAD:
            raise ValueError(f"no task can be called {UPLOAD!r}: that is the upload itself")
        return name

    @field_validator("type")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name not in TASKS:
            raise ValueError(f"there is no task type {name!r}; there are {', '.join(TASKS)}")
        return name

    @model_validator(mode="after")
    def _labels_are_unique(self) -> Task:
        labels = [spec.label for spec in self.specs]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two outputs are called {label!r}; give each a name of its own")
        return self

    @cached_property
    def specs(self) -> tuple[Spec, ...]:
        """The outputs, validated."""
        return tuple(TASKS[self.type].spec.model_validate(output) for output in self.outputs)

    @cached_property
    def revision(self) -> str:
        """Changes with the task: its specs, their templates, the place of its outputs."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def upstream(self) -> str:
        """The task whose output is this one's source; `source` for the upload."""
        return self.source.split("/")[0]

    @property
    def is_gate(self) -> bool:
        """Whether the tasks on the same source wait until this one has succeeded."""
        return any(spec.is_gate for spec in self.specs)

    def place(self, source: Source) -> Place:
        """The place of this task's outputs of `source`, with all defaults filled in."""
        stem, extension = posixpath.splitext(posixpath.basename(source.upload))
        values = {"inputName": stem, "inputFormat": extension[1:]}
        above = {**values, "inputDir": posixpath.dirname(source.upload)}
        parts = (self.output.dir or "{inputDir}").split("/")
        folder = "/".join(
            fill(part, above) if "{inputDir}" in part else fill_within(part, values, MAX_NAME_BYTES) for part in parts
        )
        return Place(bucket=self.output.bucket or source.bucket, dir=f"/{key_prefix(folder)}")

    def names(self, spec: Spec, source: Source) -> OutputNames:
        stem, extension = posixpath.splitext(posixpath.basename(source.key))
        place = self.place(source)
        return OutputNames(
            input_name=stem,
            input_format=extension.removeprefix("."),
            output_dir=key_prefix(place.dir),
            definition=str(spec.definition or spec.name or 0),
            key_bytes=max_key_bytes(spec.output_bucket or place.bucket),
            number_bytes=spec.object_number_format.max_bytes,
        )

    def paths(self, spec: Spec, source: Source) -> dict[str, str]:
        """The paths of an output, by parameter, as MPS shows them: `{number}` stays in, the extension is left out."""
        names, paths = self.names(spec, source), dict[str, str]()
        for name, pattern in _patterns(self, spec).items():
            # The plan reports a path that is not possible.
            with suppress(InvalidConfiguration):
                paths[name] = f"/{posixpath.splitext(names.key(pattern, format=spec.extension(name)))[0]}"
        return paths


_CRON = re.compile(r"\S+ \S+ (L|[^ LW]+) \S+ ([^ ,L]+#\d|[^ #L]+)", re.IGNORECASE)
"""The part of CronSim's syntax that Dagster accepts: five fields, a single last day of the month (L) or nth weekday (1#2)."""


class Backfill(Facts):
    """When a workflow processes uploads whose outputs are missing, failed or out of date."""

    cron: str = Field(description="When to look: minute, hour, day of month, month, day of week.")
    timezone: str = Field("UTC", description="IANA name.")
    max_sources: int = Field(1000, ge=1, le=100_000, description="At most so many a time; the next time goes on.")

    @field_validator("cron")
    @classmethod
    def _is_valid(cls, cron: str) -> str:
        if not _is_cron(cron):
            raise ValueError('this is no cron expression; an example: "0 3 * * *" is every night at three')
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            # OSError: a folder of time zones, such as Europe.
            raise ValueError("this is no time zone; an example: Europe/Berlin") from error
        return name


def _is_cron(text: str) -> bool:
    fields = text.split()
    try:
        CronSim(text, datetime.now(UTC))
        # Also without the weekday: Dagster refuses a day of the month that never comes.
        CronSim(" ".join([*fields[:4], "*"]), datetime.now(UTC))
    except CronSimError:
        return False
    return bool(_CRON.fullmatch(" ".join(fields)))


class Workflow(Facts):
    """What an admin configures. One YAML file, one Dagster job, and a sensor that switches it on and off."""

    name: Name = Field(description="Unique; also the name of the Dagster job. Letters, digits, underscores.")
    id: int | None = Field(None, ge=1, description="MPS's WorkflowId, of workflows that were made through the API.")
    title: str = Field("", max_length=128, description="MPS's WorkflowName; any characters.")
    description: str = Field("", description="Shown in the UI.")
    enabled: bool = Field(True, description="Whether uploads trigger it. It can be run by hand all the same.")
    enabled_at: datetime | None = Field(None, description="UTC; what was uploaded before does not trigger it.")
    created: datetime | None = Field(None, description="UTC; written by the API, as is `updated`.")
    updated: datetime | None = Field(None, description="UTC.")
    trigger: Trigger = Field(description="Which uploads start it.")
    output: Place = Field(Place(), description="Where outputs go; by default beside the upload.")
    notify: tuple[SinkConfig, ...] = Field((), description="Who gets an event when a run ends.")
    priority: int = Field(0, ge=-10, le=10, description="Higher runs are dequeued first.")
    backfill: Backfill | None = Field(None, description="Empty = only by hand, with `mps backfill`.")
    tasks: dict[Name, Task] = Field(min_length=1, description="By name; each is a Dagster asset.")

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in OUR_JOBS or name.endswith(by_hand_name("")):
            raise ValueError(f"{name!r} is kept for a job of our own; choose another name")
        return name

    @property
    def revision(self) -> str:
        """Changes when any task does."""
        return hashlib.sha256("".join(task.revision for task in self.tasks.values()).encode()).hexdigest()[:12]

    @property
    def upstream_first(self) -> list[Task]:
        """The tasks, each after the one whose output is its source."""
        ordered: list[Task] = []
        while len(ordered) < len(self.tasks):
            ready = {UPLOAD, *(task.name for task in ordered)}
            ordered += [
                task for task in self.tasks.values() if task not in ordered and predecessor(task, self.tasks) in ready
            ]
        return ordered

    @property
    def written_buckets(self) -> set[str]:
        """The buckets of all outputs."""
        return {
            spec.output_bucket or task.output.bucket or self.trigger.bucket
            for task in self.tasks.values()
            for spec in task.specs
        }

    def takes(self, key: str, modified: datetime) -> bool:
        """Whether an upload belongs to the workflow, by place, format and time."""
        since = self.enabled_at and self.enabled_at.replace(tzinfo=self.enabled_at.tzinfo or UTC)
        return self.trigger.takes(key) and (since is None or modified >= since)

    @model_validator(mode="after")
    def _tasks_fit_together(self) -> Workflow:
        _check_sources(self.tasks)
        check_paths(self.tasks)
        return self


def predecessor(task: Task, tasks: Mapping[str, Task]) -> str:
    """The task that has to succeed before this one, or `source`: its upstream, or an inspection that its source must pass.

    Several such inspections of one source come one after another.
    """
    gates = [other.name for other in tasks.values() if other.is_gate and other.source == task.source]
    before = gates[: gates.index(task.name)] if task.name in gates else gates
    return before[-1] if before else task.upstream


def derived_id(name: str) -> int:
    """A WorkflowId for a workflow that an admin wrote: a hash of its name, above all IDs that the API assigns."""
    return 2**40 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])


def key_prefix(folder: str) -> str:
    """`/in/2026/`, `in/2026` → `in/2026/`; `/` and nothing → nothing."""
    stripped = folder.strip("/")
    return f"{stripped}/" if stripped else ""


def _check_sources(tasks: dict[str, Task]) -> None:
    """Raise ValueError unless every `source` is an output that is one file, and no task depends on itself."""
    for name, task in tasks.items():
        seen = [name]
        while task.source != UPLOAD:
            upstream = task.upstream
            if upstream in seen:
                raise ValueError(f"tasks wait for one another in a circle: {' -> '.join([*seen, upstream])}")
            if upstream not in tasks:
                raise ValueError(f"task {seen[-1]!r} has source {task.source!r}; there is no task {upstream!r}")
            _check_output(seen[-1], task.source, tasks[upstream])
            seen.append(upstream)
            task = tasks[upstream]  # noqa: PLW2901


def _check_output(name: str, source: str, upstream: Task) -> None:
    labels = [spec.label for spec in upstream.specs]
    _, _, label = source.partition("/")
    if label and label not in labels:
        raise ValueError(f"task {name!r} has source {source!r}; {upstream.name!r} has the outputs {', '.join(labels)}")
    if not label and len(labels) > 1:
        raise ValueError(f"task {name!r} has source {source!r}, which has several outputs; write {source}/{labels[0]}")
    spec = upstream.specs[labels.index(label) if label else 0]
    if not spec.is_media_file:
        raise ValueError(f"task {name!r} has source {source!r}, which is not one video or audio file")


def check_paths(tasks: dict[str, Task]) -> None:
    """Raise ValueError if two outputs have the same path, with its variables not filled in."""
    owners: dict[tuple[str, str], str] = {}
    for task in tasks.values():
        for spec in task.specs:
            owner = f"{task.name}/{spec.label}"
            for path in _paths(task, spec):
                other = owners.setdefault((spec.output_bucket or task.output.bucket, path), owner)
                if other != owner:
                    raise ValueError(
                        f"outputs {other} and {owner} would both be written to {path!r}; set output_object_path on one"
                    )


def _paths(task: Task, spec: Spec) -> list[str]:
    names = OutputNames(
        input_name="{inputName}" if task.source == UPLOAD else f"{{{task.source}}}",
        input_format="{inputFormat}",
        output_dir=key_prefix(task.output.dir) if task.output.dir else "{inputDir}/",
        definition=str(spec.definition or spec.name or 0),
    )
    return [names.key(pattern, format=spec.extension(name)) for name, pattern in _patterns(task, spec).items()]


def _patterns(task: Task, spec: Spec) -> dict[str, str]:
    """The path patterns of an output by parameter; those of segments and indexes only if set."""
    patterns = {"output_object_path": spec.output_object_path or TASKS[task.type].default_path}
    others = {name: getattr(spec, name) for name in TASKS[task.type].paths}
    return patterns | {name: pattern for name, pattern in others.items() if pattern}
