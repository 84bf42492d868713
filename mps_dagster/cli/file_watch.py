"""Notices changes of a project's YAML files, for `mps workflows validate --watch`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from watchdog.events import (
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

QUIET_S = 0.2
"""An editor writes a file in several steps."""
EVENTS: list[type[FileSystemEvent]] = [FileCreatedEvent, FileModifiedEvent, FileMovedEvent, FileDeletedEvent]
"""Not those of reading: each check reads the files."""


class Changes(FileSystemEventHandler):
    """Whether a YAML file has changed since the last wait."""

    def __init__(self) -> None:
        self._changed = threading.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if any(os.fsdecode(path).endswith(".yaml") for path in (event.src_path, event.dest_path) if path):
            self._changed.set()

    def wait(self) -> None:
        """Return when files have changed, and are quiet again."""
        self._changed.wait()
        while self._changed.is_set():
            self._changed.clear()
            self._changed.wait(QUIET_S)


@contextmanager
def folder_changes(folders: Iterable[Path]) -> Iterator[Changes]:
    """Watch the folders during the block."""
    changes, observer = Changes(), Observer()
    for folder in folders:
        if folder.is_dir():
            observer.schedule(changes, str(folder), event_filter=EVENTS)
    observer.start()
    try:
        yield changes
    finally:
        observer.stop()
        observer.join()
