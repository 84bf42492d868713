"""The YAML files of a project: which of them have changed, and changing them while the service runs."""

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
"""The coarsest times that a file system keeps."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file, with facts that differ once its content does: the key under which what was read of it is kept."""

    path: Path
    changed_ns: int = 0
    """Not when it was modified, which `cp -p` and others set back."""
    size: int = 0
    inode: int = 0
    """Our own changes are renames: the inode differs even where time and size do not."""
    seen_ns: int = 0
    """When it was looked at, if it had just been changed: another write may get the same time, so it is read each time."""


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
    seen_ns = now if now - facts.st_ctime_ns < SETTLED_NS else 0
    return FileState(path, facts.st_ctime_ns, facts.st_size, facts.st_ino, seen_ns)


class Change:
    """Files that are changed together."""

    def __init__(self) -> None:
        self._before: dict[Path, tuple[bytes, int] | None] = {}

    def write(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Whole or not at all."""
        self._remember(path)
        write_whole(path, content, mode)

    def delete(self, path: Path) -> None:
        self._remember(path)
        path.unlink(missing_ok=True)

    def next_number(self, counter: Path, taken: Iterable[int]) -> int:
        """A number above all that are taken and all that were given out before, also to files that are gone."""
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
    """One change at a time, of all threads and processes; not to be nested. If the block raises, it is undone."""
    folder.mkdir(parents=True, exist_ok=True)
    # Each open file holds the lock for itself, so it keeps threads of one process apart, too.
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
