"""Create, Describe, Modify and Delete for each kind of template (reference D).

The kinds differ only in their parameters, which the task's spec validates. Each template is a file in `templates/`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_pascal, to_snake

from mps_dagster.api.action import Action, Call, RequestModel, refusal
from mps_dagster.api.actions.definitions import changing_definitions, now
from mps_dagster.api.actions.template_info import image_url, model_of, origin_of, template_info
from mps_dagster.api.actions.template_requests import (
    KINDS,
    WATERMARK,
    Describe,
    Kind,
    Named,
    picture_of,
)
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.control.graphql import Dagster
from mps_dagster.frozen import Facts
from mps_dagster.settings import Settings
from mps_dagster.workflow.files import Change, as_yaml, changing
from mps_dagster.workflow.project import Project
from mps_dagster.workflow.templates import Template, Templates, merge

Parameters = dict[str, Any]
FIRST = 200_001
"""Lower numbers are for MPS's presets and an admin's templates."""


def template_actions(settings: Settings) -> dict[str, Action[Any]]:
    actions: dict[str, Action[Any]] = {}
    for kind in KINDS:
        templates = _Templates(settings, kind)
        actions |= {
            f"Create{kind.wire}Template": Action(kind.create, templates.create),
            f"Modify{kind.wire}Template": Action(kind.modify, templates.modify),
            f"Delete{kind.wire}Template": Action(Named, templates.delete),
            f"Describe{kind.wire}Templates": Action(kind.describe, templates.describe),
        }
    return actions


@dataclass(frozen=True)
class _Templates:
    """The templates of one kind: presets, an admin's, and those of API keys."""

    settings: Settings
    kind: Kind

    def create(self, call: Call[Any]) -> dict[str, Any]:
        request, image = call.request, _picture(call.request)
        parameters = _parameters(request)
        self._check(parameters, image)
        # A lock of its own: no workflow uses a new template, so it need not wait until Dagster has loaded other changes.
        with changing(self.settings.templates_dir) as change:
            limit = self.kind.template.limit
            if sum(template.owner == call.key.owner for template in self._seen_by(call.key)) >= limit:
                problem = f"There are {limit} templates of this kind already."
                raise ApiError("LimitExceeded.TooMuchTemplate", problem)
            taken = [template.definition for template in self._templates.by_name.values()]
            number = change.next_number(self.settings.templates_dir / ".last_definition", [FIRST - 1, *taken])
            template = Template(
                definition=number, name=request.name or str(number), comment=request.comment, owner=call.key.owner,
                parameters=parameters, created=now(),
            )  # fmt: skip
            template = self._write(change, template, image)
        return {"Definition": number, **self._image(template)}

    def modify(self, call: Call[Any]) -> dict[str, Any]:
        request, image = call.request, _picture(call.request)
        with changing_definitions(self.settings) as change:
            template = self._own(request.definition, call.key, "InvalidParameterValue.ModifyDefaultTemplate")
            changes = _parameters(request)
            if changes.get("type", template.parameters.get("type")) != template.parameters.get("type"):
                raise ApiError("InvalidParameterValue.Type", "The type of a watermark template cannot be changed.")
            parameters = merge(template.parameters, changes)
            self._check(parameters, image)
            labels = {name: getattr(request, name) for name in ("name", "comment") if name in request.model_fields_set}
            users = self._users(template)
            changed = self._write(change, template.model_copy(update={**labels, "parameters": parameters}), image)
            if lost := sorted(set(users) - set(Project.load(self.settings).by_name)):
                raise ApiError("InvalidParameterValue", f"The workflows {', '.join(lost)} could not use it any more.")
            if users:
                Dagster(self.settings.ui_url).reload()
        return self._image(changed) if image else {}

    def delete(self, call: Call[Named]) -> dict[str, Any]:
        # Locked, so that no workflow that uses it is created meanwhile.
        with changing_definitions(self.settings) as change:
            template = self._own(call.request.definition, call.key, "InvalidParameterValue.DeleteDefaultTemplate")
            if users := self._users(template):
                # In MPS their tasks would fail from then on; here, such a workflow could not even be loaded.
                problem = f"Template {template.definition} is used by the workflows {', '.join(users)}."
                raise ApiError("FailedOperation", problem)
            change.delete(self._path(template))
            # Earlier pictures, too, which were kept for runs that began before a change.
            for image in self.settings.templates_dir.glob(f"{WATERMARK}_{template.definition}_*"):
                change.delete(image)
        return {}

    def describe(self, call: Call[Describe]) -> dict[str, Any]:
        query = call.request
        matches = [template for template in self._seen_by(call.key) if self._matches(template, query)]
        page = matches[query.offset : query.offset + query.limit]
        return {
            "TotalCount": len(matches),
            f"{self.kind.wire}TemplateSet": [
                template_info(self.kind.template, template, self.settings) for template in page
            ],
        }

    def _write(self, change: Change, template: Template, image: bytes | None) -> Template:
        parameters = template.parameters
        if image is not None:
            # Written before the template that names it.
            extension = "png" if image.startswith(b"\x89PNG") else "jpg"
            name = f"{WATERMARK}_{template.definition}_{hashlib.sha256(image).hexdigest()[:12]}.{extension}"
            change.write(self.settings.templates_dir / name, image)
            parameters = merge(parameters, {"image_template": {"image_content": name}})
        written = template.model_copy(update={"parameters": parameters, "updated": now()})
        document = {"kind": self.kind.kind, "templates": [written.model_dump(mode="json", exclude_defaults=True)]}
        change.write(self._path(written), as_yaml(document))
        return written

    def _path(self, template: Template) -> Path:
        return self.settings.templates_dir / f"{self.kind.kind}_{template.definition}.yaml"

    def _seen_by(self, key: ApiKey) -> list[Template]:
        """The templates that the key may see, by ID."""
        templates = {t.definition: t for (name, _), t in self._templates.by_name.items() if name == self.kind.kind}
        return [
            templates[definition] for definition in sorted(templates) if templates[definition].owner in ("", key.owner)
        ]

    def _own(self, definition: int, key: ApiKey, preset: str) -> Template:
        template = next((item for item in self._seen_by(key) if item.definition == definition), None)
        if template is None:
            raise ApiError("ResourceNotFound.TemplateNotExist", f"There is no template {definition}.")
        if not template.owner:
            raise ApiError(preset, f"Template {definition} is a preset, or an admin's file; it cannot be changed here.")
        return template

    def _users(self, template: Template) -> list[str]:
        """The workflows that use the template."""
        return [
            workflow.name
            for workflow in Project.load(self.settings).workflows
            if any(_names(task.type, spec, self.kind.kind, template) for task in workflow.tasks.values() for spec in task.specs)
        ]  # fmt: skip

    @property
    def _templates(self) -> Templates:
        return Templates.load(self.settings.templates_dir)

    def _matches(self, template: Template, query: Describe) -> bool:
        if (query.definitions and template.definition not in query.definitions) or query.name not in template.name:
            return False
        model = self._model(template)
        if model is None:
            return False
        filters = self.kind.template.filters
        own = {
            "type": origin_of(template),
            **{to_snake(name): item.of(model) for name, item in filters.items() if item},
        }
        return all(getattr(query, name) in (None, "", value) for name, value in own.items())

    def _model(self, template: Template) -> Facts | None:
        """None if an admin's file has parameters that no task accepts; workflows that use it show the error."""
        try:
            return model_of(self.kind.template, template.parameters)
        except ValidationError:
            return None

    def _check(self, parameters: Parameters, image: bytes | None) -> None:
        """Raise MPS's error for the first parameter that contradicts others."""
        if image is not None:
            picture = {"image_template": {"image_content": "in the request"}}
            parameters = merge(parameters, picture)
        try:
            model_of(self.kind.template, parameters)
        except ValidationError as error:
            raise refusal(self.kind.create, error, to_pascal) from error

    def _image(self, template: Template) -> dict[str, str]:
        return {"ImageUrl": image_url(template, self.settings)} if self.kind.kind == WATERMARK else {}


def _picture(request: RequestModel) -> bytes | None:
    image = getattr(request, "image_template", None)
    return picture_of(image.image_content) if image and image.image_content else None


def _parameters(request: RequestModel) -> Parameters:
    parameters = request.model_dump(exclude_unset=True, exclude={"name", "comment", "definition"})
    # The picture is a file of its own.
    parameters.get("image_template", {}).pop("image_content", None)
    return parameters


def _names(task: str, spec: Any, kind: str, template: Template) -> bool:
    if kind == WATERMARK:
        return any(mark.definition == template.definition for mark in getattr(spec, "watermark_set", ()))
    return task == kind and spec.definition == template.definition
