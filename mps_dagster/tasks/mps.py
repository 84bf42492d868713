"""What a task type declares for MPS's API: the names of its tasks and results, and its kind of templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mps_dagster.frozen import Facts
from mps_dagster.tasks.result import SubtaskResult


@dataclass(frozen=True, slots=True)
class MpsTask:
    """A kind of task in requests and results."""

    task: str
    """The member of results and of a schedule's node: `ImageSpriteTask`."""
    activity: str
    """The type of a schedule's node: `action-image-sprite`."""
    output: Callable[[SubtaskResult], Mapping[str, Any]]
    """The members of `Output` except its template and bucket, in snake_case."""
    not_offered: Mapping[str, Any] = field(default_factory=dict)
    """Like `Facts.not_offered`, for a task's entry in a request and for `Input` in its result."""
    raw: bool = False
    """Whether an entry takes a template's parameters: all as RawParameter, or some as OverrideParameter."""
    storage: str = "Storage"
    """The member of `Output` that names the bucket."""
    member: str = ""
    """The member of ProcessMedia, and with `Result` that of its answer, if it is not in MediaProcessTask. Such a task has
    one output, and only a template."""
    progress: bool = False
    """Whether results have the progress; otherwise they have the task's begin and end."""

    @property
    def set(self) -> str:
        """The member of ProcessMedia's MediaProcessTask."""
        return f"{self.task}Set"


@dataclass(frozen=True, slots=True)
class Filter:
    """A parameter of Describe… that picks templates."""

    type: Any
    of: Callable[[Any], Any]
    """A template's value, by its model."""


@dataclass(frozen=True, slots=True)
class TemplateType:
    """A kind of template with its actions."""

    kind: str
    """In template files: `image_sprite`."""
    wire: str
    """In the names of actions: `ImageSprite`."""
    model: type[Facts]
    limit: int
    """Templates that one owner may have."""
    rate: float = 100
    """Calls per second of each action."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """Suffixes of InvalidParameterValue, by the parameter's path, if not its own name; empty = no suffix."""
    filters: Mapping[str, Filter | None] = field(default_factory=dict)
    """By MPS's name, besides those of all templates; None = not offered."""
    check: Callable[[Any], Any] | None = None
    """Returns a request to create one, or raises if it is incomplete."""
    placeholders: Mapping[str, Any] = field(default_factory=dict)
    """Values for what the model requires but only a task names."""
    describe: Callable[[Any], Mapping[str, Any]] = lambda _: {}
    """Members that Describe… shows besides, or instead of, the parameters; in snake_case."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions that create, modify, delete and describe templates."""
        changes = (f"{verb}{self.wire}Template" for verb in ("Create", "Modify", "Delete"))
        return (*changes, f"Describe{self.wire}Templates")
