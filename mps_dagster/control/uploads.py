"""Finds the uploads of a bucket that need a run, in a bounded poll at each tick of a workflow's sensor.

The bucket announces uploads in a queue, or a sweep lists them. Both lead to `Poll.consider`, which looks at the object
itself. A sweep that a poll does not finish goes on in the next one.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pydantic import ValidationError

from mps_dagster.errors import InvalidConfiguration, MpsError, SourceNotAccessible, StorageFailed, StorageRefused
from mps_dagster.frozen import Facts
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import run_key

Clock = Callable[[], float]


class Verdict(Enum):
    """The result of checking an object."""

    NEW = "an upload that needs a run"
    KNOWN = "an upload that has a run, or needs none"
    OWN_OUTPUT = "one of our outputs"
    NOT_TAKEN = "outside the trigger's dir or formats"
    TOO_OLD = "older than the workflow is enabled"
    GONE = "no longer there"
    BAD_KEY = "an object whose key cannot be used"
    NOT_SETTLED = "still being written"
    NOT_READABLE = "an object that may not be read"

    @property
    def is_final(self) -> bool:
        """False if a later poll may decide otherwise about the same object."""
        return self not in (Verdict.NOT_SETTLED, Verdict.NOT_READABLE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one poll."""

    seconds: float = 20.0
    """Dagster gives up a tick after 60 s. A request or two to a slow bucket may still be under way at the end, each for
    some 20 s (`Buckets.short_timeout`)."""
    runs: int = 100
    """Creating a run takes Dagster 0.1 to 0.2 s (bench/uploads.py); the rest of a burst follows in the next poll."""
    page: int = 1000
    """Listed objects that are looked up in the ledger at once."""
    remarks: int = 10
    """Objects and messages that are reported one by one."""


LIMITS = Limits()


class Ledger(Protocol):
    """Run keys of uploads that have a run, or need none."""

    def add(self, keys: Iterable[str]) -> None: ...

    def among(self, keys: Iterable[str]) -> AbstractSet[str]:
        """The keys that are in the ledger."""


class Cursor(Facts):
    """State that a poll leaves to the next one. Losing it only costs time."""

    since: float | None = None
    """The ledger has all runs that were changed before. Unix seconds, as `swept_at`."""
    after: str = ""
    """Where an unfinished sweep goes on."""
    swept_at: float = 0.0
    """When the last sweep was finished."""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()


def decide(workflow: Workflow, info: ObjectInfo, ledger: Ledger) -> Verdict:
    """Decide about an object; `info` must come from the bucket's `head`."""
    if info.record:
        return Verdict.OWN_OUTPUT
    if not workflow.trigger.takes(info.key):
        return Verdict.NOT_TAKEN
    if not workflow.takes(info.key, info.modified):
        return Verdict.TOO_OLD
    if not info.settled:
        return Verdict.NOT_SETTLED
    return Verdict.KNOWN if ledger.among([run_key(workflow.trigger.bucket, info)]) else Verdict.NEW


class Poll:
    """One search for uploads of a workflow that need a run."""

    def __init__(
        self, workflow: Workflow, bucket: Bucket, ledger: Ledger, limits: Limits, clock: Clock = time.monotonic
    ) -> None:
        self.workflow, self.ledger, self.limits = workflow, ledger, limits
        self._trigger, self._bucket, self._clock = workflow.trigger, bucket, clock
        self.started = clock()
        self.uploads: dict[str, ObjectInfo] = {}
        """Uploads that need a run, by run key."""
        self.counts: Counter[Verdict] = Counter()
        self.listed = 0
        self.swept = False
        self.failures: list[str] = []
        """Errors of the bucket or the queue as a whole."""
        self.remarks: list[str] = []
        """Problems of single objects and messages, for a person to check."""
        self._bad_key = ""
        """The first one."""
        self._bucket_answered = False

    @property
    def full(self) -> bool:
        return len(self.uploads) >= self.limits.runs

    @property
    def over(self) -> bool:
        return self.full or self._clock() > self.started + self.limits.seconds

    def run(self, cursor: Cursor, now: float, listen: Callable[[Poll], None] | None) -> Cursor:
        """Read announcements, and sweep the trigger's dir if it is due. `now` is in Unix seconds."""
        trigger = self._trigger
        if listen:
            with self._reported(f"announcements in {trigger.queue} wait"):
                listen(self)
        due = cursor.after or now - cursor.swept_at >= trigger.sweep_every_s
        # After slow announcements, a sweep waits for the next poll.
        if trigger.listing and due and not (listen and self.over):
            with self._reported(f"{trigger.bucket}{trigger.dir} could not be listed"):
                after = self.sweep(cursor.after)
                return cursor.model_copy(update={"after": after, "swept_at": cursor.swept_at if after else now})
        return cursor

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        """Report a failure of the queue or the listing, so that the other one is still used."""
        try:
            yield
        except MpsError as error:
            self.failures.append(f"{what}: {error}")

    def consider(self, key: str) -> tuple[Verdict, str]:
        """Check an object, and keep it if it needs a run; return the verdict and its run key.

        Raise `MpsError` if the bucket does not answer.
        """
        verdict, info = self._decide(key)
        self.counts[verdict] += 1
        run = run_key(self._trigger.bucket, info) if info else ""
        if info and verdict is Verdict.NEW:
            self.uploads[run] = info
        elif verdict is Verdict.OWN_OUTPUT:
            # So that no sweep checks it again.
            self.ledger.add([run])
        return verdict, run

    def _decide(self, key: str) -> tuple[Verdict, ObjectInfo | None]:
        try:
            info = self._bucket.head(key)
        except SourceNotAccessible:
            self._check_bucket()
            return Verdict.GONE, None
        except InvalidConfiguration as error:
            self._bad_key = self._bad_key or str(error)
            return Verdict.BAD_KEY, None
        except StorageRefused as error:
            self._check_bucket()
            # One unreadable object must not delay the others.
            self.remarks.append(str(error))
            return Verdict.NOT_READABLE, None
        return decide(self.workflow, info, self.ledger), info

    def _check_bucket(self) -> None:
        """Raise if the bucket itself is gone or refuses everything, which HEAD does not show; once per poll."""
        if not self._bucket_answered:
            next(self._bucket.list(self._trigger.prefix), None)
            self._bucket_answered = True

    def sweep(self, after: str) -> str:
        """List the trigger's dir from `after` on; return the key after which to go on, empty at the end.

        Raise `MpsError` if the listing fails; then none of its uploads count.
        """
        announced = dict(self.uploads)
        try:
            reached = self._sweep(after)
        except MpsError:
            self.uploads = announced
            raise
        self.swept = True
        return reached

    def _sweep(self, after: str) -> str:
        listing = iter(self._bucket.list(self._trigger.prefix, after=after, left_out=self._leave_out))
        while page := list(itertools.islice(listing, self.limits.page)):
            self._bucket_answered = True
            taken = [info for info in page if self.workflow.takes(info.key, info.modified)]
            keys = {info.key: run_key(self._trigger.bucket, info) for info in taken}
            known = self.ledger.among(keys.values())
            for info in page:
                if info.key in keys and keys[info.key] not in known and not self._gets_past(info.key):
                    return after
                after = info.key
                self.listed += 1
            if self.over:
                return after
        return ""

    def _gets_past(self, key: str) -> bool:
        """Consider an object of the sweep, unless the poll is over; but always the first one, or the sweep might never
        get past it."""
        if self.listed and self.over:
            return False
        try:
            self.consider(key)
        except StorageFailed as error:
            if self.listed:
                return False
            self.remarks.append(str(error))
        return True

    def _leave_out(self, problem: str) -> None:
        self.counts[Verdict.BAD_KEY] += 1
        self._bad_key = self._bad_key or problem

    def summary(self, cursor: Cursor) -> str:
        """A summary of a poll without new uploads."""
        unsettled = self.counts[Verdict.NOT_SETTLED]
        waiting = f", {unsettled} still being written" if unsettled else ""
        going_on = f"; the sweep goes on after {cursor.after}" if cursor.after else ""
        return "\n".join([f"{self.listed} objects listed, none new{waiting}{going_on}", *self.problems()])

    def problems(self) -> list[str]:
        """Problems for a person to check; only the first ones of each kind."""
        shown = self.limits.remarks
        more = len(self.remarks) - shown
        problems = [*self.failures, *self.remarks[:shown], *([f"and {more} more"] if more > 0 else [])]
        if left_out := self.counts[Verdict.BAD_KEY]:
            problems.append(f"{left_out} left out, such as: {self._bad_key}")
        return problems
