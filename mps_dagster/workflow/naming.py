"""Names by which Dagster knows uploads, workflows and their parts: written and parsed here.

Dagster has one set of names for jobs, graphs and ops, and people call their workflows as they like. So names of a
workflow's parts hold two underscores in a row, which no job's name does, and definitions of our own begin with one (`ours`).
"""

from __future__ import annotations

import hashlib
import keyword
import re
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import unquote

from mps_dagster.storage.bucket import ObjectInfo

WORKFLOW, SCHEDULE = "w", "s"
"""What the names of MPS's workflows and of its schedules (orchestrations) begin with; both are workflows here."""
_REFUSED = re.compile(r"%|[\x00-\x1f\x7f]|(?<=\.\.)\.")
"""What Dagster refuses in a partition key (control characters, three dots in a row), and the escape itself."""

PROCESS_MEDIA, BACKFILL, RETENTION = "process_media", "backfill", "retention"
OUR_JOBS = frozenset({PROCESS_MEDIA, BACKFILL, RETENTION})
"""A workflow is a job of its name, beside these and the by-hand jobs of MPS's schedules."""

_RESERVED = frozenset(keyword.kwlist) | {
    "context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict", "int", "str", "float",
    "bool", "input", "output", "type",
}  # fmt: skip
"""What Dagster takes for no name of a job."""


def is_schedule(workflow: str) -> bool:
    """Whether a workflow, by its name, was made as one of MPS's schedules."""
    return re.fullmatch(rf"{SCHEDULE}[0-9]+", workflow) is not None


def job_name(workflow: str) -> str:
    """The job of a workflow: called as the workflow itself, where Dagster takes that and it cannot be a name of a part."""
    is_free = "__" not in workflow and workflow not in _RESERVED
    return workflow if is_free else f"_{workflow.replace('_', '_u')}"


def node_name(workflow: str, part: str) -> str:
    """The source or a task of a workflow, in its job: a task's name begins with a letter, a job's holds no `__`."""
    return f"{job_name(workflow)}__{part}"


def ours(name: str) -> str:
    """The definition of an op or a graph that we bring; in jobs and their run config it is called `name`."""
    return f"_{name}"


@dataclass(frozen=True, slots=True)
class StepKey:
    """The key of a step: `vod__web.subtask[0_100030]`, or `vod__source`."""

    graph: str
    """A task's node in a workflow, or its slot in `process_media`; nothing for a source."""
    op: str
    """`subtask`, `break_down`, `assemble`; for a source `source` or `vod__source`."""
    member: str = ""
    """Of the steps that there are many of."""

    @classmethod
    def parse(cls, text: str) -> StepKey:
        path, _, member = text.partition("[")
        graph, _, op = path.rpartition(".")
        return cls(graph, op, member.removesuffix("]"))

    def __str__(self) -> str:
        path = f"{self.graph}.{self.op}" if self.graph else self.op
        return f"{path}[{self.member}]" if self.member else path

    def task(self, workflow: str) -> str:
        """The task of the workflow that it is a step of; of `process_media` the slot."""
        # The second is in records of an earlier version, which called all jobs as their workflows.
        prefixes = (node_name(workflow, ""), f"{workflow}__")
        return next(
            (self.graph.removeprefix(prefix) for prefix in prefixes if self.graph.startswith(prefix)), self.graph
        )


def partition_key(object_key: str) -> str:
    """The object key, with only what Dagster refuses percent-encoded."""
    return _REFUSED.sub(lambda match: f"%{ord(match[0]):02X}", object_key)


def object_key(partition: str) -> str:
    return unquote(partition)


def run_key(bucket: str, upload: ObjectInfo) -> str:
    """What makes an upload one upload: place, content and time. `upload` as `head` returns it: a listing may have another time."""
    # In whole seconds, as HTTP has it. A folder's etag has the time in it; what it says of changes is also of rights and links.
    time = int(upload.modified.timestamp()) if "://" in bucket else 0
    place = f"{bucket}\n{upload.key}\n{upload.etag}\n{time}"
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def sensor_name(workflow: str) -> str:
    return f"{workflow}_uploads"


def bad_file_name(path: PurePath) -> str:
    """The sensor that shows what is wrong with a file; with a hash where Dagster does not take the file's own name."""
    name = f"{path.parent.name}_{path.stem}"
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if plain != name:
        # The underscore before it: else another file might be called just so.
        plain = f"_{plain}_{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    return f"{plain}_is_not_valid"


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
    """Name of the partition set that remembers which (key, etag) got a run; it outlives the runs."""
    return f"{workflow}_requested"
