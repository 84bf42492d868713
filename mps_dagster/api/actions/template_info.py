"""A template as MPS shows it (reference D): with all parameters, encoder names as codecs, times in UTC."""

from __future__ import annotations

from typing import Any

from pydantic.alias_generators import to_pascal

from mps_dagster.api.actions.template_requests import WATERMARK
from mps_dagster.api.files import TEMPLATES
from mps_dagster.frozen import Api, Facts
from mps_dagster.mps.results import pascal, shown_empty, time_of
from mps_dagster.settings import Settings
from mps_dagster.tasks.mps import TemplateType
from mps_dagster.tasks.spec import parameters
from mps_dagster.workflow.templates import Template


def template_info(kind: TemplateType, template: Template, settings: Settings) -> dict[str, Any]:
    model = model_of(kind, {**template.parameters, "definition": template.definition})
    members = {
        "Definition": template.definition, "Name": template.name, "Comment": template.comment, "Type": origin_of(template),
        "CreateTime": time_of(template.created), "UpdateTime": time_of(template.updated),
        **_members(model), **pascal(kind.describe(model)),
    }  # fmt: skip
    if kind.kind == WATERMARK and members["ImageTemplate"]:
        members["ImageTemplate"]["ImageUrl"] = image_url(template, settings)
    return members


def origin_of(template: Template) -> str:
    return "Custom" if template.owner else "Preset"


def model_of(kind: TemplateType, parameters: dict[str, Any]) -> Facts:
    """Raise pydantic's `ValidationError` if no task can use a template of these parameters."""
    return kind.model.model_validate({**parameters, **kind.placeholders})


def image_url(template: Template, settings: Settings) -> str:
    """The URL of a watermark template's picture."""
    name = template.parameters.get("image_template", {}).get("image_content", "")
    return f"{settings.files_url}/{TEMPLATES}/{name}" if name else ""


def _members(model: Facts) -> dict[str, Any]:
    shown = {name: info for name, info in parameters(type(model), "template").items() if Api.of(info).shown}
    members = {to_pascal(name): _member(getattr(model, name), Api.of(info)) for name, info in shown.items()}
    return shown_empty(model.not_offered) | members


def _member(value: Any, api: Api) -> Any:
    match value:
        case Facts():
            return _members(value)
        case tuple():
            return [_member(item, api) for item in value]
    return api.words.get(value, value)
