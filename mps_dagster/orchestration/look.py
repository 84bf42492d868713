"""One look for uploads that have no run yet, whoever tells of them: bounded in time and in runs."""

import itertools
import time
from collections.abc import Iterable, Iterator

from mps_dagster.errors import InvalidConfiguration, MpsError, SourceNotAccessible, StorageFailed, StorageRefused
from mps_dagster.orchestration.requested import Requested
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import run_key

RUNS_PER_TICK = 100
"""Creating a run takes Dagster 0.1 to 0.2 s (bench/uploads.py); the rest of a burst follows in the next tick."""
LOOK_S = 20.0
"""One look's time. Dagster gives up a tick after 60 s, and a request or two to a slow bucket may still be under way, each
for some 20 s (`Buckets.short_timeout`)."""
PAGE = 1000
NO_RUN = ""
"""In place of a run key: the object is gone, has a run, is one of our outputs or none of the workflow's."""


class Look:
    """One look for uploads that have no run yet."""

    def __init__(self, workflow: Workflow, bucket: Bucket, requested: Requested) -> None:
        self.workflow = workflow
        self.trigger = workflow.trigger
        self.bucket = bucket
        self.requested = requested
        self.deadline = time.monotonic() + LOOK_S
        self.chosen: dict[str, ObjectInfo] = {}
        self.unsettled = 0
        self.listed = 0
        self.swept = False
        self._answered = False
        self.failures: list[str] = []
        """What could not be asked at all."""
        self.remarks: list[str] = []
        """Single objects and messages that a person should look at."""
        self.left_out = 0
        self.left_out_such_as = ""
        """The first of what no run can be made of, such as keys that no bucket may hold."""

    @property
    def full(self) -> bool:
        return len(self.chosen) >= RUNS_PER_TICK

    @property
    def over(self) -> bool:
        return self.full or time.monotonic() > self.deadline

    def consider(self, key: str) -> str | None:
        """Choose the object if it is an upload that has no run yet.

        Return the run key by which it is remembered once it has one, `NO_RUN` if it needs none, None if that cannot be
        told now. Raise `MpsError` if the bucket does not answer.
        """
        try:
            info = self.bucket.head(key)
        except SourceNotAccessible:
            self._ask_bucket()
            return NO_RUN
        except InvalidConfiguration as error:
            self._leave_out(str(error))
            return NO_RUN
        except StorageRefused as error:
            self._ask_bucket()
            # One object that may not be read must not keep the others waiting.
            self.remarks.append(str(error))
            return None
        wanted = run_key(self.trigger.bucket, info)
        if info.record:
            # Our own output: remembered, so that no sweep looks at it again.
            self.requested.add([wanted])
            return NO_RUN
        if not self.workflow.takes(info.key, info.modified):
            return NO_RUN
        if not info.settled:
            self.unsettled += 1
            return None
        if self.requested.among([wanted]):
            return NO_RUN
        self.chosen[wanted] = info
        return wanted

    def _leave_out(self, what: str) -> None:
        self.left_out += 1
        self.left_out_such_as = self.left_out_such_as or what

    def _ask_bucket(self) -> None:
        """Raise if it is the bucket that is not there or refuses everything, which HEAD does not tell; once a look."""
        if not self._answered:
            next(self.bucket.list(self.trigger.prefix), None)
            self._answered = True

    def sweep(self, after: str) -> str:
        """Look through the trigger's dir from `after` on; return behind which key to go on, nothing if it is through.

        Raise `MpsError` if the listing fails; then nothing of it counts.
        """
        heard = dict(self.chosen)
        try:
            reached = self._sweep(after)
        except MpsError:
            self.chosen = heard
            raise
        self.swept = True
        return reached

    def _sweep(self, after: str) -> str:
        for page in _pages(self.bucket.list(self.trigger.prefix, after=after, left_out=self._leave_out)):
            self._answered = True
            taken = [info for info in page if self.workflow.takes(info.key, info.modified)]
            keys = {info.key: run_key(self.trigger.bucket, info) for info in taken}
            known = self.requested.among(keys.values())
            for info in page:
                if info.key in keys and keys[info.key] not in known and not self._gets_past(info.key):
                    return after
                after = info.key
                self.listed += 1
            if self.over:
                return after
        return ""

    def _gets_past(self, key: str) -> bool:
        """Consider an object of the sweep, unless the look is over. It gets past its first one in any case, or it might
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


def _pages(infos: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    source = iter(infos)
    while page := list(itertools.islice(source, PAGE)):
        yield page
