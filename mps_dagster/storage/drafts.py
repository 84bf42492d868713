"""Files that are not there yet: written without a name, and named when they are whole.

A file without a name goes with the process that writes it, even if that is killed. Where the disk cannot have one (NFS, or
another system than Linux), a draft has a hidden name beside its target, which stays if its writer is killed.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PREFIX = ".mps-"
MODE = 0o644
"""Outputs are for whoever may read the folder."""
NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
"""What disks and kernels answer that do not know O_TMPFILE. ENOENT may also mean that there is no such folder."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A file to be filled."""

    path: Path
    """To write to it and to read it."""
    _descriptor: int | None = None
    """Of a file without a name."""

    def replace(self, target: Path) -> None:
        """Give it this name, in the place of what may have it now."""
        if self._descriptor is None:
            self.path.replace(target)
            return
        try:
            self._link(target)
        except FileExistsError:
            # No call gives a name that is taken to a file without one.
            beside = target.with_name(f"{PREFIX}{secrets.token_hex(8)}")
            self._link(beside)
            try:
                beside.replace(target)
            except OSError:
                beside.unlink()
                raise

    def _link(self, name: Path) -> None:
        # Only with a `src_dir_fd` does Python call linkat, which follows /proc's link.
        os.link(self.path, name, src_dir_fd=self._descriptor, follow_symlinks=True)


def write_whole(path: Path, content: bytes, mode: int = MODE) -> None:
    """Write the file, making its folder; readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        draft.path.chmod(mode)
        draft.path.write_bytes(content)
        draft.replace(path)


@contextmanager
def draft_of(target: Path) -> Iterator[Draft]:
    """A file on the target's disk that is gone afterwards unless it has replaced something."""
    descriptor = _nameless(target.parent)
    if descriptor is None:
        with _named(target) as draft:
            yield draft
        return
    try:
        yield Draft(Path(f"/proc/self/fd/{descriptor}"), descriptor)
    finally:
        os.close(descriptor)


def _nameless(folder: Path) -> int | None:
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        descriptor = os.open(folder, flag | os.O_RDWR, MODE)
    except OSError as error:
        if error.errno in NO_NAMELESS:
            return None
        raise
    # Regardless of the umask.
    os.fchmod(descriptor, MODE)
    return descriptor


@contextmanager
def _named(target: Path) -> Iterator[Draft]:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=PREFIX)
    os.close(descriptor)
    draft = Path(name)
    try:
        # mkstemp's files are for their owner alone.
        draft.chmod(MODE)
        yield Draft(draft)
    finally:
        draft.unlink(missing_ok=True)
