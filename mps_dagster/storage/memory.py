"""A bucket in memory: the fake for tests, held to the same promises as the others."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mps_dagster.errors import SourceChanged, SourceNotAccessible
from mps_dagster.storage.bucket import CHUNK_BYTES, READ_BYTES, ObjectInfo, Tell, log, too_large
from mps_dagster.storage.drafts import draft_of
from mps_dagster.storage.keys import check_key


class MemoryBucket:
    """As S3: every write is a new version, and nothing is ever in progress."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    def head(self, key: str) -> ObjectInfo:
        return self._get(key)[0]

    def list(self, prefix: str = "", *, after: str = "", left_out: Tell = log.warning) -> Iterator[ObjectInfo]:  # noqa: ARG002
        with self._lock:
            infos = [info for info, _ in self._objects.values() if info.key.startswith(prefix) and info.key > after]
        yield from sorted(infos, key=lambda info: info.key)

    def fetch(self, key: str, path: Path, *, etag: str | None = None) -> ObjectInfo:
        info, content = self._get(key)
        if etag is not None and etag != info.etag:
            raise SourceChanged(f"{self.name}/{key} is no longer the object that was announced")
        with draft_of(path) as draft:
            draft.path.write_bytes(content)
            draft.replace(path)
        return info

    def read(self, key: str, *, max_bytes: int = READ_BYTES) -> bytes:
        info, content = self._get(key)
        if info.size > max_bytes:
            raise too_large(self.name, key, max_bytes)
        return content

    def stream(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        info, content = self._get(key)
        if etag is not None and etag != info.etag:
            raise SourceChanged(f"{self.name}/{key} is no longer the object that was announced")
        part = content[start : None if length is None else start + length]
        return (part[at : at + CHUNK_BYTES] for at in range(0, len(part), CHUNK_BYTES))

    def publish(self, path: Path, key: str, *, content_type: str | None = None, record: str = "") -> ObjectInfo:
        return self.write(key, path.read_bytes(), content_type=content_type, record=record)

    def write(
        self,
        key: str,
        content: bytes,
        *,
        content_type: str | None = None,  # noqa: ARG002
        record: str = "",
    ) -> ObjectInfo:
        info = ObjectInfo(check_key(key), len(content), f"v{next(self._versions)}", datetime.now(UTC), record=record)
        with self._lock:
            self._objects[key] = (info, content)
        return info

    def swap(self, key: str, old: bytes | None, new: bytes) -> bool:
        info = ObjectInfo(check_key(key), len(new), f"v{next(self._versions)}", datetime.now(UTC))
        with self._lock:
            entry = self._objects.get(key)
            current = entry[1] if entry else None
            if current == old:
                self._objects[key] = (info, new)
        return current in (old, new)

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(check_key(key), None)

    def _get(self, key: str) -> tuple[ObjectInfo, bytes]:
        with self._lock:
            entry = self._objects.get(check_key(key))
        if entry is None:
            raise SourceNotAccessible(f"there is no object {self.name}/{key}")
        return entry
