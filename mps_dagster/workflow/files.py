"""Workflows that are made while the service runs: each is a YAML file in `workflows/`, just as an admin would write it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.frozen import Facts
from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.model import Place, Trigger, derived_id
from mps_dagster.workflow.store import WorkflowFile, check_beside, load_files, parse_document, read_document, validated
from mps_dagster.workflow.templates import Templates

Document = dict[str, Any]
FIRST = 100_001
MODE = 0o600
"""Of the files: under `notify` one may hold a callback's key."""
WORKFLOW, SCHEDULE = "w", "s"
"""What the names of MPS's workflows and of its schedules (orchestrations) begin with; both are workflows here."""


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


class WorkflowFiles:
    """Writes one file per workflow, whole or not at all. IDs are never used twice, also not after a workflow is deleted."""

    lock = threading.RLock()
    """To be held from reading to writing what was read. One for all: a queue has one reader among workflows and schedules."""

    def __init__(self, folder: Path, applied: Callable[[], None], prefix: str = WORKFLOW) -> None:
        """`applied` has Dagster read the files anew; if it raises, the files are as they were before."""
        self._folder = folder
        self._applied = applied
        self._prefix = prefix

    def beside(self, workflow_id: int | None) -> Iterator[Document]:
        """Every other file of this kind as it is written, valid or not. What is no YAML is left out."""
        own = self._path(workflow_id) if workflow_id else None
        for path in self._folder.glob("*.yaml"):
            try:
                document = read_document(path.read_bytes(), path.name)
            except (OSError, InvalidConfiguration):
                # `mps workflows validate` and a failing sensor tell of it.
                continue
            if path != own and self._is_of_this_kind(str(document.get("name"))):
                yield document

    def valid(self, templates: Templates) -> list[WorkflowFile]:
        """The files of this kind that hold a workflow, in file-name order; those that an admin wrote are workflows."""
        good, _ = load_files(self._folder, templates)
        return [file for file in good if self._is_of_this_kind(file.workflow.name)]

    def find(self, workflow_id: int) -> Document | None:
        """One of ours, with what may be left out filled in; `InvalidConfiguration` if it is no longer as we make them."""
        path = self._path(workflow_id)
        if not path.is_file():
            return None
        document = read_document(path.read_bytes(), path.name)
        named, found = (path.stem, workflow_id), (document.get("name"), document.get("id"))
        if found != named:
            raise InvalidConfiguration(
                f"{path.name}: name and id: they are {named} in a file of this name, not {found}"
            )
        outline = validated(Outline, document, path.name)
        return {**document, "enabled": outline.enabled, "output": outline.output.model_dump(exclude_defaults=True)}

    def create(self, document: Mapping[str, Any], templates: Templates) -> int:
        with self.lock:
            number = self._next()
            made = {"name": f"{self._prefix}{number}", "id": number, **document}
            self._check(number, made, templates)
            self.put(number, made)
            write_whole(self._counter, str(number).encode())
            return number

    def replace(self, workflow_id: int, document: Mapping[str, Any], templates: Templates) -> None:
        with self.lock:
            self._check(workflow_id, document, templates)
            self.put(workflow_id, document)

    def put(self, workflow_id: int, document: Mapping[str, Any]) -> None:
        """The same without a check: what is switched off need not be valid."""
        with self.lock, self._replacing(workflow_id) as path:
            write_whole(path, _text(document).encode(), MODE)

    def delete(self, workflow_id: int) -> None:
        with self.lock, self._replacing(workflow_id) as path:
            path.unlink()

    @contextmanager
    def _replacing(self, workflow_id: int) -> Iterator[Path]:
        path = self._path(workflow_id)
        before = path.read_bytes() if path.exists() else None
        try:
            yield path
            self._applied()
        except Exception:
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, before, MODE)
            raise

    def _check(self, workflow_id: int, document: Mapping[str, Any], templates: Templates) -> None:
        path = self._path(workflow_id)
        # As it will be read.
        workflow = parse_document(read_document(_text(document), path.name), templates, path.name)
        others = [file.workflow for file in load_files(self._folder, templates)[0] if file.path != path]
        check_beside(workflow, others, path.name)

    def _next(self) -> int:
        last = int(self._counter.read_text()) if self._counter.exists() else FIRST - 1
        found = [re.fullmatch(rf"{self._prefix}([0-9]+)", path.stem) for path in self._folder.glob("*.yaml")]
        return max([last, FIRST - 1, *(int(match[1]) for match in found if match)]) + 1

    @property
    def _counter(self) -> Path:
        return self._folder / f".last_{self._prefix}"

    def _is_of_this_kind(self, workflow: str) -> bool:
        return is_schedule(workflow) is (self._prefix == SCHEDULE)

    def _path(self, workflow_id: int) -> Path:
        if workflow_id < 1:
            raise InvalidConfiguration(f"{workflow_id} is no workflow")
        return self._folder / f"{self._prefix}{workflow_id}.yaml"


def _text(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
