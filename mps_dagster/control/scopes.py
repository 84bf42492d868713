"""What the sweeps of a bucket list, and when: its workflows' dirs, each once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field, ValidationError

from mps_dagster.frozen import Facts
from mps_dagster.workflow.model import Workflow


@dataclass(frozen=True, slots=True)
class Scope:
    """A dir that is listed as a whole, for the workflows that trigger on it or on a dir below."""

    prefix: str
    every_s: float
    """Seconds between two sweeps; 0 = in each poll."""

    def holds(self, key: str) -> bool:
        return bool(key) and key.startswith(self.prefix)


class Cursor(Facts):
    """State that a poll leaves to the next one. Losing it only costs time."""

    since: float | None = None
    """The ledger has all runs that were changed before. Unix seconds."""
    after: str = ""
    """Where an unfinished sweep goes on."""
    swept: dict[str, float] = Field(default_factory=dict)
    """When the last sweep of a scope that is not swept in each poll was finished, by prefix. Unix seconds."""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()

    def stopped(self, after: str) -> Cursor:
        return self.model_copy(update={"after": after})

    def finished(self, scope: Scope, now: float) -> Cursor:
        swept = {**self.swept, scope.prefix: now} if scope.every_s else self.swept
        return self.model_copy(update={"after": "", "swept": swept})


def due_scopes(workflows: Iterable[Workflow], cursor: Cursor, now: float) -> list[Scope]:
    """The scopes to sweep now, beginning with the one in which the last poll stopped."""
    due = [
        scope
        for scope in scopes(workflows)
        if scope.holds(cursor.after) or now - cursor.swept.get(scope.prefix, 0.0) >= scope.every_s
    ]
    first = next((number for number, scope in enumerate(due) if scope.holds(cursor.after)), 0)
    return [*due[first:], *due[:first]]


def scopes(workflows: Iterable[Workflow]) -> list[Scope]:
    """The dirs of workflows that make sweeps, without those inside others; as often as any of them wants."""
    found: list[Scope] = []
    for trigger in sorted((w.trigger for w in workflows if w.trigger.listing), key=lambda trigger: trigger.prefix):
        if found and trigger.prefix.startswith(found[-1].prefix):
            found[-1] = Scope(found[-1].prefix, min(found[-1].every_s, trigger.sweep_every_s))
        else:
            found.append(Scope(trigger.prefix, trigger.sweep_every_s))
    return found


def takers_by_prefix(workflows: Iterable[Workflow]) -> Mapping[str, Sequence[Workflow]]:
    """The workflows by the prefix of their dir: several hundred must not be asked about each object."""
    by_prefix: dict[str, list[Workflow]] = {}
    for workflow in workflows:
        by_prefix.setdefault(workflow.trigger.prefix, []).append(workflow)
    return by_prefix
