"""Room for a subtask's outputs: in scratch and, if the bucket is a local folder, on its disk.

Subtasks that run on this host at the same time share a disk, so each reserves what its plan is estimated to write. One that
would fit if the others had ended waits for them; one that would not fit even then fails at once, before its ffmpeg runs.

Not covered: other programs and hosts that fill the disk, sources that are being fetched, and what an estimate misses. Then
writing fails, as `DiskFull` too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mps_dagster.errors import DiskFull, OutputRejected
from mps_dagster.execution.staging import RESERVATIONS
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.disk import HINT, existing, filling, full, size
from mps_dagster.storage.local import LocalBucket

log = logging.getLogger(__name__)

POLL_S = 1.0
NOTHING_BYTES = 1 << 16
"""A disk with less is full: writing takes blocks."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes by disk (`st_dev`), each with a path on it."""

    bytes: dict[int, int]
    paths: dict[int, Path]

    @classmethod
    def of(cls, estimate: int, folder: Path, bucket: Bucket) -> Needs:
        """A local bucket gets a copy; a remote one is uploaded to from scratch."""
        needs, paths = Counter[int](), dict[int, Path]()
        for place in [folder, *([bucket.root] if isinstance(bucket, LocalBucket) else [])]:
            path = existing(place)
            disk = path.stat().st_dev
            needs[disk] += estimate
            paths.setdefault(disk, path)
        return cls(dict(needs), paths)


@dataclass(frozen=True, slots=True)
class Room:
    """The reservations of this host's subtasks: one locked file each, which counts while its process lives."""

    scratch: Path
    wait_s: float
    """How long to wait at most for others to end."""

    @contextmanager
    def reserved(self, what: str, needs: Needs, folder: Path) -> Iterator[None]:
        """Wait for room, and hold it while the block runs. Raise `DiskFull` if there is none and none is to be expected."""
        (self.scratch / RESERVATIONS).mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.wait_s
        with ExitStack() as held:
            if missing := self._take(what, needs, folder, held):
                log.warning("waiting for other subtasks, which have reserved the rest: %s", missing.message)
            while missing:
                if time.monotonic() > deadline:
                    raise missing
                time.sleep(POLL_S)
                missing = self._take(what, needs, folder, held)
            yield

    def _take(self, what: str, needs: Needs, folder: Path, held: ExitStack) -> DiskFull | None:
        """Reserve, or say what is missing as long as others run."""
        reservations = self.scratch / RESERVATIONS
        # One at a time, so that two do not take the same room.
        with (reservations / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            outstanding, temporary = self._others()
            for disk, need in needs.bytes.items():
                free = shutil.disk_usage(needs.paths[disk]).free
                if not need or need <= free - outstanding[disk]:
                    continue
                missing = _missing(what, need, free, needs.paths[disk])
                if need > free + temporary[disk]:
                    raise missing
                return missing
            mine = reservations / hashlib.sha256(str(folder).encode()).hexdigest()[:32]
            file = held.enter_context(mine.open("w"))
            held.callback(mine.unlink, missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({"folder": str(folder), "bytes": needs.bytes}))
            file.flush()
        return None

    def _others(self) -> tuple[Counter[int], Counter[int]]:
        """What the others will still write, by disk, and what they have written in scratch, which is removed after them."""
        outstanding, temporary = Counter[int](), Counter[int]()
        for path in (self.scratch / RESERVATIONS).iterdir():
            if path.name == "lock":
                continue
            # Removed just now, or its folder is.
            with suppress(OSError, ValueError), path.open("r+") as file:
                if not _is_held(file):
                    path.unlink()
                    continue
                reservation = json.load(file)
                folder = Path(reservation["folder"])
                written, scratch = _bytes_in(folder), existing(folder).stat().st_dev
                temporary[scratch] += written
                for disk, count in reservation["bytes"].items():
                    outstanding[int(disk)] += max(0, count - (written if int(disk) == scratch else 0))
        return outstanding, temporary


@contextmanager
def named(output: str, folder: Path) -> Iterator[None]:
    """A full disk is an error that names the output, the disk and what is left of it, wherever it was met."""
    try:
        with filling("cannot write to scratch", folder):
            yield
    except DiskFull as error:
        raise DiskFull(f"{output} was not made: {error.message}", hint=error.hint or HINT) from error


@contextmanager
def full_if_rejected(folder: Path) -> Iterator[None]:
    """ffmpeg writes HLS without looking at errors: then only the output is wrong, and the disk is still full."""
    try:
        yield
    except OutputRejected as error:
        if shutil.disk_usage(folder).free < NOTHING_BYTES:
            raise full(error.message, folder) from error
        raise


def _is_held(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _bytes_in(folder: Path) -> int:
    """Without the source, which is a link."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink())


def _missing(what: str, need: int, free: int, path: Path) -> DiskFull:
    return DiskFull(f"{what} needs about {size(need)} on the disk of {path}, which has {size(free)} free", hint=HINT)
