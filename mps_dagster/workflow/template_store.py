"""Templates that are made while the service runs: each is a YAML file in `templates/`, just as an admin would write it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.templates import Template, Templates

FIRST = 200_001
"""Below it are MPS's presets and what people number by hand."""
LAST = ".last_definition"
_LOCK = threading.Lock()


class TemplateStore:
    """Writes one file per template, whole or not at all. IDs are never used twice, also not after a template is deleted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> Templates:
        return Templates.load(self._folder)

    def create(self, kind: str, name: str, comment: str, parameters: Mapping[str, Any]) -> Template:
        with _LOCK:
            definition = self._next()
            made = _now()
            template = Template(
                definition=definition, name=name or str(definition), comment=comment, parameters=dict(parameters),
                created=made, updated=made,
            )  # fmt: skip
            self._write(kind, template)
            return template

    def replace(self, kind: str, template: Template) -> None:
        with _LOCK:
            self._write(kind, template.model_copy(update={"updated": _now()}))

    def delete(self, kind: str, definition: int) -> None:
        with _LOCK:
            self._path(kind, definition).unlink()
            for image in self._folder.glob(f"{self._path(kind, definition).stem}.*"):
                image.unlink()

    def owns(self, kind: str, definition: int) -> bool:
        """Whether the template is one of these files, and not a preset or part of an admin's file."""
        return self._path(kind, definition).is_file()

    def put_image(self, definition: int, content: bytes, extension: str) -> str:
        """Keep a watermark's picture beside its template; the name by which a template refers to it."""
        name = f"watermark_template_{definition}.{extension}"
        write_whole(self._folder / name, content)
        return name

    def _next(self) -> int:
        counter = self._folder / LAST
        last = int(counter.read_text()) if counter.exists() else FIRST - 1
        known = [template.definition for template in self.load().by_name.values()]
        definition = max([last, FIRST - 1, *known]) + 1
        write_whole(counter, str(definition).encode())
        return definition

    def _write(self, kind: str, template: Template) -> None:
        document = {"kind": kind, "templates": [template.model_dump(mode="json", exclude_defaults=True)]}
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        write_whole(self._path(kind, template.definition), text.encode())

    def _path(self, kind: str, definition: int) -> Path:
        return self._folder / f"{kind}_{definition}.yaml"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
