"""Which objects of a bucket are uploads that need a run: a bounded poll, once a tick of a workflow's sensor.

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
    """What an object is."""

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
        """False if a later poll may decide otherwise, though the object stays the same."""
        return self not in (Verdict.NOT_SETTLED, Verdict.NOT_READABLE)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one poll does at most."""

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
        """Those of the keys that are in it."""


class Cursor(Facts):
    """What a poll leaves to the next one. Losing it costs time only."""

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
    """`info` as the bucket's `head` has it."""
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
    """One look for uploads of a workflow that need a run."""

    def __init__(
        self, workflow: Workflow, bucket: Bucket, ledger: Ledger, limits: Limits, clock: Clock = time.monotonic
    ) -> None:
        self.workflow, self.ledger, self.limits = workflow, ledger, limits
        self._trigger, self._bucket, self._clock = workflow.trigger, bucket, clock
        self.started = clock()
        self.uploads: dict[str, ObjectInfo] = {}
        """Those that need a run, by run key."""
        self.counts: Counter[Verdict] = Counter()
        self.listed = 0
        self.swept = False
        self.failures: list[str] = []
        """What could not be asked at all."""
        self.remarks: list[str] = []
        """Single objects and messages that a person should look at."""
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
        """Hear what is announced, and sweep the trigger's dir if it is time. `now` in Unix seconds."""
        trigger = self._trigger
        if listen:
            with self._reported(f"announcements in {trigger.queue} wait"):
                listen(self)
        due = cursor.after or now - cursor.swept_at >= trigger.sweep_every_s
        # A sweep that follows slow announcements waits for the next poll.
        if trigger.listing and due and not (listen and self.over):
            with self._reported(f"{trigger.bucket}{trigger.dir} could not be listed"):
                after = self.sweep(cursor.after)
                return cursor.model_copy(update={"after": after, "swept_at": cursor.swept_at if after else now})
        return cursor

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        """One way to uploads that fails is reported, and does not keep the other one from being used."""
        try:
            yield
        except MpsError as error:
            self.failures.append(f"{what}: {error}")

    def consider(self, key: str) -> tuple[Verdict, str]:
        """Take the object if it needs a run; and the run key by which the ledger has it then.

        Raise `MpsError` if the bucket does not answer.
        """
        verdict, info = self._decide(key)
        self.counts[verdict] += 1
        run = run_key(self._trigger.bucket, info) if info else ""
        if info and verdict is Verdict.NEW:
            self.uploads[run] = info
        elif verdict is Verdict.OWN_OUTPUT:
            # So that no sweep looks at it again.
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
            # One object that may not be read must not keep the others waiting.
            self.remarks.append(str(error))
            return Verdict.NOT_READABLE, None
        return decide(self.workflow, info, self.ledger), info

    def _check_bucket(self) -> None:
        """Raise if the bucket itself is gone or refuses everything, which HEAD does not show; once a poll."""
        if not self._bucket_answered:
            next(self._bucket.list(self._trigger.prefix), None)
            self._bucket_answered = True

    def sweep(self, after: str) -> str:
        """List the trigger's dir from `after` on; return the key behind which to go on, empty at the end.

        Raise `MpsError` if the listing fails; then nothing of it counts.
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
        """Consider an object of the sweep, unless the poll is over. It gets past its first one in any case, or it might
        stay there for ever."""
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
        """What there is to say of a poll without new uploads."""
        unsettled = self.counts[Verdict.NOT_SETTLED]
        waiting = f", {unsettled} still being written" if unsettled else ""
        going_on = f"; the sweep goes on after {cursor.after}" if cursor.after else ""
        return "\n".join([f"{self.listed} objects listed, none new{waiting}{going_on}", *self.problems()])

    def problems(self) -> list[str]:
        """What a person should look at; of many alike the first ones."""
        shown = self.limits.remarks
        more = len(self.remarks) - shown
        problems = [*self.failures, *self.remarks[:shown], *([f"and {more} more"] if more > 0 else [])]
        if left_out := self.counts[Verdict.BAD_KEY]:
            problems.append(f"{left_out} left out, such as: {self._bad_key}")
        return problems
