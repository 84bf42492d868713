"""Parses YAML into a `Workflow` or a `Task` with its templates resolved; errors name file and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mps_dagster.errors import InvalidConfiguration, InvalidInput, MpsError
from mps_dagster.frozen import Facts
from mps_dagster.workflow.model import Place, Task, Trigger, Workflow
from mps_dagster.workflow.templates import Templates, merge

Document = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


class _Part(Facts):
    model_config = ConfigDict(extra="ignore")


class _OutputOutline(_Part):
    output_bucket: str = ""


class _TaskOutline(_Part):
    output: Place = Place()
    outputs: tuple[_OutputOutline, ...] = ()


class Outline(_Part):
    """The places in a workflow file; can be read even if a template no longer exists."""

    enabled: bool = True
    trigger: Trigger
    output: Place = Place()
    tasks: dict[str, _TaskOutline]

    @property
    def written_buckets(self) -> set[str]:
        """The buckets of all outputs."""
        inherited = self.output.bucket or self.trigger.bucket
        return {
            output.output_bucket or task.output.bucket or inherited
            for task in self.tasks.values()
            for output in task.outputs
        }


def parse_workflow(text: str | bytes, templates: Templates, *, name: str) -> Workflow:
    """The workflow that a YAML text describes; `name` (the file's) starts each line of an error."""
    return parse_document(read_document(text, name), templates, name)


def read_document(text: str | bytes, name: str) -> Document:
    """The mapping in a YAML text, whether or not it is a valid workflow."""
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # Not the error's text: it quotes lines, which may hold a key.
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidConfiguration(f"{name}: not YAML: {line}{error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date that does not exist.
        raise InvalidConfiguration(f"{name}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidConfiguration(f"{name}: a workflow is a mapping with name, trigger and tasks")
    return document


def parse_document(document: Mapping[str, Any], templates: Templates, name: str) -> Workflow:
    tasks = _tasks(document.get("tasks"), document.get("output") or {}, templates, name)
    return validate(Workflow, {**document, "tasks": tasks}, name)


def parse_task(name: str, document: Any, output: Mapping[str, Any], templates: Templates, *, where: str) -> Task:
    """Parse a task and resolve its templates; `output` is the place that it inherits."""
    if not isinstance(document, Mapping):
        raise InvalidConfiguration(f"{where}: a task is a mapping with type and outputs")
    outputs = document.get("outputs")
    kind = document.get("type")
    if isinstance(outputs, list) and isinstance(kind, str):
        outputs = [
            _resolved(templates, kind, item, f"{where}.outputs[{number}]") for number, item in enumerate(outputs)
        ]
    own = document.get("output") or {}
    place = merge(output, own) if isinstance(own, Mapping) else own
    resolved = {**document, "name": name, "output": place}
    return validate(Task, resolved | ({"outputs": outputs} if outputs is not None else {}), where)


def parse_valid_outputs(
    name: str, document: Mapping[str, Any], output: Mapping[str, Any], templates: Templates
) -> tuple[Task | None, Mapping[int, MpsError]]:
    """The task with its valid outputs, None if it has none, and the errors of the others by index."""
    valid, errors = [], dict[int, MpsError]()
    for number, item in enumerate(document["outputs"]):
        try:
            parse_task(name, {**document, "outputs": [item]}, output, templates, where=name)
        except InvalidInput as error:
            errors[number] = error
        else:
            valid.append(item)
    task = parse_task(name, {**document, "outputs": valid}, output, templates, where=name) if valid else None
    return task, errors


def validate(model: type[Model], document: Mapping[str, Any], where: str) -> Model:
    """Like pydantic's `model_validate`, but errors have the place, the problem and the value in one line each."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidConfiguration("\n".join(_lines(error, where))) from error


def _tasks(tasks: Any, output: Any, templates: Templates, name: str) -> Any:
    if not isinstance(tasks, dict) or not isinstance(output, dict):
        return tasks
    return {
        task: parse_task(str(task), document, output, templates, where=f"{name}: tasks.{task}")
        for task, document in tasks.items()
    }


def _resolved(templates: Templates, kind: str, item: Any, where: str) -> Any:
    if not isinstance(item, Mapping):
        return item
    try:
        return templates.resolve(kind, item)
    except MpsError as error:
        raise type(error)(f"{where}: {error.message}", hint=error.hint) from error


def _lines(error: ValidationError, where: str) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).removeprefix(
            "."
        )
        nested = problem.get("ctx", {}).get("error")
        if isinstance(nested, ValidationError):
            yield from _lines(nested, f"{where}: {path}" if path else where)
            continue
        message = problem["msg"].removeprefix("Value error, ")
        value = problem.get("input")
        shown = f" (found {value!r})" if isinstance(value, str | int | float | bool) else ""
        yield f"{where}: {path}: {message}{shown}" if path else f"{where}: {message}{shown}"
