"""A small disk of its own: only on one can a full disk be tried."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """A tmpfs of this size; skips the test where none may be mounted."""
    if sys.platform != "linux":
        pytest.skip("mounts a Linux tmpfs")
    libc = ctypes.CDLL(None, use_errno=True)
    path.mkdir(parents=True)
    if libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, f"size={megabytes}m".encode()):
        pytest.skip(f"may not mount a small disk: {os.strerror(ctypes.get_errno())}")
    try:
        yield path
    finally:
        # 2 = MNT_DETACH: also if something still has a file open.
        libc.umount2(os.fsencode(path), 2)


def fill(path: Path, *, leave: int) -> Path:
    """A file, hidden from buckets, that leaves this many bytes of the disk."""
    filler = path / ".filler"
    filler.write_bytes(b"")
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(path).free - leave)
    return filler
