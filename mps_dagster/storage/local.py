"""A folder as a bucket."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shlex
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mps_dagster.errors import (
    InvalidConfiguration,
    MpsError,
    SourceChanged,
    SourceNotAccessible,
    StorageFailed,
    StorageRefused,
)
from mps_dagster.storage.bucket import CHUNK_BYTES, READ_BYTES, ObjectInfo, Tell, log, too_large
from mps_dagster.storage.disk import FULL, filling, full
from mps_dagster.storage.drafts import draft_of, write_whole
from mps_dagster.storage.keys import check_key
from mps_dagster.storage.local_file import ABSENT, content_of, etag_of, flush, is_being_written, real_path

MARKS = ".mps/outputs"
"""One small file per output, by the hash of its key: its etag, and the key of our record of it. A second line is of the
output that is there until this one replaces it."""
LOCKS = ".mps/locks"
IMPOSSIBLE = {
    errno.EEXIST: "a part of its path is a file",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EISDIR: "there is a folder of that name",
    errno.ENAMETOOLONG: "a name in it is longer than 255 bytes",
}
"""What a folder cannot hold though S3 could."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LocalBucket:
    """Objects are the files below `root`; hidden names are not objects (our own drafts, and those of rsync and browsers)."""

    def __init__(self, name: str, root: Path, *, settle_s: float) -> None:
        self.name = name
        self.root = root
        self._settle_s = settle_s

    def head(self, key: str) -> ObjectInfo:
        with self._reading("look at", key):
            info = self._info(key, self.path(key))
        return replace(info, record=self._record_of(key, info.etag))

    def list(self, prefix: str = "", *, after: str = "", left_out: Tell = log.warning) -> Iterator[ObjectInfo]:
        with self._errors("list", prefix):
            for key in self._keys("", prefix, after, left_out):
                try:
                    with self._reading("look at", key):
                        info = self._info(key, self.path(key))
                except SourceNotAccessible:
                    # Gone by now, or a link to nothing or to elsewhere: no object, and no failure of the listing.
                    continue
                except StorageRefused as error:
                    left_out(str(error))
                    continue
                yield info

    def fetch(self, key: str, path: Path, *, etag: str | None = None) -> ObjectInfo:
        with draft_of(path) as draft:
            with self._reading("read", key):
                info = self._unchanged(key, etag)
                # A copy, not a hard link: an upload may be rewritten in place while it is processed.
                with filling(f"cannot copy {self.name}/{key}", path.parent):
                    shutil.copyfile(self.path(key), draft.path)
                self._unchanged(key, info.etag)
            draft.replace(path)
        return info

    def read(self, key: str, *, max_bytes: int = READ_BYTES) -> bytes:
        with self._reading("read", key), self.path(key).open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise too_large(self.name, key, max_bytes)
        return content

    def stream(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        with self._reading("read", key), ExitStack() as opened:
            file = opened.enter_context(self.path(key).open("rb"))
            if etag is not None and etag != etag_of(os.fstat(file.fileno())):
                raise SourceChanged(f"{self.name}/{key} is no longer the object that was announced")
            file.seek(start)
            opened.pop_all()
        return self._chunks(file, key, length)

    def _chunks(self, file: BinaryIO, key: str, length: int | None) -> Iterator[bytes]:
        left = sys.maxsize if length is None else length
        with self._reading("read", key), file:
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def publish(
        self,
        path: Path,
        key: str,
        *,
        content_type: str | None = None,  # noqa: ARG002
        record: str = "",
    ) -> ObjectInfo:
        # A file that the caller does not have is no fault of the bucket.
        path.open("rb").close()
        return self._put(key, lambda draft: shutil.copyfile(path, draft), record=record)

    def write(
        self,
        key: str,
        content: bytes,
        *,
        content_type: str | None = None,  # noqa: ARG002
        record: str = "",
    ) -> ObjectInfo:
        return self._put(key, lambda draft: draft.write_bytes(content), record=record)

    def swap(self, key: str, old: bytes | None, new: bytes) -> bool:
        with self._errors("write", key):
            target = self._target(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(target) as draft:
                draft.path.write_bytes(new)
                flush(draft.path)
                with self._locked(key):
                    current = content_of(target)
                    if current == old:
                        draft.replace(target)
        return current in (old, new)

    def path(self, key: str) -> Path:
        """The object as the file that it is; for reading, by those who need no copy."""
        with self._reading("look at", key):
            path = real_path(self._path(key))
            # A link that leaves the bucket leads to nothing.
            if not path.is_relative_to(real_path(self.root)) or not stat.S_ISREG(path.lstat().st_mode):
                raise FileNotFoundError(errno.ENOENT, "no such object")
            return path

    def delete(self, key: str) -> None:
        with self._errors("delete", key), suppress(*ABSENT):
            # Emptied folders stay: no listing shows them, and a publish may just be about to use one.
            self._target(key).unlink()

    def _unchanged(self, key: str, etag: str | None) -> ObjectInfo:
        info = self.head(key)
        if etag is not None and etag != info.etag:
            raise SourceChanged(f"{self.name}/{key} is no longer the object that was announced")
        return info

    def _put(self, key: str, fill: Callable[[Path], object], *, record: str) -> ObjectInfo:
        with self._errors("write", key):
            target = self._target(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(target) as draft:
                fill(draft.path)
                flush(draft.path)
                if record:
                    # Before the object is there: no listing in between may take it for an upload.
                    self._mark(key, etag_of(draft.path.stat()), record)
                draft.replace(target)
        return self.head(key)

    def _mark(self, key: str, etag: str, record: str) -> None:
        lines = [f"{etag} {record}"]
        with suppress(OSError):
            current = etag_of(self._path(key).stat())
            lines += [f"{current} {earlier}" for earlier in [self._record_of(key, current)] if earlier]
        write_whole(self._mark_path(key), "\n".join(lines).encode())

    def _record_of(self, key: str, etag: str) -> str:
        try:
            lines = self._mark_path(key).read_text().splitlines()
        except OSError:
            return ""
        return next((line.partition(" ")[2] for line in lines if line.partition(" ")[0] == etag), "")

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Nobody else swaps the object meanwhile, on this host or, on a shared disk with locks, on another."""
        lock = self.root / LOCKS / hashlib.sha256(key.encode()).hexdigest()[:2]
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _mark_path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.root / MARKS / digest[:2] / digest[:40]

    def _path(self, key: str) -> Path:
        if any(part.startswith(".") for part in check_key(key).split("/")):
            raise InvalidConfiguration(
                f"{self.name} cannot hold {key!r}: names that begin with a dot are hidden", hint="choose another key"
            )
        return self.root / key

    def _target(self, key: str) -> Path:
        """Where the object is written or removed. Its last name is taken as it is: a link there is replaced, not followed."""
        path = self._path(key)
        if not real_path(path.parent).is_relative_to(real_path(self.root)):
            raise InvalidConfiguration(f"{self.name}/{key}: a link in its path leads out of the bucket")
        return path

    def _keys(self, above: str, prefix: str, after: str, left_out: Tell) -> Iterator[str]:
        # A folder sorts with its slash, which is what makes this key order: `a-b` comes before `a/b`.
        for key in sorted(self._entries(above, left_out)):
            if not key.endswith("/"):
                if key.startswith(prefix) and key > after:
                    yield key
            elif (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key)):
                try:
                    yield from self._keys(key, prefix, after, left_out)
                except ABSENT:
                    # Only the bucket's own folder must be there; others may go while we look.
                    continue
                except PermissionError as error:
                    # Such as lost+found. The listed folder itself must be readable.
                    if prefix.startswith(key):
                        raise
                    left_out(
                        f"bucket {self.name}: folder {key!r} is left out, let user {os.geteuid()} read it: {error}"
                    )

    def _entries(self, above: str, left_out: Tell) -> Iterator[str]:
        with os.scandir(self.root / above) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    key = check_key(above + entry.name)
                except InvalidConfiguration as error:
                    left_out(f"bucket {self.name}: a file is left out, rename it: {error}")
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield f"{key}/"
                elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                    yield key

    def _info(self, key: str, path: Path) -> ObjectInfo:
        facts = path.stat()
        return ObjectInfo(
            key=key,
            size=facts.st_size,
            etag=etag_of(facts),
            # ctime, which the kernel sets at every change: a file that is moved in with an old mtime is new, and one
            # whose mtime lies in the future (a camera's clock) settles.
            modified=datetime.fromtimestamp(facts.st_ctime, UTC),
            settled=time.time() - facts.st_ctime >= self._settle_s and not is_being_written(path),
        )

    @contextmanager
    def _reading(self, verb: str, key: str) -> Iterator[None]:
        with self._errors(verb, key):
            try:
                yield
            except ABSENT as error:
                raise SourceNotAccessible(f"cannot {verb} {self.name}/{key}: there is no such object") from error

    @contextmanager
    def _errors(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._told(f"cannot {verb} {self.name}/{key}", error) from error

    def _told(self, where: str, error: OSError) -> MpsError:
        if error.errno in IMPOSSIBLE:
            return InvalidConfiguration(f"{where}: {IMPOSSIBLE[error.errno]}", hint="choose another key")
        what = f"{where}: {error.strerror or error}"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StorageRefused(what, hint=f"let user {os.geteuid()} read and write {self.root}")
        if error.errno in FULL:
            return full(where, self.root)
        if error.errno in NO_LOCKS:
            return StorageFailed(what, hint="mount the disk with file locks (NFS: rpc.statd; Lustre: -o flock)")
        if not self.root.exists():
            return StorageFailed(what, hint=f"mkdir -p {shlex.quote(str(self.root))}")
        return StorageFailed(what)
