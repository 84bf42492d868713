"""Workflows that are made while the service runs: each is a YAML file in `workflows/`, just as an admin would write it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.store import parse_workflow
from mps_dagster.workflow.templates import Templates

Document = dict[str, Any]
FIRST = 100_001
WORKFLOW, SCHEDULE = "w", "s"
"""What the names of MPS's workflows and of its schedules (orchestrations) begin with; both are workflows here."""


def is_schedule(workflow: str) -> bool:
    """Whether a workflow, by its name, was made as one of MPS's schedules."""
    return re.fullmatch(rf"{SCHEDULE}[0-9]+", workflow) is not None


class WorkflowFiles:
    """Writes one file per workflow, whole or not at all. IDs are never used twice, also not after a workflow is deleted."""

    def __init__(self, folder: Path, applied: Callable[[], None], prefix: str = WORKFLOW) -> None:
        """`applied` has Dagster read the files anew; if it raises, the files are as they were before."""
        self._folder = folder
        self._applied = applied
        self._prefix = prefix
        self._lock = threading.Lock()

    def documents(self) -> Iterator[Document]:
        """Every file of this kind as it is written; those that an admin wrote are workflows. What is no YAML is left out."""
        for path in sorted(self._folder.glob("*.yaml")):
            try:
                document = yaml.safe_load(path.read_text())
            except (OSError, UnicodeDecodeError, yaml.YAMLError):
                # `mps workflows validate` and a failing sensor tell of it.
                continue
            if isinstance(document, dict) and is_schedule(str(document.get("name"))) is (self._prefix == SCHEDULE):
                yield document

    def find(self, workflow_id: int) -> Document | None:
        """One of ours."""
        path = self._path(workflow_id)
        return yaml.safe_load(path.read_text()) if path.is_file() else None

    def create(self, document: Mapping[str, Any], templates: Templates) -> int:
        with self._lock:
            number = self._next()
            with self._replacing(number):
                self._write(number, {"name": f"{self._prefix}{number}", "id": number, **document}, templates)
            return number

    def replace(self, workflow_id: int, document: Mapping[str, Any], templates: Templates) -> None:
        with self._lock, self._replacing(workflow_id):
            self._write(workflow_id, document, templates)

    def delete(self, workflow_id: int) -> None:
        with self._lock, self._replacing(workflow_id):
            self._path(workflow_id).unlink()

    @contextmanager
    def _replacing(self, workflow_id: int) -> Iterator[None]:
        path = self._path(workflow_id)
        before = path.read_bytes() if path.exists() else None
        try:
            yield
            self._applied()
        except Exception:
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, before)
            raise

    def _write(self, workflow_id: int, document: Mapping[str, Any], templates: Templates) -> Workflow:
        text = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
        workflow = parse_workflow(text, templates, name=f"workflow {workflow_id}")
        write_whole(self._path(workflow_id), text.encode())
        return workflow

    def _next(self) -> int:
        counter = self._folder / f".last_{self._prefix}"
        last = int(counter.read_text()) if counter.exists() else FIRST - 1
        numbers = [document.get("id") or 0 for document in self.documents()]
        number = max([last, FIRST - 1, *numbers]) + 1
        write_whole(counter, str(number).encode())
        return number

    def _path(self, workflow_id: int) -> Path:
        if workflow_id < 1:
            raise InvalidConfiguration(f"{workflow_id} is no workflow")
        return self._folder / f"{self._prefix}{workflow_id}.yaml"
