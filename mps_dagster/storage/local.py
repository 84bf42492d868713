"""A folder as a bucket."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mps_dagster.errors import InvalidConfiguration, SourceChanged, SourceNotAccessible, StorageFailed
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.storage.drafts import draft_of
from mps_dagster.storage.keys import check_key

log = logging.getLogger(__name__)


class LocalBucket:
    """Objects are files below `root`; hidden names are not objects (our own drafts, and those of rsync and browsers)."""

    def __init__(self, name: str, root: Path, *, settle_s: float) -> None:
        self.name = name
        self.root = root
        self._settle_s = settle_s

    def head(self, key: str) -> ObjectInfo:
        path = self._path(key)
        with self._errors("look at", key):
            stat = path.stat()
            if not path.is_file() or not path.resolve().is_relative_to(self.root.resolve()):
                raise FileNotFoundError(errno.ENOENT, "no such object")
            return self._info(key, path, stat)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if not self.root.is_dir():
            raise StorageFailed(f"bucket {self.name} has no folder {self.root}", hint=f"mkdir -p {self.root}")
        with self._errors("list", prefix):
            keys = sorted(self._keys(self.root, ""))
        for key in keys:
            if key.startswith(prefix):
                # A file may be gone by now; that is no failure of the listing.
                with suppress(SourceNotAccessible):
                    yield self.head(key)

    def fetch(self, key: str, path: Path, *, etag: str | None = None) -> ObjectInfo:
        info = self.head(key)
        with self._errors("read", key), draft_of(path) as draft:
            # A copy, not a hard link: an upload may be rewritten in place while it is processed.
            shutil.copyfile(self._path(key), draft)
            after = self.head(key)
            if after.etag != info.etag or (etag is not None and etag != info.etag):
                raise SourceChanged(f"{self.name}/{key} is no longer the object that was announced")
            draft.replace(path)
        return info

    def read(self, key: str) -> bytes:
        self.head(key)
        with self._errors("read", key):
            return self._path(key).read_bytes()

    def publish(self, path: Path, key: str, *, content_type: str | None = None) -> ObjectInfo:  # noqa: ARG002
        target = self._path(key)
        with self._errors("write", key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(target) as draft:
                shutil.copyfile(path, draft)
                _flush(draft)
                draft.replace(target)
        return self.head(key)

    def write(self, key: str, content: bytes, *, content_type: str | None = None) -> ObjectInfo:  # noqa: ARG002
        target = self._path(key)
        with self._errors("write", key):
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(target) as draft:
                draft.write_bytes(content)
                draft.replace(target)
        return self.head(key)

    def path(self, key: str) -> Path:
        """The object as the file that it is; for reading, by those who need no copy."""
        self.head(key)
        return self._path(key)

    def delete(self, key: str) -> None:
        with self._errors("delete", key):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _keys(self, folder: Path, prefix: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_utf8(entry.name):
                    log.warning("%s: %r is not UTF-8 and is left out; rename it", self.name, entry.path)
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._keys(Path(entry.path), f"{prefix}{entry.name}/")
                elif entry.is_file():
                    yield f"{prefix}{entry.name}"

    def _info(self, key: str, path: Path, stat: os.stat_result) -> ObjectInfo:
        changed = max(stat.st_mtime, stat.st_ctime)
        return ObjectInfo(
            key=key,
            size=stat.st_size,
            etag=f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}",
            modified=datetime.fromtimestamp(changed, UTC),
            settled=time.time() - changed >= self._settle_s and not _being_written(path),
        )

    @contextmanager
    def _errors(self, verb: str, key: str) -> Iterator[None]:
        where = f"cannot {verb} {self.name}/{key}"
        try:
            yield
        except (FileNotFoundError, IsADirectoryError) as error:
            raise SourceNotAccessible(f"{where}: there is no such object") from error
        except (NotADirectoryError, FileExistsError) as error:
            raise InvalidConfiguration(
                f"{where}: a part of its path is a file", hint="rename one of the two"
            ) from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InvalidConfiguration(f"{where}: a name in it is longer than 255 bytes") from error
            raise StorageFailed(
                f"{where}: {error.strerror or error}", hint="free some space" if error.errno == errno.ENOSPC else ""
            ) from error


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _being_written(path: Path) -> bool:
    """Whether a process has the file open for writing: Linux refuses a read lease on it then."""
    if sys.platform != "linux":
        return False
    try:
        with path.open("rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EBUSY)
    return False
