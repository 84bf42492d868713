"""Wakes the daemon, so that what happened is handled at once, and nothing is polled in between.

Any process of the deployment sends the name of a sensor, or of the queue, over a socket in the home. The daemon's loops rest
until then. A message may get lost; then the next poll finds what it was about.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOCKET = "wake.sock"
QUEUE = "queue"
"""Wakes the run queue."""
KEPT_S = 10.0
"""How long a wake waits for a sensor whose last tick has not ended yet."""


def wake(home: Path, name: str, in_s: float = 0.0) -> None:
    """Have the daemon of a deployment, if there is one, tick a sensor now or later. `home` is Dagster's."""
    with suppress(OSError), short_path(home) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(f"{time.time() + in_s} {name}".encode(), f"{folder}/{SOCKET}")


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A short path of the folder: a socket's address has at most 107 bytes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class Wakes:
    """When which sensor is to tick. Times are in Unix seconds, as in Dagster's records of ticks."""

    def __init__(self) -> None:
        self._times: dict[str, set[float]] = {}
        self._changed = threading.Condition()

    def add(self, name: str, at: float) -> None:
        """`at` may lie in the future."""
        with self._changed:
            # Not all names are ever asked for: a sensor may be switched off.
            self._times[name] = {*self._after(name, time.time() - KEPT_S), at}
            self._changed.notify_all()

    def is_due(self, name: str, since: float) -> bool:
        """Whether there was a wake since then; earlier ones are forgotten."""
        now = time.time()
        with self._changed:
            times = self._times[name] = self._after(name, max(since, now - KEPT_S))
            return any(at <= now for at in times)

    def _after(self, name: str, moment_s: float) -> set[float]:
        return {at for at in self._times.get(name, ()) if at > moment_s}

    def wait(self, timeout_s: float, *names: str) -> bool:
        """Wait until one of the names is due, or all but `QUEUE` if none is given, but at most so long; return whether."""
        deadline = time.time() + timeout_s
        with self._changed:
            while (now := time.time()) < deadline:
                times = [at for name, ats in self._times.items() if self._concerns(name, names) for at in ats]
                if any(now - KEPT_S < at <= now for at in times):
                    return True
                self._changed.wait(min([deadline, *(at for at in times if at > now)]) - now)
        return False

    @staticmethod
    def _concerns(name: str, names: tuple[str, ...]) -> bool:
        return name in names if names else name != QUEUE


def listen(home: Path, wakes: Wakes) -> None:
    """Receive the names that other processes send, in a thread that ends with the process."""
    with short_path(home) as folder:
        # Left by a daemon that was killed.
        Path(folder, SOCKET).unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(f"{folder}/{SOCKET}")
        Path(folder, SOCKET).chmod(0o600)

    def receive() -> None:
        while True:
            at, _, name = receiver.recv(512).decode().partition(" ")
            wakes.add(name, float(at))

    threading.Thread(target=receive, name="wakes", daemon=True).start()
