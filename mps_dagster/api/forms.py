"""Request models (forms) derived from our own models, so that a parameter is described once for workflow files and the API.

A whole form has all parameters that MPS requires; a partial one holds changes. Parameters of templates are checked when
they are sent. Those of tasks are not: MPS accepts the call, and wrong values fail in the task's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator
from pydantic.alias_generators import to_pascal, to_snake
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from mps_dagster.api.action import NotOffered, RequestModel
from mps_dagster.frozen import Api, Facts
from mps_dagster.tasks.mps import TemplateType
from mps_dagster.tasks.spec import parameters

M = TypeVar("M", bound=RequestModel)
Definitions = dict[str, Any]
"""Fields or validators, as `create_model` takes them."""


@cache
def form(model: type[Facts], base: type[M], *, whole: bool) -> type[M]:
    """The parameters of a template of this model."""
    definitions: Definitions = {}
    for name, info in parameters(model, "template").items():
        kind = _checked(info, whole=whole)
        definitions[name] = (kind, ...) if whole and Api.of(info).required else (kind | None, None)
    name = f"{model.__name__}{'' if whole else 'Changes'}"
    return create_model(name, __base__=base, **definitions, **not_offered(model.not_offered))


def template_form(template: TemplateType, base: type[M], *, whole: bool) -> type[M]:
    """The parameters of Create…Template, or those of Modify…Template without the ID."""
    parts = form(template.model, base, whole=whole)
    checks: Definitions = {"_check": model_validator(mode="after")(template.check)} if whole and template.check else {}
    names = map(to_pascal, parts.model_fields)
    codes = {**{name: name for name in names}, **template.codes}
    name = f"{template.wire}Template{'' if whole else 'Changes'}"
    return create_model(name, __base__=parts, __validators__=checks, __namespace__={"codes": codes})


def query_form(template: TemplateType, base: type[M]) -> type[M]:
    """The parameters of Describe…Templates."""
    known: Definitions = {
        to_snake(name): (_nested(item.type, whole=True) | None, Field(None, alias=name))
        for name, item in template.filters.items()
        if item
    }
    refused = not_offered(name for name, item in template.filters.items() if item is None)
    codes = {**base.codes, **{name: name for name in template.filters}, **template.codes}
    name = f"Describe{template.wire}"
    return create_model(name, __base__=base, __namespace__={"codes": codes}, **known, **refused)


def entry_fields(model: type[Facts], forms: Mapping[type[Facts], Any]) -> Definitions:
    """The parameters that come with each task. `forms` has the forms of nested models."""
    definitions: Definitions = {}
    for name, info in parameters(model, "task").items():
        kind = _loose(info.annotation, forms)
        if Api.of(info).required:
            definitions[name] = (kind, ...)
        elif get_origin(info.annotation) is tuple:
            # The number of watermarks is limited, that of time points is not.
            sizes = _ranges(info) if forms.keys() & get_args(info.annotation) else []
            definitions[name] = (Annotated[kind, *sizes] if sizes else kind, ())
        else:
            definitions[name] = (kind | None, None)
    return definitions


def not_offered(names: Iterable[str]) -> Definitions:
    """Parameters of MPS, by MPS's names, that are refused unless empty."""
    return {to_snake(name): (NotOffered, Field(None, alias=name)) for name in names}


def _checked(info: FieldInfo, *, whole: bool) -> Any:
    """A field's type with its range, narrowed to what MPS accepts."""
    api = Api.of(info)
    kind = api.type or _nested(info.annotation, whole=whole)
    checks: list[Any] = [] if api.type else _ranges(info)
    if api.refused or api.words:
        checks.append(BeforeValidator(_value(api)))
    if api.least:
        checks.append(_zero_or(api.least))
    kind = Annotated[kind, *checks] if checks else kind
    if api.unset is None:
        return kind
    return Annotated[kind | None, BeforeValidator(lambda value: None if str(value) == str(api.unset) else value)]


def _ranges(info: FieldInfo) -> list[Any]:
    return [item for item in info.metadata if not isinstance(item, Api)]


def _nested(annotation: Any, *, whole: bool) -> Any:
    """Replace a model by its form. The items of a list are always whole."""
    if isinstance(annotation, type) and issubclass(annotation, Facts):
        return form(annotation, RequestModel, whole=whole)
    members = [member for member in get_args(annotation) if member not in (NoneType, Ellipsis)]
    match get_origin(annotation):
        case origin if origin in (Union, UnionType):
            [member] = members
            return _nested(member, whole=whole)
        case origin if origin is tuple:
            return tuple[_nested(members[0], whole=True), ...]  # type: ignore[misc]
        case origin if origin is Literal and isinstance(members[0], int):
            return Annotated[annotation, BeforeValidator(_number)]
    return annotation


def _loose(annotation: Any, forms: Mapping[type[Facts], Any]) -> Any:
    """The bare type, without ranges and patterns."""
    members = [member for member in get_args(annotation) if member not in (NoneType, Ellipsis)]
    match get_origin(annotation):
        case None:
            return forms.get(annotation, annotation)
        case origin if origin is tuple:
            return tuple[_loose(members[0], forms), ...]  # type: ignore[misc]
        case origin if origin is Literal:
            return type(members[0])
    return _loose(members[0], forms)


def _number(value: Any) -> Any:
    """In a form every value is a string, which a `Literal` of numbers refuses."""
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value


def _value(api: Api) -> Callable[[Any], Any]:
    """Converts MPS's values to ours; those not offered have an error of their own."""
    ours = {theirs: own for own, theirs in api.words.items()}

    def check(value: Any) -> Any:
        if value in api.refused:
            raise PydanticCustomError("UnsupportedOperation", "{name} is not offered here", {"name": value})
        return ours.get(value, value) if isinstance(value, str) else value

    return check


def _zero_or(least: int) -> AfterValidator:
    def check(value: int) -> int:
        if 0 < value < least:
            raise ValueError(f"it is 0, or {least} at least")
        return value

    return AfterValidator(check)
