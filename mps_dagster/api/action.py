"""`Action`: a request model, and a function from a `Call` to the members of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_pascal
from pydantic_core import PydanticCustomError

from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.keys import ApiKey
from mps_dagster.frozen import Facts


class RequestModel(Facts):
    """Base of an action's parameters and of the objects in them.

    Lenient on types, because in a form every value is a string: "5" counts as a number, "true" as a truth value, 5 as a
    string, and null as absent. Unknown parameters are refused, as in MPS.
    """

    model_config = ConfigDict(alias_generator=to_pascal, coerce_numbers_to_str=True, allow_inf_nan=False)

    codes: ClassVar[Mapping[str, str]] = {}
    """Suffixes of MPS's InvalidParameterValue, by the path of the wrong parameter."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, members: Any) -> Any:
        if not isinstance(members, Mapping):
            return members
        return {name: value for name, value in members.items() if value is not None}


def _refuse(value: Any) -> None:
    if not _is_empty(value):
        raise PydanticCustomError("UnsupportedOperation", "is not offered here")


def _is_empty(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(not isinstance(member, Mapping) and _is_empty(member) for member in value.values())
    return value in ("", 0, "0", "default", "off", None, [])


NotOffered = Annotated[None, BeforeValidator(_refuse), Field(exclude=True)]
"""A parameter of MPS that has no effect here: `ai_analysis_task: NotOffered = None` refuses it unless it is empty."""

Number = Annotated[int, Field(ge=0, lt=2**63)]
"""An ID."""
M = TypeVar("M", bound=RequestModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[M]):
    """A call of an action with an authenticated key."""

    request: M
    key: ApiKey
    request_id: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class Action(Generic[M]):
    """`run` may block, as each call has a thread. It raises `ApiError` for errors with a code of MPS."""

    model: type[M]
    run: Callable[[Call[M]], Mapping[str, Any]]


def read_request(model: type[M], parameters: Mapping[str, Any]) -> M:
    """Validate the parameters; the error names the first wrong one by its path, as in `A.B.0.C`."""
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        raise refusal(model, error) from error


def refusal(model: type[RequestModel], error: ValidationError, named: Callable[[str], str] = str) -> ApiError:
    """The error for the first wrong parameter; `named` turns a part of its path into MPS's name."""
    problem = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(named(str(part)) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return missing(path)
        case "extra_forbidden":
            return ApiError("UnknownParameter", f"The parameter `{path}` is not recognized.")
        case kind if kind[0].isupper():
            # A validator chose MPS's code: PydanticCustomError("InvalidParameterValue.Fps", …).
            return ApiError(kind, f"`{path}`: {problem['msg']}" if path else problem["msg"])
    return _invalid(model, path, problem["msg"])


def _invalid(model: type[RequestModel], path: str, problem: str) -> ApiError:
    """The error with MPS's code for this parameter of this action, if it has one."""
    code = model.codes.get(".".join(part for part in path.split(".") if not part.isdecimal()))
    problem = problem.removeprefix("Value error, ")
    text = f"The value of `{path}` is not valid: {problem}." if path else f"{problem}."
    return ApiError(f"InvalidParameterValue.{code}" if code else "InvalidParameterValue", text)
