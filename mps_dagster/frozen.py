"""`Facts`, the base of all values that travel between rooms, steps and files, and `Api`, which says how MPS has a field."""

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
    """How MPS's API has a field, where that is not as in a workflow file: a part of the field's `Annotated`."""

    role: Literal["template", "task", "ours"] = "template"
    """A parameter of templates; one that comes with each task; or one that MPS does not have."""
    required: bool = False
    """Whether a request has to name it."""
    shown: bool = True
    """Whether answers show it."""
    type: Any = None
    """A narrower type than the field's own."""
    least: int = 0
    """The value is 0, or this at least."""
    refused: tuple[str, ...] = ()
    """MPS's values that are not offered here."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Our values, and what answers call them; requests may use either."""
    unset: int | None = None
    """MPS's number for `None`."""
    path: str = ""
    """Of a path: MPS's default."""

    @classmethod
    def of(cls, info: FieldInfo) -> Api:
        """What a field says, once; of one that says nothing, the defaults."""
        [own] = [item for item in info.metadata if isinstance(item, cls)] or [cls()]
        return own


PER_TASK = Api(role="task")
OURS = Api(role="ours")
REQUIRED = Api(required=True)


def contradiction(code: str, problem: str) -> PydanticCustomError:
    """To be raised by a validator: a parameter that does not go with another, by MPS's InvalidParameterValue code."""
    return PydanticCustomError(f"InvalidParameterValue.{code}", problem)
