"""Templates that are made while the service runs: each is a YAML file in `templates/`, just as an admin would write it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.templates import Template, Templates, merged, parse_file

FIRST = 200_001
"""Below it are MPS's presets and what people number by hand."""
LAST = ".last_definition"
CHANGING = threading.RLock()
"""Held from reading what stands to writing what follows from it."""


class TemplateStore:
    """Writes one file per template, whole or not at all. IDs are never used twice, also not after a template is deleted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> Templates:
        return Templates.load(self._folder)

    def find(self, kind: str, definition: int) -> Template | None:
        """One of these files; no preset, nothing of an admin's file, and none that somebody broke."""
        path = self._path(kind, definition)
        try:
            return next(iter(parse_file(path.name, path.read_bytes()).templates), None)
        except (FileNotFoundError, InvalidConfiguration):
            return None

    def create(
        self, kind: str, labels: Mapping[str, str], parameters: Mapping[str, Any], image: bytes | None
    ) -> Template:
        """Under an ID of its own; without a name among its labels (comment, owner), it is called by that."""
        with CHANGING:
            definition = self._next()
            named = {**labels, "name": labels.get("name") or str(definition)}
            template = Template(definition=definition, created=_now(), parameters=dict(parameters), **named)
            return self.replace(kind, template, image)

    def replace(self, kind: str, template: Template, image: bytes | None = None) -> Template:
        with CHANGING:
            if image is not None:
                # There before anybody is told of it.
                content = {"image_content": self._put_image(template.definition, image)}
                changed = merged(template.parameters, {"image_template": content})
                template = template.model_copy(update={"parameters": changed})
            template = template.model_copy(update={"updated": _now()})
            document = {"kind": kind, "templates": [template.model_dump(mode="json", exclude_defaults=True)]}
            text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
            write_whole(self._path(kind, template.definition), text.encode())
            return template

    def delete(self, kind: str, definition: int) -> None:
        with CHANGING:
            self._path(kind, definition).unlink(missing_ok=True)
            # Earlier ones, too: a run that began before the last change works with what it planned with.
            for image in self._folder.glob(f"watermark_template_{definition}_*"):
                image.unlink(missing_ok=True)

    def _put_image(self, definition: int, content: bytes) -> str:
        extension = "png" if content.startswith(b"\x89PNG") else "jpg"
        name = f"watermark_template_{definition}_{hashlib.sha256(content).hexdigest()[:12]}.{extension}"
        write_whole(self._folder / name, content)
        return name

    def _next(self) -> int:
        counter = self._folder / LAST
        last = int(counter.read_text()) if counter.exists() else FIRST - 1
        known = [template.definition for template in self.load().by_name.values()]
        definition = max([last, FIRST - 1, *known]) + 1
        write_whole(counter, str(definition).encode())
        return definition

    def _path(self, kind: str, definition: int) -> Path:
        return self._folder / f"{kind}_{definition}.yaml"


def image_of(template: Template) -> str:
    """The file of a watermark's picture; empty if it has none."""
    return str(template.parameters.get("image_template", {}).get("image_content", ""))


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
