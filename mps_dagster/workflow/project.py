"""A snapshot of a project's configuration. A bad file is part of it, and does not affect the others."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from mps_dagster.errors import InvalidConfiguration, MpsError
from mps_dagster.settings import Settings
from mps_dagster.workflow.files import FileState, yaml_files
from mps_dagster.workflow.model import Workflow, derived_id
from mps_dagster.workflow.naming import SCHEDULE, WORKFLOW
from mps_dagster.workflow.parse import Document, parse_document, read_document
from mps_dagster.workflow.templates import BadFile, Templates

_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """A file's document and the workflow that it describes."""

    path: Path
    document: Document
    workflow: Workflow

    @property
    def number(self) -> int:
        """MPS's ID: that of the API, or one derived from the name if an admin wrote or copied the file."""
        workflow, prefixes = self.workflow, (WORKFLOW, SCHEDULE)
        ours = self.path.stem == workflow.name and workflow.name in [f"{prefix}{workflow.id}" for prefix in prefixes]
        return workflow.id if workflow.id and ours else derived_id(workflow.name)


@dataclass(frozen=True)
class Project:
    """A snapshot of the files of workflows (schedules, too) and templates. Immutable, so threads may share it."""

    templates: Templates
    files: tuple[WorkflowFile, ...]
    """Files with a valid workflow, sorted by name."""
    bad: tuple[BadFile, ...]
    """Invalid files, also of templates."""
    documents: Mapping[Path, Document]
    """The content of each workflow file that is YAML, valid or not."""

    @classmethod
    def load(cls, settings: Settings) -> Project:
        """The current files; the same object as before unless one of them has changed."""
        with _LOADING:
            return _project(yaml_files(settings.workflows_dir), Templates.load(settings.templates_dir))

    @property
    def workflows(self) -> tuple[Workflow, ...]:
        return tuple(file.workflow for file in self.files)

    @cached_property
    def by_name(self) -> dict[str, Workflow]:
        return {workflow.name: workflow for workflow in self.workflows}


@lru_cache(maxsize=4)
def _project(files: tuple[FileState, ...], templates: Templates) -> Project:
    documents: dict[Path, Document] = {}
    good: list[WorkflowFile] = []
    bad = [*templates.bad]
    for file in files:
        path = file.path
        try:
            documents[path] = document = _document(file)
            workflow = _workflow(file, templates)
            check_unique(workflow, [file.workflow for file in good], path.name)
        except (MpsError, OSError) as error:
            bad.append(BadFile(path, str(error)))
        else:
            good.append(WorkflowFile(path, document, workflow))
    return Project(templates, tuple(good), tuple(bad), documents)


@lru_cache(maxsize=1024)
def _document(file: FileState) -> Document:
    return read_document(file.path.read_bytes(), file.path.name)


@lru_cache(maxsize=1024)
def _workflow(file: FileState, templates: Templates) -> Workflow:
    return parse_document(_document(file), templates, file.path.name)


def check_unique(workflow: Workflow, others: Iterable[Workflow], file: str) -> None:
    """Raise `InvalidConfiguration` if another workflow has the same name or queue."""
    for other in others:
        if workflow.name == other.name:
            raise InvalidConfiguration(f"{file}: name: another file already has a workflow {workflow.name!r}")
        queue = workflow.trigger.queue
        if _is_same_queue(queue, other.trigger.queue):
            raise InvalidConfiguration(
                f"{file}: trigger.queue: {queue} is read by workflow {other.name!r} already, and a message goes to one reader only",
                hint="let the bucket announce to an SNS topic with a queue for each workflow",
            )


def _is_same_queue(queue: str, other: str) -> bool:
    """Whether two names or URLs are the same queue, as far as they show it."""
    if "://" in queue and "://" in other:
        return queue == other
    return bool(queue) and queue.rpartition("/")[2] == other.rpartition("/")[2]
