"""The JSON schema of a workflow file, for editors: it completes the fields of each task type and marks misspelt ones.

It is made from the models. What only the models can check (contradictions, paths) stays with `mps workflows validate`.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import Spec, TaskType
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.templates import Template, Templates

SCHEMA_FILE = "workflow.schema.json"
"""In the project's folder."""
MODELINE = f"# yaml-language-server: $schema=../{SCHEMA_FILE}"
"""The first line of a workflow file, by which editors find the schema."""

Schema = dict[str, Any]


def schema_text() -> str:
    return json.dumps(workflow_schema(), indent=1, ensure_ascii=False) + "\n"


def workflow_schema() -> Schema:
    """Of draft 7, which editors support best."""
    models: list[type[BaseModel]] = [Workflow, Watermark, *(task.spec for task in TASKS.values())]
    # One call for all: models that several task types share are in it once.
    _, together = models_json_schema([(model, "validation") for model in models])
    parts: Schema = together["$defs"]
    root = parts.pop(Workflow.__name__)
    for model in models[1:]:
        _relax(parts, model.__name__)
    parts[Watermark.__name__] = _with_template(parts, Watermark.__name__, "watermark_template", required=())
    outputs = {name: _output(parts, task) for name, task in TASKS.items()}
    for task in TASKS.values():
        parts.pop(task.spec.__name__, None)
    schema = {**root, "$defs": {**parts, **outputs, "Task": _task(parts["Task"])}}
    schema["properties"]["tasks"]["additionalProperties"] = False
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_plain_references(schema)}


def summary(task: TaskType[Any]) -> str:
    """What a user gets, in a sentence or two: the beginning of the module's docstring."""
    text = inspect.cleandoc(sys.modules[task.spec.__module__].__doc__ or "")
    return " ".join(text.partition("\n\n")[0].split())


def presets(kind: str, known: Mapping[tuple[str, int | str], Template]) -> list[Template]:
    """The templates of a kind, without those of API keys, which are private."""
    return [
        template for (of, key), template in known.items() if of == kind and isinstance(key, int) and not template.owner
    ]


def _task(model: Schema) -> Schema:
    """A task as it is written: its name is its place, its type decides which fields its outputs have."""
    fields = {name: field for name, field in model["properties"].items() if name != "name"}
    kinds = [{"const": name, "description": summary(task)} for name, task in TASKS.items()]
    fields["type"] = {"description": "What the task does.", "type": "string", "oneOf": kinds}
    branches = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"properties": {"outputs": {"items": {"$ref": f"#/$defs/{name}"}}}},
        }
        for name in TASKS
    ]
    text = "One or more outputs of one task type."
    return {**model, "description": text, "properties": fields, "required": ["type", "outputs"], "allOf": branches}


def _output(parts: Schema, task: TaskType[Any]) -> Schema:
    required = [name for name, info in task.spec.model_fields.items() if info.is_required()]
    return {**_with_template(parts, task.spec.__name__, task.name, required=required), "description": summary(task)}


def _with_template(parts: Schema, model: str, kind: str, *, required: Iterable[str]) -> Schema:
    """An output or watermark as it is written: by a template and changes to it, or with all parameters."""
    own = parts[model]
    parameters = f"{model}Parameters"
    parts[parameters] = {
        **own,
        "properties": {k: v for k, v in own["properties"].items() if k not in Spec.model_fields},
    }
    reference = {"$ref": f"#/$defs/{parameters}"}
    fields = {
        **own["properties"],
        "definition": _definition(kind),
        "raw_parameter": {**reference, "description": "All parameters, without a template."},
        "override_parameter": {**reference, "description": "Changes to the template that `definition` names."},
    }
    schema = {**own, "properties": fields, "dependencies": {"override_parameter": ["definition"]}}
    if required := list(required):
        ways = (["definition"], ["raw_parameter"], required)
        schema["anyOf"] = [{"required": names} for names in ways]
    return schema


def _definition(kind: str) -> Schema:
    """The system presets are suggested; a project's own templates are accepted, too."""
    known = presets(kind, Templates.load().by_name)
    names = ", ".join(f"{template.definition} ({template.name})" for template in known)
    suggestions = [
        {"enum": [template.definition for template in known]},
        {"enum": [template.name for template in known]},
    ]
    return {
        "description": f"ID or name of a template{f': {names}' if names else ''}.",
        "anyOf": [*(suggestions if known else ()), {"type": "integer"}, {"type": "string"}],
    }


def _relax(parts: Schema, model: str) -> None:
    """Require nothing of a mapping inside an output: a template may have it. Items of lists are always written whole."""
    own = parts[model]
    own.pop("required", None)
    for field in own["properties"].values():
        for option in (field, *field.get("anyOf", ())):
            if "$ref" in option:
                _relax(parts, option["$ref"].rpartition("/")[2])


def _plain_references(value: Any) -> Any:
    """What stands beside a `$ref` is ignored by editors that follow draft 7 closely, so it gets one level of its own."""
    if isinstance(value, list):
        return [_plain_references(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain_references(item) for key, item in value.items()}
    if isinstance(plain.get("$ref"), str) and len(plain) > 1:
        return {"allOf": [{"$ref": plain.pop("$ref")}], **plain}
    return plain
