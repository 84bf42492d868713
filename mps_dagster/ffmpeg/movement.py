"""Whether a process gets on. A hung one may use CPU, print progress, and read the same bytes for ever."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
BLOCK_BYTES = 4096
"""Less is not counted as written: it may still be in a pipe to us."""
IDLE = 0.01
"""Share of a core. Printing progress while all other threads wait takes less."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu_s: float
    read_bytes: int | None = None
    """None if the kernel does not tell."""
    written_bytes: int = 0
    """Including what went into pipes."""


@dataclass(slots=True)
class Movement:
    """Looks at a process again and again, and tells when it is stuck.

    It moves when its caller says so (a later frame), when it writes, and when it reads; but only so much, because reading
    one part again and again proves nothing. A process that does not move for `stall_s` is stuck if it is idle, or if it
    used as many seconds of CPU meanwhile. So one that waits for a core on a busy machine gets more time.
    """

    pid: int
    stall_s: float
    read_limit: int
    _since: float = 0.0
    """When it moved last, its CPU time then, and the most that it had read and written."""
    _cpu_s: float = 0.0
    _read: int = 0
    _blocks: int = 0
    _proved: int = 0
    """What it had read when something other than reading moved."""

    def stuck(self, *, advanced: bool, received: int) -> str:
        """Why it has to be ended; empty while it moves. `received` is the number of bytes that came through its pipes."""
        usage, now = usage_of(self.pid), time.monotonic()
        if usage is None:
            return ""
        if self._moves(usage, received, advanced=advanced) or not self._since:
            self._since, self._cpu_s = now, usage.cpu_s
            return ""
        still_s, used_s = now - self._since, usage.cpu_s - self._cpu_s
        if still_s <= self.stall_s or IDLE * still_s <= used_s < self.stall_s:
            return ""
        if used_s < self.stall_s:
            return f"it hung: for {self.stall_s:g} s it read and wrote nothing, and used no CPU"
        return f"it was stuck: for {self.stall_s:g} s it wrote nothing and read nothing new, but used {used_s:.0f} s of CPU"

    def _moves(self, usage: Usage, received: int, *, advanced: bool) -> bool:
        if usage.read_bytes is None:
            return advanced or usage.cpu_s > self._cpu_s
        blocks = (usage.written_bytes - received) // BLOCK_BYTES
        reads, self._read = usage.read_bytes > self._read, usage.read_bytes
        if advanced or blocks > self._blocks:
            self._blocks, self._proved = max(blocks, self._blocks), usage.read_bytes
            return True
        return reads and usage.read_bytes - self._proved <= self.read_limit


def usage_of(pid: int) -> Usage | None:
    """None without /proc: then only the time limit ends a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # Field 2 is the program's name in parentheses and may contain spaces; utime and stime are fields 14 and 15.
    user, system = stat.rpartition(")")[2].split()[11:13]
    cpu_s = (int(user) + int(system)) / TICKS
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return Usage(cpu_s)
    # rchar and wchar count all reads and writes, also those that the page cache answers.
    figures = {name: int(value) for name, _, value in (line.partition(":") for line in lines)}
    return Usage(cpu_s, figures["rchar"], figures["wchar"])
