"""What a file system tells of one file."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def etag_of(facts: os.stat_result) -> str:
    # Not a hash: that would read every upload whole at every listing. Without the inode, which a backup does not bring back.
    return f"{facts.st_mtime_ns:x}-{facts.st_size:x}"


def real_path(path: Path) -> Path:
    # Not Path.resolve, which before Python 3.13 raises RuntimeError on links in a loop.
    return Path(os.path.realpath(path))


def content_of(path: Path) -> bytes | None:
    with suppress(*ABSENT):
        return path.read_bytes()
    return None


def flush(path: Path) -> None:
    """Else a power cut after the rename may leave a name without content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def is_being_written(path: Path) -> bool:
    """Whether a process has the file open for writing: Linux refuses a read lease on it then."""
    if sys.platform != "linux":
        return False
    try:
        with path.open("rb") as file:
            # Who opens the file for writing during the lease makes the kernel signal us. Its SIGIO ends a process
            # (seen after some hundred attempts); SIGURG is ignored.
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # Anything else says that leases are not to be had here: another owner's file, a file system without them.
        return error.errno in (errno.EAGAIN, errno.EBUSY)
    return False
