"""Templates: named parameters for an output. MPS's system presets ship here; an admin's own lie in `templates/`."""

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
"""What a template can be for. `watermark_template` holds one watermark, for `watermark_set`."""


class Template(Facts):
    definition: int = Field(gt=0, description="ID; an admin's template replaces the preset of the same ID.")
    name: str = Field(min_length=1, max_length=64, description="What outputs may name it by, too.")
    comment: str = Field("", max_length=256, description="Shown by the API.")
    parameters: dict[str, Any] = Field(description="Fields of the task type's outputs (or of a watermark).")
    created: datetime | None = Field(None, description="UTC; written by the API, as are the next two.")
    updated: datetime | None = Field(None, description="UTC.")
    owner: str = Field("", description="Whose API key created it; nobody else sees it there.")


class TemplateFile(Facts):
    """One YAML file: templates of one kind."""

    kind: str = Field(pattern=f"^({'|'.join(KINDS)})$", description="Task type, or watermark_template.")
    templates: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file of the project that is not what it should be, and why."""

    path: Path
    problem: str
    text: str = field(default="", repr=False)

    def may_hold(self, template: int | str) -> bool:
        """Whether it says something of a template, by ID or name, as far as can be read."""
        value = re.escape(str(template))
        return re.search(rf"\b(definition|name)\b\W{{1,4}}{value}\b", self.text) is not None


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Found by kind and by ID or name. An admin's template stands in for a preset of the same ID."""

    by_name: Mapping[tuple[str, int | str], Template]
    bad: tuple[BadFile, ...] = ()

    @classmethod
    def load(cls, own: Path | None = None) -> Templates:
        """The presets and the `*.yaml` of a folder: the same object as before unless one of its files has changed."""
        return _templates(yaml_files(own) if own else ())

    def get(self, kind: str, definition: int | str) -> Template:
        # Not the preset in its place, which would make something else in silence.
        holder = next((file for file in self.bad if file.may_hold(definition)), None)
        if holder:
            raise InvalidConfiguration(f"template {definition!r} is in {holder.path.name}, which is not valid")
        try:
            return self.by_name[kind, definition]
        except (KeyError, TypeError):
            # A TypeError is a list or a mapping where an ID should be.
            # Whose names are somebody's own is not for everybody.
            known = {str(key): found for (of, key), found in self.by_name.items() if of == kind and not found.owner}
            near = (known[key] for key in get_close_matches(str(definition), known))
            names = dict.fromkeys(f"{template.definition} ({template.name})" for template in near)
            raise DefinitionNotExist(
                f"there is no {kind} template {definition!r}",
                hint=f"close to it: {', '.join(names) or 'none'}; `mps templates` lists all",
            ) from None

    def resolve(self, kind: str, output: Mapping[str, Any]) -> dict[str, Any]:
        """An output as written (a template's ID and what differs from it) as the parameters of its Spec."""
        wanted = dict(output)
        raw, override = wanted.pop("raw_parameter", None), wanted.pop("override_parameter", None)
        definition = wanted.pop("definition", 0)
        for name, given in (("raw_parameter", raw), ("override_parameter", override)):
            if not isinstance(given or {}, Mapping):
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
        resolved = merged(merged(merged(resolved, raw or {}), override or {}), wanted)
        if isinstance(marks := resolved.get("watermark_set"), list):
            resolved["watermark_set"] = [
                self.resolve("watermark_template", mark) if isinstance(mark, Mapping) else mark for mark in marks
            ]
        return resolved


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, mapping by mapping; lists are replaced whole."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
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
    found: dict[tuple[str, int | str], Template] = {}
    for file in files:
        for template in file.templates:
            found[file.kind, template.definition] = template
            # A stranger must not redirect who names a template of the house.
            if not template.owner or (file.kind, template.name) not in found:
                found[file.kind, template.name] = template
    return Templates(found, tuple(bad))


@cache
def _presets() -> tuple[TemplateFile, ...]:
    """Read once: they come with the program."""
    folder = resources.files("mps_dagster.workflow").joinpath("presets")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    # The parser in C takes 0.015 s in place of 0.1; its errors are worse, and there are none in these files.
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
