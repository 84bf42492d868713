"""The YAML files of a folder as they are at one moment: what is read of them is kept for as long as they stay the same."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

SETTLED_NS = 2 * 10**9
"""The coarsest clock of a file system."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file and what differs once it has another content. A key of caches."""

    path: Path
    modified_ns: int = 0
    size: int = 0
    inode: int = 0
    """Our own changes come by a rename, so the inode differs even if the time and the size do not."""
    read_ns: int = 0
    """Of a file that was written a moment ago: a second write in place may carry the same time, so it is read each time."""


def yaml_files(folder: Path) -> tuple[FileState, ...]:
    """In the order of their names; none if there is no such folder."""
    return tuple(_state(path) for path in sorted(folder.glob("*.yaml")))


def _state(path: Path) -> FileState:
    try:
        facts = path.stat()
    except OSError:
        # Reading it tells what is wrong.
        return FileState(path)
    now = time.time_ns()
    read_ns = now if now - facts.st_mtime_ns < SETTLED_NS else 0
    return FileState(path, facts.st_mtime_ns, facts.st_size, facts.st_ino, read_ns)
