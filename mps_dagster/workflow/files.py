"""Changing a project's files while the service runs. What is written is what an admin would write."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict

from mps_dagster.frozen import Facts
from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.model import Place, Trigger, derived_id
from mps_dagster.workflow.project import WorkflowFile

LOCK = ".lock"
WORKFLOW, SCHEDULE = "w", "s"
"""What the names of MPS's workflows and of its schedules (orchestrations) begin with; both are workflows here."""


class Change:
    """Files that are changed together."""

    def __init__(self) -> None:
        self._before: dict[Path, tuple[bytes, int] | None] = {}

    def write(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Whole or not at all."""
        self._remember(path)
        write_whole(path, content, mode)

    def delete(self, path: Path) -> None:
        self._remember(path)
        path.unlink(missing_ok=True)

    def next_number(self, counter: Path, taken: Iterable[int]) -> int:
        """Above all that were ever given out, also to files that are deleted; `counter` keeps the last one."""
        last = [int(counter.read_text())] if counter.exists() else []
        number = max([*last, *taken]) + 1
        self.write(counter, str(number).encode())
        return number

    def undo(self) -> None:
        for path, before in self._before.items():
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, *before)

    def _remember(self, path: Path) -> None:
        if path not in self._before:
            self._before[path] = (path.read_bytes(), path.stat().st_mode & 0o777) if path.exists() else None


@contextmanager
def changing(folder: Path) -> Iterator[Change]:
    """One change of a folder at a time, of all threads and processes. If the block raises, all is as it was before."""
    folder.mkdir(parents=True, exist_ok=True)
    # Each file that is opened has a lock of its own, so that it holds between threads, too.
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        change = Change()
        try:
            yield change
        except BaseException:
            change.undo()
            raise


def as_yaml(document: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True).encode()


def is_schedule(workflow: str) -> bool:
    """Whether a workflow, by its name, was made as one of MPS's schedules."""
    return re.fullmatch(rf"{SCHEDULE}[0-9]+", workflow) is not None


def number_of(file: WorkflowFile) -> int:
    """MPS's ID of it. One that an admin wrote, or copied from one of ours, has an ID that is made of its name."""
    workflow = file.workflow
    ours = workflow.name in (f"{WORKFLOW}{workflow.id}", f"{SCHEDULE}{workflow.id}") and file.path.stem == workflow.name
    return workflow.id if workflow.id and ours else derived_id(workflow.name)


class _Part(Facts):
    model_config = ConfigDict(extra="ignore")


class _OutputOutline(_Part):
    output_bucket: str = ""


class _TaskOutline(_Part):
    output: Place = Place()
    outputs: tuple[_OutputOutline, ...] = ()


class Outline(_Part):
    """What a file says of its places, also if a template that it names is gone."""

    enabled: bool = True
    trigger: Trigger
    output: Place = Place()
    tasks: dict[str, _TaskOutline]

    @property
    def written(self) -> set[str]:
        """The buckets that its outputs go to."""
        inherited = self.output.bucket or self.trigger.bucket
        return {
            output.output_bucket or task.output.bucket or inherited
            for task in self.tasks.values()
            for output in task.outputs
        }
