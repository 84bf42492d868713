"""The state of each step of a run, from its event log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mps_dagster.control.causes import run_cause, step_cause
from mps_dagster.workflow.naming import StepKey

KINDS = frozenset({
    "STEP_START", "STEP_OUTPUT", "STEP_SUCCESS", "STEP_FAILURE", "STEP_RESTARTED", "STEP_UP_FOR_RETRY",
    "ENGINE_EVENT", "RUN_FAILURE",
})  # fmt: skip
"""Dagster's names of the events that matter to us."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The last state of a step."""

    key: str
    """`vod__web.subtask[0_100030]`"""
    status: Literal["running", "success", "failure"]
    started_s: float | None
    ended_s: float | None
    metadata: Mapping[str, Any]
    """Metadata of its outputs or its failure, with JSON values parsed."""
    error: str = ""

    @property
    def place(self) -> StepKey:
        return StepKey.parse(self.key)

    @property
    def op(self) -> str:
        return self.place.op

    @property
    def graph(self) -> str:
        return self.place.graph


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One event of a run's log."""

    step: str
    """Empty for events of the run itself."""
    kind: str
    """Dagster's: STEP_START, STEP_OUTPUT, STEP_SUCCESS, STEP_FAILURE, ENGINE_EVENT; others mean that the step starts again."""
    at_s: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    """In words; for an ENGINE_EVENT and the run's failure, Dagster's own message."""


def cause_of(events: Iterable[StepEvent]) -> str:
    """Why the run's process died, in words; usually empty."""
    return run_cause(event.error for event in events if not event.step)


def steps_of(events: Iterable[StepEvent]) -> tuple[StepRecord, ...]:
    """The state of each step, in the order in which they began."""
    steps: dict[str, StepRecord] = {}
    for event in events:
        # Of engine events, only those about a process that died.
        if not event.step or (event.kind == "ENGINE_EVENT" and not step_cause(event.error)):
            continue
        before = steps.get(event.step) or StepRecord(event.step, "running", event.at_s, None, {})
        steps[event.step] = _advanced(before, event)
    return tuple(steps.values())


def _advanced(before: StepRecord, event: StepEvent) -> StepRecord:
    match event.kind:
        case "STEP_OUTPUT":
            return replace(before, metadata={**before.metadata, **event.metadata})
        case "STEP_SUCCESS":
            return replace(before, status="success", ended_s=event.at_s)
        case "STEP_FAILURE":
            error = event.error or before.error
            return replace(before, status="failure", ended_s=event.at_s, metadata=event.metadata, error=error)
        case "ENGINE_EVENT":
            return replace(before, error=step_cause(event.error))
        case _:
            return replace(before, status="running", ended_s=None, metadata={}, error="")
