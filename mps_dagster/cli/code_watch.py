"""Notices that the process which holds the project's code is gone.

`dagster dev` replaces the code server when that one dies, but not the process that does the work under it (the one that
the kernel ends when memory runs out): nothing is launched any more, while all servers answer. Dagster has no setting
for that, so it is asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import MpsError

ASK_EVERY_S = 5.0
RELOAD_AFTER_S = 15
"""Dagster itself tries for 10 s before it says so."""
GIVE_UP_AFTER_S = 140
"""As long as a start may take, after the reload: a code server that Dagster replaces says nothing until it has loaded."""


@dataclass
class CodeWatch:
    """Whether Dagster reaches the code, asked every few seconds."""

    dagster: Dagster
    lost: bool = False
    """Not even a reload has brought it back."""
    _since: float | None = None
    _reloaded: bool = False

    def look(self, now: float) -> None:
        try:
            reached = self.dagster.reaches_code()
        except Exception:
            # That the UI does not answer, or says something else, tells nothing of the code; the watch goes on.
            return
        if reached:
            self._since, self._reloaded = None, False
            return
        self._since = now if self._since is None else self._since
        self.lost = now - self._since > GIVE_UP_AFTER_S
        if now - self._since > RELOAD_AFTER_S and not self._reloaded:
            self._reloaded = True
            # It tells of the dead process even when it has replaced it; the next look shows which.
            with suppress(MpsError):
                self.dagster.reload()


@contextmanager
def watched_code(dagster: Dagster) -> Iterator[CodeWatch]:
    """Looked at for as long as the block lasts; in a thread, because a reload takes as long as the project takes to load."""
    watch, ended = CodeWatch(dagster), threading.Event()

    def look() -> None:
        while not ended.wait(ASK_EVERY_S):
            watch.look(time.monotonic())

    threading.Thread(target=look, name="code-watch", daemon=True).start()
    try:
        yield watch
    finally:
        ended.set()
