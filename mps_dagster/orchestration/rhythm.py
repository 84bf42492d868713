"""Dagster's sensor loop and run queue, which rest while nothing happens.

Stock, a loop polls every sensor each five seconds. Here a sensor ticks when it is woken, and otherwise as rarely as its tag
says; a sensor without the tag, such as that of a bucket on S3, keeps its interval. Under `dagster dev`, all keep theirs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mps_dagster.orchestration import internals
from mps_dagster.orchestration.retries import Queue
from mps_dagster.orchestration.wakes import QUEUE, Wakes

RESTS = "mps/rests_s"
"""Tag of a sensor: seconds between two ticks while nothing wakes it."""
FOLDER = "mps/folder"
"""Tag of a sensor: the local bucket in which an upload wakes it. It rests only while the folder is watched."""
REST_S = 15
WOKEN_S = 1.0
"""Between two ticks of a sensor that is woken all the time."""
LOOP_S = 0.3
"""Between two rounds of the sensors while one that was woken still ticks."""
POLL_S = 0.5
"""How soon the daemon's end is noticed."""
QUEUE_REST_S = 2.0
"""A run that another host queued, or a slot that a killed run left, wakes nobody."""


class RestingSensors(internals.SensorDaemon):
    """Dagster's sensor daemon; `watch` is called with the buckets to watch, and tells whether it does."""

    def __init__(self, settings: Mapping[str, Any], wakes: Wakes, watch: Callable[[str, str], bool]) -> None:
        super().__init__(settings)
        self._wakes, self._watch = wakes, watch

    def core_loop(self, workspace: internals.Workspace[Any], shutdown: threading.Event) -> internals.DaemonIterator:
        with internals.sensor_intervals(self._rests):
            yield from super().core_loop(workspace, _Interruptible(shutdown, self._wakes))

    def _rests(self, sensor: internals.RemoteSensor, elapsed_s: float) -> bool:
        """Whether a sensor is not to tick yet, so long after its last tick began."""
        if elapsed_s >= WOKEN_S and self._wakes.is_due(sensor.name, time.time() - elapsed_s):
            return False
        folder, rest_s = sensor.tags.get(FOLDER), sensor.tags.get(RESTS)
        may_rest = rest_s and (not folder or self._watch(folder, sensor.name))
        return elapsed_s < (float(rest_s) if rest_s and may_rest else sensor.min_interval_seconds)


class RestingQueue(Queue):
    """The run queue, which also looks when it is woken."""

    def __init__(self, wakes: Wakes) -> None:
        super().__init__(QUEUE_REST_S)
        self._wakes = wakes

    def core_loop(self, workspace: internals.Workspace[Any], shutdown: threading.Event) -> internals.DaemonIterator:  # noqa: ARG002
        while True:
            started = time.time()
            yield internals.SpanMarker.START_SPAN
            yield from self.run_iteration(workspace)
            yield internals.SpanMarker.END_SPAN
            if not self._wakes.is_due(QUEUE, started):
                self._wakes.wait(QUEUE_REST_S, QUEUE)
            yield None


class _Interruptible(threading.Event):
    """The shutdown event of the sensors' loop, on which it waits between two rounds: a wake ends that."""

    def __init__(self, shutdown: threading.Event, wakes: Wakes) -> None:
        super().__init__()
        self._shutdown, self._wakes = shutdown, wakes

    def is_set(self) -> bool:
        return self._shutdown.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        # A wake of a sensor that still ticks stays due, and must not spin the loop.
        deadline = time.monotonic() + (timeout or 0.0)
        self._shutdown.wait(LOOP_S)
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._wakes.wait(min(POLL_S, left)):
                break
        return self.is_set()
