"""Scratch files: a run's subtasks share one copy of the source per host, and each works in its own folder."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mps_dagster.errors import ContentUnsupported, DiskFull, SourceChanged
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.disk import HINT, filling, size

RESERVATIONS = ".room"
"""The folder of scratch with what running subtasks reserve (room.py)."""
STALE_S = 48 * 3600
"""Scratch that was not touched for so long belongs to a run that died with its host."""


def staged(bucket: Bucket, key: str, etag: str, run_dir: Path) -> Path:
    """The object as a local file, fetched if needed. Safe for several processes at the same time."""
    path = staged_path(bucket, key, etag, run_dir)
    with filling(f"cannot fetch {bucket.name}/{key}", path.parent), _locked(path.with_suffix(".lock")):
        if not path.exists():
            bucket.fetch(key, path, etag=etag)
    return path


def staged_path(bucket: Bucket, key: str, etag: str, run_dir: Path) -> Path:
    name = hashlib.sha256(f"{bucket.name}\n{key}\n{etag}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return run_dir / "sources" / name


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_room(folder: Path, info: ObjectInfo, *, max_bytes: int) -> None:
    """Raise if a source is too big, or scratch has no space for it. Outputs are checked when they are made (room.py)."""
    if info.size > max_bytes:
        raise ContentUnsupported(
            f"the source has {info.size} bytes, more than {max_bytes} are not taken", hint="MPS_MAX_SOURCE_BYTES"
        )
    with filling("cannot prepare the run", folder):
        folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < info.size:
        raise DiskFull(
            f"the source has {size(info.size)}, and the scratch disk of {folder} has {size(free)} free", hint=HINT
        )


def check_unchanged(bucket: Bucket, key: str, etag: str) -> None:
    """Raise `SourceChanged` if the content is not the announced one."""
    if bucket.head(key).etag != etag:
        raise SourceChanged(
            f"{bucket.name}/{key} was replaced while it was being processed", hint="its new content is a new upload"
        )


@contextmanager
def work_folder(run_dir: Path, name: str) -> Iterator[Path]:
    """An empty folder that is always removed afterwards."""
    folder = run_dir / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(scratch: Path, ended: set[str]) -> list[str]:
    """Remove the scratch of ended runs and of runs that died long ago; return their names."""
    if not scratch.is_dir():
        return []
    runs = [folder for folder in scratch.iterdir() if folder.name != RESERVATIONS]
    gone = [run for run in runs if run.name in ended or _is_stale(run)]
    for run in gone:
        shutil.rmtree(run, ignore_errors=True)
    return [run.name for run in gone]


def _is_stale(folder: Path) -> bool:
    # It may be removed meanwhile, as a download has a temporary folder here.
    with suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime > STALE_S
    return False
