"""Where the values of steps are kept: in a folder of this host, or in a bucket that all hosts reach.

A value has the key `<group>/<name>.json`. A group is the id of a run, or `ASSETS`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mps_dagster.errors import SourceNotAccessible
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.disk import filling
from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.model import RECORDS_DIR

ASSETS = "assets"
"""The group of the values of assets."""
PREFIX = f"{RECORDS_DIR}values/"
"""Of values in a bucket; no upload below it triggers a workflow."""


LOGS = f"{RECORDS_DIR}logs"


class ValueStore(Protocol):
    """Small values, each written as a whole. Methods raise `MpsError`."""

    def write(self, key: str, content: bytes, what: str) -> None:
        """`what` is named in errors: "cannot keep the result of web.subtask"."""

    def read(self, key: str) -> bytes | None:
        """None if there is no such value."""

    def groups(self) -> Iterator[tuple[str, float]]:
        """All groups, each with the time of its newest value, in Unix seconds."""

    def values(self, group: str) -> Iterator[tuple[str, float]]:
        """The names of a group's values, each with its time."""

    def remove(self, group: str, name: str = "") -> None:
        """Remove a value, or a whole group."""


def value_store(settings: Settings, buckets: Buckets) -> ValueStore:
    if settings.shared_bucket:
        return BucketStore(buckets.get(settings.shared_bucket))
    return FolderStore(settings.dagster_home / "values")


def log_store(settings: Settings, buckets: Buckets) -> ValueStore:
    """The logs of steps, which Dagster keeps by run, too."""
    if settings.cluster:
        return BucketStore(buckets.get(settings.shared_bucket), f"{LOGS}/storage/")
    return FolderStore(settings.dagster_home / "storage")


@dataclass(frozen=True, slots=True)
class FolderStore:
    """On this host's disk."""

    root: Path

    def write(self, key: str, content: bytes, what: str) -> None:
        path = self.root / key
        with filling(what, path.parent):
            write_whole(path, content)

    def read(self, key: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return (self.root / key).read_bytes()
        return None

    def groups(self) -> Iterator[tuple[str, float]]:
        yield from _entries(self.root)

    def values(self, group: str) -> Iterator[tuple[str, float]]:
        yield from _entries(self.root / group)

    def remove(self, group: str, name: str = "") -> None:
        if name:
            (self.root / group / name).unlink(missing_ok=True)
        else:
            shutil.rmtree(self.root / group, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class BucketStore:
    """Under a prefix of a bucket."""

    bucket: Bucket
    prefix: str = PREFIX

    def write(self, key: str, content: bytes, what: str) -> None:  # noqa: ARG002
        self.bucket.write(self.prefix + key, content, content_type="application/json")

    def read(self, key: str) -> bytes | None:
        with suppress(SourceNotAccessible):
            return self.bucket.read(self.prefix + key)
        return None

    def groups(self) -> Iterator[tuple[str, float]]:
        group, newest_s = "", 0.0
        # In key order, so a group's values come one after another.
        for info in self.bucket.list(self.prefix):
            name = info.key.removeprefix(self.prefix).partition("/")[0]
            if group and name != group:
                yield group, newest_s
                newest_s = 0.0
            group, newest_s = name, max(newest_s, info.modified.timestamp())
        if group:
            yield group, newest_s

    def values(self, group: str) -> Iterator[tuple[str, float]]:
        prefix = f"{self.prefix}{group}/"
        for info in self.bucket.list(prefix):
            yield info.key.removeprefix(prefix), info.modified.timestamp()

    def remove(self, group: str, name: str = "") -> None:
        for each in [name] if name else [each for each, _ in self.values(group)]:
            self.bucket.delete(f"{self.prefix}{group}/{each}")


def _entries(folder: Path) -> Iterator[tuple[str, float]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, entry.stat().st_mtime
