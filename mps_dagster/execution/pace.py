"""How fast a subtask gets on, and when it will have ended, from what its processes report."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_S = 30.0
"""The time left follows the rate of this time: a subtask's stages (search, encoding, scoring) and scenes differ in speed."""
SURE_S = 2.0
"""A shorter time says little: an encoder fills its lookahead first."""
NOTE_EVERY_S = 10.0
"""Time between two notes, and before the first."""
NOTES = 10
"""A note for each such part of the work, but none for the last, which the end of the subtask tells."""


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a step is."""

    fraction: float
    """Done, 0 to 1."""
    speed: float = 0.0
    """Media seconds per second of the process that runs now."""
    left_s: float | None = None
    """Seconds until it has ended; None while that is not known."""


Listener = Callable[[StepProgress], None]


@dataclass(slots=True)
class Pace:
    """The reports of one attempt of a subtask."""

    clock: Callable[[], float] = time.monotonic
    _reports: deque[tuple[float, float]] = field(default_factory=deque)
    """Time and fraction, of the window."""

    def after(self, fraction: float, speed: float) -> StepProgress:
        """How far it is with one more report."""
        now, fraction = self.clock(), min(1.0, fraction)
        if self._reports and fraction < self._reports[-1][1]:
            # It began anew: what was made together with others is made alone.
            self._reports.clear()
        self._reports.append((now, fraction))
        while len(self._reports) > 2 and self._reports[1][0] <= now - WINDOW_S:
            self._reports.popleft()
        return StepProgress(fraction, speed, self._left_s(now, fraction))

    def _left_s(self, now: float, fraction: float) -> float | None:
        if fraction >= 1:
            return 0.0
        begun_s, before = self._reports[0]
        took_s, done = now - begun_s, fraction - before
        return (1 - fraction) * took_s / done if took_s >= SURE_S and done > 0 else None


@dataclass(slots=True)
class Notes:
    """Progress in words for a log that keeps them: at most nine for a subtask, and none for one that takes 10 s."""

    write: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _part: int = 0
    _due: float = field(default=0.0)

    def __post_init__(self) -> None:
        self._due = self.clock() + NOTE_EVERY_S

    def hear(self, progress: StepProgress) -> None:
        part = int(progress.fraction * NOTES)
        if self._part < part < NOTES and self.clock() >= self._due:
            self._part, self._due = part, self.clock() + NOTE_EVERY_S
            self.write(in_words(progress.fraction, progress.speed, progress.left_s))


def in_words(fraction: float, speed: float | None, left_s: float | None) -> str:
    """`45 %, 2.3×, 0:01:20 left`; what is not known is left out."""
    words = (percent(fraction), times(speed), left(left_s))
    return ", ".join(word for word in words if word)


def percent(fraction: float) -> str:
    return f"{whole_percent(fraction)} %"


def whole_percent(fraction: float) -> int:
    """0 to 100, and 100 only of what is done."""
    return int(round(100 * fraction, 6))


def times(speed: float | None) -> str:
    return f"{speed:.1f}×" if speed else ""


def left(left_s: float | None) -> str:
    return "" if left_s is None else f"{clock_time(left_s)} left"


def clock_time(seconds: float) -> str:
    """`1:02:03`, with as many hours as it takes."""
    minutes, whole_s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{whole_s:02}"
