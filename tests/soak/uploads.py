"""What is uploaded: good clips, damaged ones, clips that are replaced in the middle, equal names in several folders."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clips import pattern, tone

from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import Settings
from mps_dagster.storage.local_file import etag_of
from soak.history import History
from soak.target import BUCKET_IN, INBOX, LOCAL, REMOTE

SECONDS = 2
Kind = Literal["good", "damaged", "replaced"]


@dataclass(frozen=True, slots=True)
class Upload:
    """One content at one place."""

    workflow: str
    bucket: str
    key: str
    etag: str
    kind: Kind
    """What it is, which says how it may end: `replaced` is the content that was there before the last one."""
    at: float
    """Unix seconds."""

    @property
    def place(self) -> tuple[str, str, str]:
        return self.bucket, self.key, self.etag


def make_clips(settings: Settings, folder: Path) -> list[Path]:
    """Tiny good sources; none keeps a core busy for long."""
    fast = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac")
    forms = {
        "plain.mp4": (*pattern("160x90", seconds=SECONDS), *tone(SECONDS)),
        "upright.mp4": (*pattern("90x160", seconds=SECONDS), *tone(SECONDS, 880)),
        "slow.mov": (*pattern("176x144", rate="10", seconds=SECONDS), *tone(SECONDS, 220)),
    }
    ffmpeg, made = Ffmpeg.of(settings), []
    for name, source in forms.items():
        path = folder / name
        ffmpeg.run((*source, *fast, "-movflags", "+faststart", f"file:{path}"), cwd=folder, on_progress=lambda _: None)
        made.append(path)
    return made


@dataclass
class Uploader:
    """Uploads in a thread, as fast as the deployment takes them, but never more than `ahead` that have not ended."""

    settings: Settings
    s3: Any
    """A client that reaches the bucket even while the deployment cannot."""
    clips: list[Path]
    chance: random.Random
    history: History
    ahead: int = 6
    uploads: list[Upload] = field(default_factory=list)
    problem: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(60)

    def batch(self, count: int) -> list[Upload]:
        """So many good uploads now."""
        before = len(self.uploads)
        for number in range(count):
            workflow = (LOCAL, REMOTE)[number % 2]
            self._put(workflow, f"batch{before}/last{number}.mp4", self._content("good"), "good")
        return self.uploads[before:]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if len(self.uploads) - self.history.ended(self.uploads) < self.ahead:
                    self._one()
                self._stop.wait(self.chance.uniform(0.2, 1.5))
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
            raise

    def _one(self) -> None:
        number, workflow = len(self.uploads), self.chance.choice((LOCAL, LOCAL, REMOTE))
        kind = self.chance.choices(("good", "damaged", "replaced"), (80, 10, 10))[0]
        # Equal names in different folders.
        name = f"day{number}/{self.chance.choice(('holiday', 'clip', 'a b'))}{self.chance.choice(('.mp4', '.mov'))}"
        self._put(workflow, name, self._content(kind), kind)  # type: ignore[arg-type]
        if kind == "replaced":
            self._stop.wait(self.chance.uniform(1, 10))
            self._put(workflow, name, self._content("good"), "good")

    def _content(self, kind: str) -> bytes:
        """Never the same twice, so that nothing made before can be used again."""
        whole = self.chance.choice(self.clips).read_bytes()
        if kind == "damaged":
            return self.chance.choice(DAMAGES)(whole) + os.urandom(8)
        return whole + b"\0\0\0\x18free" + os.urandom(16)

    def _put(self, workflow: str, name: str, content: bytes, kind: Kind) -> None:
        put = self._put_local if workflow == LOCAL else self._put_remote
        bucket, etag = put(name, content)
        self.uploads.append(Upload(workflow, bucket, name, etag, kind, time.time()))

    def _put_local(self, name: str, content: bytes) -> tuple[str, str]:
        path = self.settings.buckets_dir / INBOX / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() or self.chance.random() < 0.7:
            draft = self.settings.home / "draft"
            draft.write_bytes(content)
            draft.rename(path)
        else:
            # As a slow copy does it: open all the time.
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                time.sleep(1)
                file.write(content[len(content) // 2 :])
        return INBOX, etag_of(path.stat())

    def _put_remote(self, name: str, content: bytes) -> tuple[str, str]:
        self.s3.put_object(Bucket=BUCKET_IN, Key=name, Body=content)
        return f"s3://{BUCKET_IN}", hashlib.md5(content).hexdigest()


DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda whole: whole[: len(whole) // 20],  # not even the header is whole
    lambda _: b"<!DOCTYPE html><html><body><h1>403 Forbidden</h1></body></html>\n",
    lambda _: b"",
)
"""None gives an output: half a clip may have a still that is good."""
