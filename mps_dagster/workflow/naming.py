"""Dagster's names of uploads, workflows and their parts: formatted and parsed here.

Dagster has one namespace for jobs, graphs and ops, and users choose the names of workflows. So names of a workflow's parts
hold two underscores in a row, which no job's name does, and our own ops and graphs begin with one (`op_name`).
"""

from __future__ import annotations

import hashlib
import keyword
import re
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import unquote

from mps_dagster.ffmpeg.chunks import CHUNK
from mps_dagster.storage.bucket import ObjectInfo

WORKFLOW, SCHEDULE = "w", "s"
"""Prefixes of the names of workflows and schedules (orchestrations) made through the API; both are workflows here."""
_REFUSED = re.compile(r"%|[\x00-\x1f\x7f]|(?<=\.\.)\.")
"""Characters that Dagster refuses in a partition key (control characters, three dots in a row), and the escape itself."""

PROCESS_MEDIA, BACKFILL, RETENTION, DAILY_USAGE = "process_media", "backfill", "retention", "daily_usage"
OUR_JOBS = frozenset({PROCESS_MEDIA, BACKFILL, RETENTION, DAILY_USAGE})
"""Our own jobs besides those of workflows and the by-hand jobs of MPS's schedules."""

PART, WHOLE = "p", "w"
"""Prefixes of the mapping keys of parts, and of the outputs that they go into; those of other subtasks begin with a digit."""

_RESERVED = frozenset(keyword.kwlist) | {
    "context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict", "int", "str", "float",
    "bool", "input", "output", "type",
}  # fmt: skip
"""Names that Dagster refuses for a job."""


def is_schedule(workflow: str) -> bool:
    """Whether a workflow was created as one of MPS's schedules."""
    return re.fullmatch(rf"{SCHEDULE}[0-9]+", workflow) is not None


def job_name(workflow: str) -> str:
    """The job of a workflow: the workflow's own name, unless Dagster refuses it or it might be a part's name."""
    is_valid = "__" not in workflow and workflow not in _RESERVED
    return workflow if is_valid else f"_{workflow.replace('_', '_u')}"


def node_name(workflow: str, part: str) -> str:
    """The source or a task in a workflow's job. Unique, as a task's name begins with a letter and a job's holds no `__`."""
    return f"{job_name(workflow)}__{part}"


def op_name(name: str) -> str:
    """The name of an op or graph of our own; jobs and their run config call it `name`."""
    return f"_{name}"


@dataclass(frozen=True, slots=True)
class StepKey:
    """The key of a step: `vod__web.subtask[0_100030]`, or `vod__source`."""

    graph: str
    """A task's node in a workflow, or its slot in `process_media`; empty for a source."""
    op: str
    """`subtask`, `break_down`, `assemble`; for a source `source` or `vod__source`."""
    member: str = ""
    """The mapping key of a subtask."""

    @classmethod
    def parse(cls, text: str) -> StepKey:
        path, _, member = text.partition("[")
        graph, _, op = path.rpartition(".")
        return cls(graph, op, member.removesuffix("]"))

    def __str__(self) -> str:
        path = f"{self.graph}.{self.op}" if self.graph else self.op
        return f"{path}[{self.member}]" if self.member else path

    @property
    def is_part(self) -> bool:
        return self.member.startswith(PART)

    @property
    def is_chunk(self) -> bool:
        return self.is_part and f"_{CHUNK}" in self.member

    @property
    def has_parts(self) -> bool:
        """Whether the subtask comes after all parts of its task."""
        return self.member.startswith(WHOLE)

    def task(self, workflow: str) -> str:
        """The step's task in the workflow, or its slot in `process_media`."""
        # The second prefix is in records of an earlier version, whose jobs all had their workflow's name.
        prefixes = (node_name(workflow, ""), f"{workflow}__")
        return next(
            (self.graph.removeprefix(prefix) for prefix in prefixes if self.graph.startswith(prefix)), self.graph
        )


def partition_key(object_key: str) -> str:
    """The object key, with characters that Dagster refuses percent-encoded."""
    return _REFUSED.sub(lambda match: f"%{ord(match[0]):02X}", object_key)


def object_key(partition: str) -> str:
    return unquote(partition)


def run_key(workflow: str, bucket: str, upload: ObjectInfo) -> str:
    """Identifies the run of a workflow on an upload: Dagster gives a run key one run of a sensor, which serves all workflows
    of a bucket."""
    return f"{workflow}:{upload_id(bucket, upload)}"


def upload_id(bucket: str, upload: ObjectInfo) -> str:
    """Identifies an upload by place, content and time. `upload` must come from `head`: a listing may have another time."""
    # In whole seconds, as in HTTP. A local etag includes the time of modification, while the time here changes with rights.
    time = int(upload.modified.timestamp()) if "://" in bucket else 0
    place = f"{bucket}\n{upload.key}\n{upload.etag}\n{time}"
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:40]


DELIVERY = "deliver_notifications"
"""The sensor that sends events."""


def notify_name(status: str) -> str:
    """The sensor that adds the events of runs that end with a status of Dagster's."""
    return f"notify_{status.lower()}"


def switch_name(workflow: str) -> str:
    """The sensor that switches a workflow on and off."""
    return f"{workflow}_uploads"


def sensor_name(bucket: str) -> str:
    """The sensor that looks for uploads to a bucket: `uploads_inbox`, `uploads_s3_media`."""
    return f"uploads_{_as_name(bucket.replace('://', '_', 1), bucket)}"


def bad_file_name(path: PurePath) -> str:
    """The sensor that shows the problem of a file; with a hash if Dagster refuses the file's own name."""
    name = f"{path.parent.name}_{path.stem}"
    plain = _as_name(name, name)
    # The underscore: else another file might have this very name.
    return f"{'' if plain == name else '_'}{plain}_is_not_valid"


def _as_name(text: str, whole: str) -> str:
    """The text if Dagster accepts it as a name; else what it accepts of it, with a hash of the whole."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return (
        plain
        if plain == text
        else f"{plain}_{hashlib.sha256(whole.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    )


def backfill_name(workflow: str) -> str:
    """The schedule of a workflow's backfills."""
    return f"{workflow}_backfill"


def by_hand_name(schedule: str) -> str:
    """The job that runs a schedule on an object of any bucket."""
    return f"{schedule}_by_hand"


def uploads_name(workflow: str) -> str:
    """The partition set of a workflow's sources."""
    return f"{workflow}_uploads"


def requested_name(workflow: str) -> str:
    """The partition set of the run keys that got a run; it outlives the runs."""
    return f"{workflow}_requested"
