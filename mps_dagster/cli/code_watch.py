"""Notices that the process with the project's code is gone.

The code server's child process does the work, and is the one that the kernel kills when memory runs out. The code server
does not replace it: nothing is launched any more, although all servers answer. Dagster has no setting for that, so its web
server is polled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import MpsError

POLL_EVERY_S = 5.0
RELOAD_AFTER_S = 15
"""Dagster itself tries for 10 s before it reports an error."""
GIVE_UP_AFTER_S = 140
"""As long as a start may take, after the reload: a new code server does not answer until it has loaded."""


@dataclass
class CodeWatch:
    """Whether Dagster reaches the code, polled every few seconds."""

    dagster: Dagster
    lost: bool = False
    """True when not even a reload has brought the code back."""
    _since: float | None = None
    _reloaded: bool = False

    def begin_again(self) -> None:
        self.lost, self._since, self._reloaded = False, None, False

    def poll(self, now: float) -> None:
        try:
            reached = self.dagster.reaches_code()
        except Exception:
            # No answer, or another error, shows nothing about the code; the watch goes on.
            return
        if reached:
            self.begin_again()
            return
        self._since = now if self._since is None else self._since
        self.lost = now - self._since > GIVE_UP_AFTER_S
        if now - self._since > RELOAD_AFTER_S and not self._reloaded:
            self._reloaded = True
            # Raises for the dead process even if it has replaced it; the next poll shows whether it has.
            with suppress(MpsError):
                self.dagster.reload()


@contextmanager
def watched_code(dagster: Dagster) -> Iterator[CodeWatch]:
    """Watch during the block; in a thread, because a reload takes as long as the project takes to load."""
    watch, ended = CodeWatch(dagster), threading.Event()

    def run() -> None:
        while not ended.wait(POLL_EVERY_S):
            watch.poll(time.monotonic())

    threading.Thread(target=run, name="code-watch", daemon=True).start()
    try:
        yield watch
    finally:
        ended.set()
