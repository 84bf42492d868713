"""Watches local buckets, and wakes their sensors when an upload is whole. On Linux only (inotify)."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from watchdog.events import DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileMovedEvent, FileSystemEvent

from mps_dagster.orchestration.wakes import Wakes
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import RECORDS_DIR

log = logging.getLogger("mps_dagster.folders")

EVENTS: list[type[FileSystemEvent]] = [FileClosedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent]
"""A file that was closed by its writer or moved in; and new folders, whose files may be older than their watch."""
MARGIN_S = 0.05
"""A file counts as settled when it is unchanged for `settle_s`, not earlier."""


class FolderWatch:
    """Watches buckets, each from the first time that it is called for it."""

    def __init__(self, settings: Settings, wakes: Wakes) -> None:
        self._settings, self._wakes = settings, wakes
        self._observer: Any = None
        self._watched: dict[str, tuple[int, Any]] = {}
        """Inode of the folder, and watchdog's watch; None if it cannot be watched."""

    def __call__(self, bucket: str, sensor: str) -> bool:
        """Watch a bucket, and wake the sensor for its uploads; False if that is not possible."""
        folder = self._settings.buckets_dir / bucket
        inode, watch = self._watched.get(bucket, (0, None))
        with suppress(OSError):
            current = folder.stat().st_ino
            if current != inode:
                # New, or another folder of this name.
                watch = self._start(folder, sensor, watch)
                self._watched[bucket] = (current, watch)
            return watch is not None
        return False

    def _start(self, folder: Path, sensor: str, earlier: Any) -> Any:
        if sys.platform != "linux":
            return None
        if self._observer is None:
            from watchdog.observers.inotify import InotifyObserver

            # Full events: else a file that is moved in would be reported as if it was created.
            self._observer = InotifyObserver(generate_full_events=True)
            self._observer.daemon = True
            self._observer.start()
        if earlier is not None:
            self._observer.unschedule(earlier)
        try:
            return self._observer.schedule(
                _Uploads(folder, self._settings.settle_s, sensor, self._wakes),
                str(folder),
                recursive=True,
                event_filter=EVENTS,
            )
        except OSError as error:
            log.warning("%s is polled, as it cannot be watched: %s", folder, error)
            return None


class _Uploads:
    """What watchdog calls with each event."""

    def __init__(self, folder: Path, settle_s: float, sensor: str, wakes: Wakes) -> None:
        self._folder, self._settle_s, self._sensor, self._wakes = folder, settle_s, sensor, wakes

    def dispatch(self, event: FileSystemEvent) -> None:
        path = Path(os.fsdecode(event.dest_path or event.src_path))
        key = path.relative_to(self._folder).as_posix() if path.is_relative_to(self._folder) else ""
        if not key or key.startswith(RECORDS_DIR) or any(part.startswith(".") for part in key.split("/")):
            return
        changed_s = time.time()
        with suppress(OSError):
            # watchdog reports half a second late.
            changed_s = path.stat().st_ctime
        self._wakes.add(self._sensor, changed_s + self._settle_s + MARGIN_S)
