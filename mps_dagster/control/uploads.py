"""Finds the uploads of a bucket that need a run, in a bounded poll at each tick of the bucket's sensor.

One poll serves all workflows that trigger on the bucket. The bucket announces uploads in a queue, or a sweep lists them.
Both lead to `Poll.consider`, which looks at the objects themselves. A sweep that a poll does not finish goes on in the next
one.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mps_dagster.control.scopes import Cursor, Scope, due_scopes, takers_by_prefix
from mps_dagster.errors import InvalidConfiguration, MpsError, SourceNotAccessible, StorageFailed, StorageRefused
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import run_key

Clock = Callable[[], float]


class Verdict(Enum):
    """The result of checking an object for one workflow."""

    NEW = "an upload that needs a run"
    KNOWN = "an upload that has a run, or needs none"
    OWN_OUTPUT = "one of our outputs"
    NOT_TAKEN = "outside the trigger's dir or formats"
    TOO_OLD = "older than the workflow is enabled"
    GONE = "no longer there"
    BAD_KEY = "an object whose key cannot be used"
    NOT_SETTLED = "still being written"
    NOT_READABLE = "an object that may not be read"
    OFF = "an upload of a workflow that is switched off"
    """A sweep finds it when the workflow is on again."""
    OFF_UNLISTED = "an announced upload of a workflow that is switched off and makes no sweeps"

    @property
    def is_final(self) -> bool:
        """False if a later poll has to decide about the same object again."""
        return self not in (Verdict.NOT_SETTLED, Verdict.NOT_READABLE, Verdict.OFF_UNLISTED)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one poll."""

    seconds: float = 20.0
    """Dagster gives up a tick after 60 s. A request or two to a slow bucket may still be under way at the end, each for
    some 20 s (`Buckets.short_timeout`)."""
    runs: int = 250
    """The rest of a burst follows in the next poll. Creating a run takes Dagster some hundredths of a second
    (bench/uploads.py)."""
    page: int = 1000
    """Listed objects that are looked up in the ledger at once."""
    heads: int = 32
    """Objects that are looked at between two checks of the limits."""
    threads: int = 8
    """That ask the bucket at the same time: an answer of S3 takes 20 to 50 ms."""
    remarks: int = 10
    """Objects and messages that are reported one by one."""


LIMITS = Limits()


class Ledger(Protocol):
    """Run keys of uploads that have a run, or need none."""

    def add(self, keys: Iterable[str]) -> None: ...

    def among(self, keys: Iterable[str]) -> AbstractSet[str]:
        """The keys that are in the ledger."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that needs a run of a workflow."""

    workflow: Workflow
    info: ObjectInfo


def decide(workflow: Workflow, info: ObjectInfo) -> Verdict:
    """Decide about an object without the ledger: NEW may also be KNOWN. `info` must come from the bucket's `head`."""
    if info.record:
        return Verdict.OWN_OUTPUT
    if not workflow.trigger.takes(info.key):
        return Verdict.NOT_TAKEN
    if not workflow.takes(info.key, info.modified):
        return Verdict.TOO_OLD
    return Verdict.NEW if info.settled else Verdict.NOT_SETTLED


class Poll:
    """One search for uploads to a bucket that need a run."""

    def __init__(
        self,
        workflows: Sequence[Workflow],
        bucket: Bucket,
        ledger: Ledger,
        limits: Limits,
        *,
        is_on: Callable[[str], bool] = lambda _: True,
        clock: Clock = time.monotonic,
    ) -> None:
        """`workflows` all trigger on the bucket. `is_on` tells by name whether a workflow is switched on."""
        self.workflows, self.ledger, self.limits, self._is_on = workflows, ledger, limits, is_on
        self.name = workflows[0].trigger.bucket
        self._bucket, self._clock = bucket, clock
        self._by_prefix = takers_by_prefix(workflows)
        self.started = clock()
        self.uploads: dict[str, Upload] = {}
        """Uploads that need a run, by run key."""
        self.counts: Counter[Verdict] = Counter()
        self.listed = 0
        self._passed = 0
        """Objects that sweeps have considered."""
        self.swept = False
        """Whether a listing was successful."""
        self.failures: list[str] = []
        """Errors of the bucket or a queue as a whole."""
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

    def run(self, cursor: Cursor, now: float, listeners: Sequence[tuple[str, Listen]]) -> Cursor:
        """Read announcements from queues, and sweep what is due. `now` is in Unix seconds."""
        for queue, listen in listeners:
            with self._reported(f"announcements in {queue} wait"):
                listen(self)
        for scope in due_scopes(self.workflows, cursor, now):
            # After slow announcements, a sweep waits for the next poll; so does the next scope.
            if self.over and (listeners or self.listed):
                return cursor.stopped(scope.prefix)
            cursor = self._sweep_scope(scope, cursor, now)
            if cursor.after:
                break
        return cursor

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        """Report a failure of a queue or a listing, so that the others are still used."""
        try:
            yield
        except MpsError as error:
            self.failures.append(f"{what}: {error}")

    def takers(self, key: str) -> list[Workflow]:
        """The workflows whose trigger takes the key."""
        folders = ["", *(key[: number + 1] for number, character in enumerate(key) if character == "/")]
        candidates = itertools.chain.from_iterable(self._by_prefix.get(folder, ()) for folder in folders)
        return [workflow for workflow in candidates if workflow.trigger.takes(key)]

    def consider(self, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Verdict]]]:
        """Check objects, and keep those that need a run; yield each key with its verdicts by run key.

        An object without a run key, such as one that is gone, has its verdict under "". Raise `MpsError` if the bucket does
        not answer.
        """
        answers = self._heads(keys)
        known = self.ledger.among(
            [run for info in answers.values() if isinstance(info, ObjectInfo) for run in self._runs(info)]
        )
        for key, answer in answers.items():
            found = self._decide(answer, known) if isinstance(answer, ObjectInfo) else {"": self._verdict_of(answer)}
            self.counts.update(found.values())
            yield key, found

    def _runs(self, info: ObjectInfo) -> dict[str, Workflow]:
        """The workflows that take an object, by the key of the run that it may need."""
        return {run_key(workflow.name, self.name, info): workflow for workflow in self.takers(info.key)}

    def _heads(self, keys: Sequence[str]) -> dict[str, ObjectInfo | MpsError]:
        def head(key: str) -> ObjectInfo | MpsError:
            try:
                return self._bucket.head(key)
            except MpsError as error:
                return error

        if len(keys) <= 1:
            return {key: head(key) for key in keys}
        with ThreadPoolExecutor(self.limits.threads) as pool:
            return dict(zip(keys, pool.map(head, keys), strict=True))

    def _decide(self, info: ObjectInfo, known: AbstractSet[str]) -> dict[str, Verdict]:
        runs = self._runs(info)
        verdicts = {run: decide(workflow, info) for run, workflow in runs.items()}
        for run, verdict in verdicts.items():
            if verdict is Verdict.NEW:
                verdicts[run] = Verdict.KNOWN if run in known else self._keep(run, Upload(runs[run], info))
        # So that no sweep checks it again.
        self.ledger.add([run for run, verdict in verdicts.items() if verdict is Verdict.OWN_OUTPUT])
        return verdicts or {"": Verdict.NOT_TAKEN}

    def _keep(self, key: str, upload: Upload) -> Verdict:
        if self._is_on(upload.workflow.name):
            self.uploads[key] = upload
            return Verdict.NEW
        return Verdict.OFF if upload.workflow.trigger.listing else Verdict.OFF_UNLISTED

    def _verdict_of(self, error: MpsError) -> Verdict:
        """Of an object that `head` does not describe. Raise the error if it is one of the whole bucket."""
        if isinstance(error, SourceNotAccessible):
            self._check_bucket()
            return Verdict.GONE
        if isinstance(error, InvalidConfiguration):
            self._bad_key = self._bad_key or str(error)
            return Verdict.BAD_KEY
        if isinstance(error, StorageRefused):
            self._check_bucket()
            # One unreadable object must not delay the others.
            self.remarks.append(str(error))
            return Verdict.NOT_READABLE
        raise error

    def _check_bucket(self) -> None:
        """Raise if the bucket itself is gone or refuses everything, which HEAD does not show; once per poll."""
        if not self._bucket_answered:
            next(self._bucket.list(self.workflows[0].trigger.prefix), None)
            self._bucket_answered = True

    def _sweep_scope(self, scope: Scope, cursor: Cursor, now: float) -> Cursor:
        """Sweep a scope as far as the limits allow. If its listing fails, none of its uploads count."""
        before = dict(self.uploads)
        try:
            after = self._sweep(scope, cursor.after if scope.holds(cursor.after) else "")
        except MpsError as error:
            self.uploads = before
            self.failures.append(f"{self.name}/{scope.prefix} could not be listed: {error}")
            # Not where it stopped: other scopes would wait for this one.
            return cursor.stopped("")
        self.swept = True
        return cursor.stopped(after) if after else cursor.finished(scope, now)

    def _sweep(self, scope: Scope, after: str) -> str:
        """List from `after` on; return the key after which to go on, empty at the end."""
        listing = iter(self._bucket.list(scope.prefix, after=after, left_out=self._leave_out))
        while page := list(itertools.islice(listing, self.limits.page)):
            self._bucket_answered = True
            after = self._sweep_page(page) or after
            if after != page[-1].key or self.over:
                # The prefix comes before all keys of the scope.
                return after or scope.prefix
        return ""

    def _sweep_page(self, page: Sequence[ObjectInfo]) -> str:
        """Return the last key of the page that needs no look any more; empty if the first one does."""
        pending = deque(self._unknown(page))
        while pending and not (self._passed and self.over) and self._get_past(pending):
            pass
        reached = [info.key for info in page if not pending or info.key < pending[0]]
        self.listed += len(reached)
        return reached[-1] if reached else ""

    @property
    def _batch_size(self) -> int:
        # At least one: a listing may take all of a poll's time each time, and the sweep must end some day.
        return 1 if self.over else min(self.limits.heads, self.limits.runs - len(self.uploads))

    def _unknown(self, page: Iterable[ObjectInfo]) -> list[str]:
        """The keys of a page that some workflow may need a run for."""
        runs = {
            run: (info.key, workflow.name)
            for info in page
            for run, workflow in self._runs(info).items()
            if workflow.takes(info.key, info.modified)
        }
        unknown = [runs[run] for run in runs.keys() - self.ledger.among(runs)]
        # Not looked at in each poll: there may be many by the time that the workflow is switched on again.
        self.counts.update(Verdict.OFF for _, workflow in unknown if not self._is_on(workflow))
        return sorted({key for key, workflow in unknown if self._is_on(workflow)})

    def _get_past(self, pending: deque[str]) -> bool:
        """Consider the next objects of the sweep; False if the bucket does not answer for one, which stays pending."""
        try:
            for _ in self.consider(list(itertools.islice(pending, self._batch_size))):
                pending.popleft()
                self._passed += 1
        except StorageFailed as error:
            if self._passed:
                return False
            # The last poll stopped here, too.
            self.remarks.append(str(error))
            pending.popleft()
            self._passed += 1
        return True

    def _leave_out(self, problem: str) -> None:
        self.counts[Verdict.BAD_KEY] += 1
        self._bad_key = self._bad_key or problem

    def summary(self, cursor: Cursor) -> str:
        """A summary of a poll without new uploads."""
        waiting = "".join(
            f", {self.counts[verdict]} {verdict.value}"
            for verdict in (Verdict.NOT_SETTLED, Verdict.OFF, Verdict.OFF_UNLISTED)
            if self.counts[verdict]
        )
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


Listen = Callable[[Poll], None]
"""Lets a poll consider what a queue announced."""
