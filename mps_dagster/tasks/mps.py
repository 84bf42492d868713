"""What a task type declares for MPS's API: what its tasks and results are called, and which templates it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mps_dagster.frozen import Facts
from mps_dagster.tasks.result import SubtaskResult


@dataclass(frozen=True, slots=True)
class MpsTask:
    """A kind of task, as requests and results have it."""

    task: str
    """The member of results and of a schedule's node: `ImageSpriteTask`."""
    activity: str
    """The type of a schedule's node: `action-image-sprite`."""
    output: Callable[[SubtaskResult], Mapping[str, Any]]
    """What `Output` tells of a result, in snake_case, beside its template and its bucket."""
    not_offered: Mapping[str, Any] = field(default_factory=dict)
    """As `Facts.not_offered`, of a task's entry in a request and of `Input` in its result."""
    raw: bool = False
    """Whether an entry takes a template's parameters: all as RawParameter, or some as OverrideParameter."""
    storage: str = "Storage"
    """The member of `Output` that names the bucket."""
    progress: bool = False
    """Whether results tell the progress; otherwise they tell when the task began and ended."""

    @property
    def set(self) -> str:
        """The member of ProcessMedia's MediaProcessTask."""
        return f"{self.task}Set"


@dataclass(frozen=True, slots=True)
class Filter:
    """A parameter of Describe… that picks templates."""

    type: Any
    of: Callable[[Any], Any]
    """What a template has, by its model."""


@dataclass(frozen=True, slots=True)
class TemplateType:
    """A kind of template, as its actions have it."""

    kind: str
    """In template files: `image_sprite`."""
    wire: str
    """In the names of actions: `ImageSprite`."""
    model: type[Facts]
    most: int
    """So many of one's own."""
    rate: float = 100
    """Calls a second of each action."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """What follows InvalidParameterValue, by the parameter's path, where that is not its own name; empty = nothing."""
    filters: Mapping[str, Filter | None] = field(default_factory=dict)
    """By MPS's name, beside those of all templates; None = not offered."""
    check: Callable[[Any], Any] | None = None
    """Returns a request to create one, or raises if it does not name enough."""
    stand_in: Mapping[str, Any] = field(default_factory=dict)
    """For what the model needs and only a task has."""
    described: Callable[[Any], Mapping[str, Any]] = lambda _: {}
    """What Describe… shows of a model beside, or other than, its parameters; in snake_case."""

    @property
    def actions(self) -> tuple[str, ...]:
        """To create, modify, delete and describe them."""
        changes = (f"{verb}{self.wire}Template" for verb in ("Create", "Modify", "Delete"))
        return (*changes, f"Describe{self.wire}Templates")
