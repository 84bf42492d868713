"""Something that is done each time one is asked, but no more often than every so many seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Every:
    """The first time is at once."""

    seconds: float
    _due_at: float = 0.0

    def is_due(self) -> bool:
        """Whether it is time; if so, the next time is counted from now."""
        if (now := time.monotonic()) < self._due_at:
            return False
        self._due_at = now + self.seconds
        return True
