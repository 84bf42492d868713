"""The YAML files of a project: detects changes, and changes them while the service runs."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mps_dagster.storage.drafts import write_whole

LOCK = ".lock"
SETTLED_NS = 2 * 10**9
"""The coarsest resolution of a file system's times."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file, with attributes that change with its content: a cache key."""

    path: Path
    changed_ns: int = 0
    """The ctime: unlike the mtime, `cp -p` and others do not set it back."""
    size: int = 0
    inode: int = 0
    """Our own changes are renames, so the inode differs even if time and size do not."""
    seen_ns: int = 0
    """When it was checked, if it had just been changed: another write may get the same time, so it is not cached."""


def yaml_files(folder: Path) -> tuple[FileState, ...]:
    """Sorted by name; empty if there is no such folder."""
    return tuple(_state(path) for path in sorted(folder.glob("*.yaml")))


def _state(path: Path) -> FileState:
    try:
        facts = path.stat()
    except OSError:
        # Reading it will raise the error.
        return FileState(path)
    now = time.time_ns()
    seen_ns = now if now - facts.st_ctime_ns < SETTLED_NS else 0
    return FileState(path, facts.st_ctime_ns, facts.st_size, facts.st_ino, seen_ns)


class Change:
    """A change of several files that can be undone."""

    def __init__(self) -> None:
        self._before: dict[Path, tuple[bytes, int] | None] = {}

    def write(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Write the whole file or nothing."""
        self._remember(path)
        write_whole(path, content, mode)

    def delete(self, path: Path) -> None:
        self._remember(path)
        path.unlink(missing_ok=True)

    def next_number(self, counter: Path, taken: Iterable[int]) -> int:
        """A number above those taken and those assigned before, also to files that were deleted."""
        last = [int(counter.read_text())] if counter.exists() else []
        number = max([*last, *taken]) + 1
        self.write(counter, str(number).encode())
        return number

    def undo(self) -> None:
        for path, before in self._before.items():
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, *before)

    def _remember(self, path: Path) -> None:
        if path not in self._before:
            self._before[path] = (path.read_bytes(), path.stat().st_mode & 0o777) if path.exists() else None


@contextmanager
def changing(folder: Path) -> Iterator[Change]:
    """Lock the folder against other threads and processes; undo the change if the block raises. Cannot be nested."""
    folder.mkdir(parents=True, exist_ok=True)
    # A lock belongs to the open file, so it excludes threads of the same process, too.
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        change = Change()
        try:
            yield change
        except BaseException:
            change.undo()
            raise


def as_yaml(document: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True).encode()
