"""Templates: named parameters for an output. MPS's system presets ship here; a project's own are in `templates/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from mps_dagster.errors import DefinitionNotExist, InvalidConfiguration
from mps_dagster.frozen import Facts
from mps_dagster.tasks import TASKS, TEMPLATES
from mps_dagster.workflow.files import FileState, yaml_files

KINDS = tuple(dict.fromkeys([*TASKS, *TEMPLATES]))
"""Kinds of templates: task types, and `watermark_template`, which holds one watermark for `watermark_set`."""


class Template(Facts):
    definition: int = Field(gt=0, description="ID; an admin's template replaces the preset of the same ID.")
    name: str = Field(min_length=1, max_length=64, description="What outputs may name it by, too.")
    comment: str = Field("", max_length=256, description="Shown by the API.")
    parameters: dict[str, Any] = Field(description="Fields of the task type's outputs (or of a watermark).")
    created: datetime | None = Field(None, description="UTC; written by the API, as are the next two.")
    updated: datetime | None = Field(None, description="UTC.")
    owner: str = Field("", description="Account or ID of the API key that created it; only it sees the template there.")


class TemplateFile(Facts):
    """One YAML file: templates of one kind."""

    kind: str = Field(pattern=f"^({'|'.join(KINDS)})$", description="Task type, or watermark_template.")
    templates: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file of the project that is not valid, and why."""

    path: Path
    problem: str
    text: str = field(default="", repr=False)

    def may_define(self, template: int | str) -> bool:
        """Whether its text seems to define a template with this ID or name."""
        value = re.escape(str(template))
        return re.search(rf"\b(definition|name)\b\W{{1,4}}{value}\b", self.text) is not None


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Templates by kind and ID or name. A project's template replaces a preset of the same ID."""

    by_name: Mapping[tuple[str, int | str], Template]
    bad: tuple[BadFile, ...] = ()

    @classmethod
    def load(cls, own: Path | None = None) -> Templates:
        """The presets and the `*.yaml` of a folder; the same object as before unless a file has changed."""
        return _templates(yaml_files(own) if own else ())

    def get(self, kind: str, definition: int | str) -> Template:
        # Not the preset that it replaces: its output would silently be another one.
        bad = next((file for file in self.bad if file.may_define(definition)), None)
        if bad:
            raise InvalidConfiguration(f"template {definition!r} is in {bad.path.name}, which is not valid")
        try:
            return self.by_name[kind, definition]
        except (KeyError, TypeError):
            # TypeError: a list or a mapping instead of an ID. Templates of API keys are not suggested: they are private.
            known = {str(key): item for (of, key), item in self.by_name.items() if of == kind and not item.owner}
            near = (known[key] for key in get_close_matches(str(definition), known))
            names = dict.fromkeys(f"{template.definition} ({template.name})" for template in near)
            raise DefinitionNotExist(
                f"there is no {kind} template {definition!r}",
                hint=f"close to it: {', '.join(names) or 'none'}; `mps templates` lists all",
            ) from None

    def resolve(self, kind: str, output: Mapping[str, Any]) -> dict[str, Any]:
        """Convert an output as written (a template's ID and changes to it) to the parameters of its Spec."""
        own = dict(output)
        raw, override = own.pop("raw_parameter", None), own.pop("override_parameter", None)
        definition = own.pop("definition", 0)
        for name, value in (("raw_parameter", raw), ("override_parameter", override)):
            if not isinstance(value or {}, Mapping):
                raise InvalidConfiguration(f"{name}: it is a mapping")
        if raw and definition:
            raise InvalidConfiguration("raw_parameter is for definition 0; with a template use override_parameter")
        if override and not definition:
            raise InvalidConfiguration(
                "override_parameter needs a template (definition); without one use raw_parameter"
            )
        resolved: dict[str, Any] = {}
        if definition:
            template = self.get(kind, definition)
            resolved = {"definition": template.definition, **template.parameters}
        resolved = merge(merge(merge(resolved, raw or {}), override or {}), own)
        if isinstance(marks := resolved.get("watermark_set"), list):
            resolved["watermark_set"] = [
                self.resolve("watermark_template", mark) if isinstance(mark, Mapping) else mark for mark in marks
            ]
        return resolved


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Apply `changes` to `base`: mappings are merged, lists are replaced."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


@lru_cache(maxsize=8)
def _templates(own: tuple[FileState, ...]) -> Templates:
    files, bad = list(_presets()), list[BadFile]()
    for state in own:
        path = state.path
        try:
            files.append(_template_file(state))
        except InvalidConfiguration as error:
            bad.append(BadFile(path, str(error), path.read_text(errors="replace")))
        except OSError as error:
            bad.append(BadFile(path, str(error)))
    by_name: dict[tuple[str, int | str], Template] = {}
    for file in files:
        for template in file.templates:
            by_name[file.kind, template.definition] = template
            # A template of an API key must not replace a preset or an admin's template of the same name.
            if not template.owner or (file.kind, template.name) not in by_name:
                by_name[file.kind, template.name] = template
    return Templates(by_name, tuple(bad))


@cache
def _presets() -> tuple[TemplateFile, ...]:
    """Cached for ever, as they are part of the package."""
    folder = resources.files("mps_dagster.workflow").joinpath("presets")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    # The C parser takes 0.015 s instead of 0.1 s. Its worse error messages do not matter here.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    texts = (file.read_text() for file in files if file.name.endswith(".yaml"))
    documents = (yaml.load(text, loader) for text in texts)  # noqa: S506
    return tuple(TemplateFile.model_validate(document) for document in documents)


@lru_cache(maxsize=1024)
def _template_file(file: FileState) -> TemplateFile:
    try:
        return TemplateFile.model_validate(yaml.safe_load(file.path.read_bytes()))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidConfiguration(f"template file {file.path}: {error}") from error
