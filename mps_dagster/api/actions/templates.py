"""Create, Describe, Modify and Delete for each kind of template (reference D).

The kinds differ in their parameters only, which the task's own spec validates; what is made here is a file in `templates/`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_pascal, to_snake

from mps_dagster.api.action import Action, Call, RequestModel, refusal
from mps_dagster.api.actions.definitions import changing
from mps_dagster.api.actions.shown_templates import image_url, model_of, origin_of, shown
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
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.store import load_workflows
from mps_dagster.workflow.template_store import CHANGING, TemplateStore
from mps_dagster.workflow.templates import Template, merged

Parameters = dict[str, Any]


def template_actions(settings: Settings) -> dict[str, Action[Any]]:
    actions: dict[str, Action[Any]] = {}
    for kind in KINDS:
        templates = _Templates(settings, TemplateStore(settings.templates_dir), kind)
        actions |= {
            f"Create{kind.wire}Template": Action(kind.create, templates.create),
            f"Modify{kind.wire}Template": Action(kind.modify, templates.modify),
            f"Delete{kind.wire}Template": Action(Named, templates.delete),
            f"Describe{kind.wire}Templates": Action(kind.describe, templates.describe),
        }
    return actions


@dataclass(frozen=True)
class _Templates:
    """Those of one kind: presets, an admin's, and one's own."""

    settings: Settings
    store: TemplateStore
    kind: Kind

    def create(self, call: Call[Any]) -> dict[str, Any]:
        request, image = call.request, _picture(call.request)
        parameters = _parameters(request)
        self._check(parameters, image)
        with CHANGING:
            if sum(template.owner == call.key.owner for template in self._seen_by(call.key)) >= self.kind.template.most:
                problem = f"There are {self.kind.template.most} templates of this kind already."
                raise ApiError("LimitExceeded.TooMuchTemplate", problem)
            labels = {"name": request.name, "comment": request.comment, "owner": call.key.owner}
            template = self.store.create(self.kind.kind, labels, parameters, image)
        return {"Definition": template.definition, **self._image(template)}

    def modify(self, call: Call[Any]) -> dict[str, Any]:
        request, image = call.request, _picture(call.request)
        with changing(), CHANGING:
            template = self._own(request.definition, call.key, "InvalidParameterValue.ModifyDefaultTemplate")
            given = _parameters(request)
            if given.get("type", template.parameters.get("type")) != template.parameters.get("type"):
                raise ApiError("InvalidParameterValue.Type", "The type of a watermark template cannot be changed.")
            parameters = merged(template.parameters, given)
            self._check(parameters, image)
            labels = {name: getattr(request, name) for name in ("name", "comment") if name in request.model_fields_set}
            changed = template.model_copy(update={**labels, "parameters": parameters})
            changed = self._replace(template, changed, image)
        return self._image(changed) if image else {}

    def delete(self, call: Call[Named]) -> dict[str, Any]:
        # So that no workflow is made meanwhile that names it.
        with changing(), CHANGING:
            template = self._own(call.request.definition, call.key, "InvalidParameterValue.DeleteDefaultTemplate")
            if users := self._users(template):
                # MPS would fail their tasks from then on; a workflow that names nothing cannot even be loaded here.
                problem = f"Template {template.definition} is used by the workflows {', '.join(users)}."
                raise ApiError("FailedOperation", problem)
            self.store.delete(self.kind.kind, template.definition)
        return {}

    def describe(self, call: Call[Describe]) -> dict[str, Any]:
        wanted = call.request
        found = [
            template for template in self._seen_by(call.key)
            if self._matches(template, wanted)
        ]  # fmt: skip
        page = found[wanted.offset : wanted.offset + wanted.limit]
        return {
            "TotalCount": len(found),
            f"{self.kind.wire}TemplateSet": [shown(self.kind.template, template, self.settings) for template in page],
        }

    def _replace(self, template: Template, changed: Template, image: bytes | None) -> Template:
        """Write it and have Dagster take it up; all is as before if a workflow could not use it any more."""
        users = self._users(template)
        written = self.store.replace(self.kind.kind, changed, image)
        try:
            self._have_taken_up(users)
        except Exception:
            self.store.replace(self.kind.kind, template)
            raise
        return written

    def _have_taken_up(self, users: Collection[str]) -> None:
        lost = sorted(set(users) - {workflow.name for workflow in self._workflows()})
        if lost:
            raise ApiError("InvalidParameterValue", f"The workflows {', '.join(lost)} could not use it any more.")
        if users:
            Dagster(self.settings.ui_url).reload()

    def _seen_by(self, key: ApiKey) -> list[Template]:
        """Presets first, by ID."""
        templates = {t.definition: t for (name, _), t in self.store.load().by_name.items() if name == self.kind.kind}
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
        """The workflows that name it."""
        return [
            workflow.name
            for workflow in self._workflows()
            if any(_names(task.type, spec, self.kind.kind, template) for task in workflow.tasks.values() for spec in task.specs)
        ]  # fmt: skip

    def _workflows(self) -> tuple[Workflow, ...]:
        return load_workflows(self.settings.workflows_dir, self.store.load())[0]

    def _matches(self, template: Template, wanted: Describe) -> bool:
        if wanted.definitions and template.definition not in wanted.definitions:
            return False
        if wanted.name not in template.name:
            return False
        model = self._model(template)
        if model is None:
            return False
        filters = self.kind.template.filters
        own = {
            "type": origin_of(template),
            **{to_snake(name): item.of(model) for name, item in filters.items() if item},
        }
        return all(getattr(wanted, name) in (None, "", value) for name, value in own.items())

    def _model(self, template: Template) -> Facts | None:
        """None of an admin's file that says what no task takes; who names that template is told."""
        try:
            return model_of(self.kind.template, template.parameters)
        except ValidationError:
            return None

    def _check(self, parameters: Parameters, image: bytes | None) -> None:
        """Raise what MPS answers to the first parameter that does not go with the others."""
        if image is not None:
            picture = {"image_template": {"image_content": "in the request"}}
            parameters = merged(parameters, picture)
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
    given = request.model_dump(exclude_unset=True)
    for name in ("name", "comment", "definition"):
        given.pop(name, None)
    # The picture is a file of its own.
    given.get("image_template", {}).pop("image_content", None)
    return given


def _names(task: str, spec: Any, kind: str, template: Template) -> bool:
    if kind == WATERMARK:
        return any(mark.definition == template.definition for mark in getattr(spec, "watermark_set", ()))
    return task == kind and spec.definition == template.definition
