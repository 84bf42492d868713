"""The task runs that ended in a span of time, read in pages from Dagster's records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from mps_dagster.control import tags
from mps_dagster.control.steps import StepEvent
from mps_dagster.control.task_run import ENDED, StoredRun, TaskRun, task_run
from mps_dagster.workflow.model import Workflow

PAGE = 200
"""Runs that are in memory at once, without their events."""


class Records(Protocol):
    """Dagster's records, from the instance or over GraphQL."""

    def runs(self, query: Mapping[str, Any], *, limit: int, cursor: str | None = None) -> Sequence[StoredRun]:
        """Newest first, after the run `cursor`; `query` is GraphQL's RunsFilter, with `tags` by their names."""

    def events(self, run_id: str) -> Iterable[StepEvent]:
        """What Dagster logged about the run and its steps, in order."""


@dataclass(frozen=True, slots=True)
class Days:
    """Consecutive days, UTC; `last` belongs to them."""

    first: date
    last: date

    def __iter__(self) -> Iterator[date]:
        for number in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=number)

    @property
    def start_s(self) -> float:
        """Unix seconds."""
        return _midnight(self.first)

    @property
    def end_s(self) -> float:
        """Unix seconds; the first moment that does not belong to them."""
        return _midnight(self.last + timedelta(days=1))


def day_of(unix_s: float) -> date:
    return datetime.fromtimestamp(unix_s, UTC).date()


def runs_of(days: Iterable[date]) -> Iterator[Days]:
    """Join sorted days that follow one another."""
    known: Days | None = None
    for day in days:
        if known and day == known.last + timedelta(days=1):
            known = Days(known.first, day)
            continue
        if known:
            yield known
        known = Days(day, day)
    if known:
        yield known


@dataclass(frozen=True, slots=True)
class Ended:
    """A task run that ended, with those attempts before it that Dagster has retried."""

    run: TaskRun
    key: str
    """The owner of the API key that launched it; empty if none did."""
    attempts: tuple[TaskRun, ...] = ()

    @property
    def run_ids(self) -> frozenset[str]:
        return frozenset(run.run_id for run in (self.run, *self.attempts))


def ended_runs(records: Records, days: Days) -> Iterator[StoredRun]:
    """The runs of tasks that ended on these days, newest first. A run that is retried has not ended."""
    # What ended on a day was created before its end, and not changed before its beginning.
    query = {"statuses": sorted(ENDED), "createdBefore": days.end_s, "updatedAfter": days.start_s - 1}
    for run in _paged(records, query):
        ended = run.ended_s is not None and days.start_s <= run.ended_s < days.end_s
        if ended and run.workflow and not run.is_retried:
            yield run


def read_run(records: Records, run: StoredRun, workflows: Mapping[str, Workflow]) -> Ended:
    """The task run with its outputs and its attempts.

    `workflows` are the current ones by name, to count outputs that a failed run did not begin.
    """
    attempts = tuple(_state(records, earlier, workflows) for earlier in _attempts(records, run))
    return Ended(_state(records, run, workflows), run.tags.get(tags.ACCOUNT, ""), attempts)


def _paged(records: Records, query: Mapping[str, Any]) -> Iterator[StoredRun]:
    cursor: str | None = None
    while page := records.runs(query, limit=PAGE, cursor=cursor):
        yield from page
        if len(page) < PAGE:
            return
        cursor = page[-1].run_id


def _attempts(records: Records, run: StoredRun) -> Iterator[StoredRun]:
    """The attempts before this one, newest first."""
    if run.first_run_id == run.run_id:
        return
    retries = _paged(records, {"tags": {tags.FIRST_RUN: run.first_run_id}})
    # A run that a user repeats has its predecessor's tags, but is a first one.
    own = (retry for retry in retries if retry.first_run_id == run.first_run_id)
    yield from (retry for retry in own if retry.run_id != run.run_id)
    yield from records.runs({"runIds": [run.first_run_id]}, limit=1)


def _state(records: Records, run: StoredRun, workflows: Mapping[str, Workflow]) -> TaskRun:
    workflow = workflows.get(run.workflow)
    return task_run(run.record(records.events(run.run_id), workflow), tasks=run.tasks_of(workflow))


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
