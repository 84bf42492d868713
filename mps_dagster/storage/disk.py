"""Free space of disks, and the error of one that is full."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mps_dagster.errors import DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT)
HINT = "free some space, or point MPS_HOME to another disk; what was written has been removed"


@contextmanager
def filling(what: str, path: Path) -> Iterator[None]:
    """While the block writes to `path`: a full disk is named."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise full(what, path) from error


def full(what: str, path: Path) -> DiskFull:
    return DiskFull(f"{what}: no space left on the disk of {path} ({free(path)})", hint=HINT)


def free(path: Path) -> str:
    """`1.2 MB of 20 MB are free`"""
    usage = shutil.disk_usage(existing(path))
    return f"{size(usage.free)} of {size(usage.total)} are free"


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(part for part in (path, *path.parents) if part.exists())


def size(count: float) -> str:
    """`850 kB`, `1.2 GB`"""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
