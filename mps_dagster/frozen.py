"""`Facts`, the base of values that are passed between packages, steps and files, and `Api`, MPS's view of a field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


class Facts(BaseModel):
    """Frozen, and strict about unknown members so that versions cannot mix silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    not_offered: ClassVar[Mapping[str, Any]] = {}
    """MPS's parameters that are refused here, by MPS's name, with the value that answers show; `...` = not shown."""


@dataclass(frozen=True, slots=True)
class Api:
    """How a field differs in MPS's API from a workflow file; a part of the field's `Annotated`."""

    role: Literal["template", "task", "ours"] = "template"
    """A parameter of templates; one that comes with each task; or one that MPS does not have."""
    required: bool = False
    """Whether a request must have it."""
    shown: bool = True
    """Whether answers show it."""
    type: Any = None
    """A narrower type than the field's own."""
    least: int = 0
    """The value is 0, or this at least."""
    refused: tuple[str, ...] = ()
    """MPS's values that are not offered here."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Our values and MPS's names for them; answers use MPS's, requests may use either."""
    unset: int | None = None
    """MPS's number for `None`."""
    path: str = ""
    """MPS's default, if the field is a path."""

    @classmethod
    def of(cls, info: FieldInfo) -> Api:
        """The `Api` of a field; the defaults if it has none."""
        [own] = [item for item in info.metadata if isinstance(item, cls)] or [cls()]
        return own


PER_TASK = Api(role="task")
OURS = Api(role="ours")
REQUIRED = Api(required=True)


def contradiction(code: str, problem: str) -> PydanticCustomError:
    """An error for validators: parameters contradict each other; `code` is the suffix of MPS's InvalidParameterValue."""
    return PydanticCustomError(f"InvalidParameterValue.{code}", problem)
