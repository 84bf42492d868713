"""What every bucket can do. One conformance suite (tests/storage/test_bucket.py) holds for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mps_dagster.errors import ContentUnsupported

log = logging.getLogger(__name__)

READ_BYTES = 32 * 2**20
"""Of a record or a manifest: many times what any has."""
CHUNK_BYTES = 1 << 20

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as its bucket describes it."""

    key: str
    """Path inside the bucket, no leading slash."""
    size: int
    """Bytes."""
    etag: str
    """Changes when the content does. Opaque; never a content hash that one may rely on."""
    modified: datetime
    """UTC."""
    settled: bool = True
    """False while the upload may still be going on (a local file that is open or was touched just now)."""
    record: str = ""
    """Of an output: the key of our record of it. Empty for an upload, also if it is a copy of an output under another name.

    Only `head` tells.
    """


def too_large(bucket: str, key: str, max_bytes: int) -> ContentUnsupported:
    return ContentUnsupported(f"{bucket}/{key} has more than the {max_bytes} bytes that are read of it")


class Bucket(Protocol):
    """Objects by key. Keys have no leading slash, no `.` or `..` segment, no NUL.

    Every method raises `StorageFailed` when the bucket cannot be reached or used (a retry can help), and
    `InvalidConfiguration` on a key that the bucket can never hold. A failed listing raises: it is never an empty one.
    """

    @property
    def name(self) -> str:
        """As written in a workflow: `inbox`, `s3://media`."""

    def head(self, key: str) -> ObjectInfo:
        """Raise `SourceNotAccessible` if there is no such object."""

    def list(self, prefix: str = "", *, after: str = "", left_out: Tell = log.warning) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix` and comes behind `after`, in key order, as it is asked for.

        Uploads in progress come with `settled=False`. `left_out` is called with what cannot be listed: keys that no bucket
        may hold, folders that may not be read.
        """

    def fetch(self, key: str, path: Path, *, etag: str | None = None) -> ObjectInfo:
        """Copy the object to `path`, whole or not at all.

        With `etag`, raise `SourceChanged` if the object is (or becomes, while it is read) another one.
        """

    def read(self, key: str, *, max_bytes: int = READ_BYTES) -> bytes:
        """A small object's content; of one that is larger no more than `max_bytes` is taken, and it raises
        `ContentUnsupported`. Raise `SourceNotAccessible` if there is none.
        """

    def stream(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        """The content from byte `start` on, `length` bytes (more than none) or all, a chunk at a time.

        Raises at once what `fetch` raises, and later what goes wrong on the way.
        """

    def publish(self, path: Path, key: str, *, content_type: str | None = None, record: str = "") -> ObjectInfo:
        """Put the file at `key`. Readers see the old object or the whole new one, never a part.

        `record` marks it as an output, until somebody puts something else there.
        """

    def write(self, key: str, content: bytes, *, content_type: str | None = None, record: str = "") -> ObjectInfo:
        """As `publish`, from memory."""

    def swap(self, key: str, old: bytes | None, new: bytes) -> bool:
        """Write `new` if the content is `old` (None: if there is none), in one step; False if it is something else.

        Of several callers with the same `old`, wherever they run, one gets True. For small objects that are only ever
        written this way, each time with another content. It holds as far as the service checks conditions (docs/s3.md).
        """

    def delete(self, key: str) -> None:
        """Remove the object; no error if it is not there."""
