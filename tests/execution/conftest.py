"""A worker with a home of its own, and one call that takes a clip through a task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.subtask import Subtask
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.media.info import MediaInfo
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates


@pytest.fixture(scope="session", autouse=True)
def probed_once() -> Iterator[None]:
    """The same content has the same facts: its probe, a process of its own, need not run again for each test."""
    facts: dict[tuple[bytes, int], MediaInfo] = {}
    real = Ffmpeg.probe

    def probe(self: Ffmpeg, path: Path, **limits: float) -> MediaInfo:
        key = (hashlib.sha256(path.read_bytes()).digest(), self.max_pixels)
        if key not in facts:
            facts[key] = real(self, path, **limits)
        return facts[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ffmpeg, "probe", probe)
        yield


@pytest.fixture
def worker(tmp_path) -> Worker:
    settings = Settings(project=tmp_path / "project", home=tmp_path / "home", settle_s=0)
    settings.templates_dir.mkdir(parents=True)
    return Worker.of(settings, Buckets(settings))


@pytest.fixture
def upload(worker) -> Callable[..., Source]:
    """Put a file into the inbox, fetch and probe it as a run does."""

    def upload(path: Path, key: str = "") -> Source:
        key = key or path.name
        worker.buckets.get("inbox").publish(path, key)
        return worker.fetch_source("inbox", key, None, "run")

    return upload


@pytest.fixture
def planned(worker) -> Callable[..., tuple[Subtask, ...]]:
    """Break a task of the given outputs down."""

    def planned(source: Source, kind: str, *outputs: dict[str, Any], **task: Any) -> tuple[Subtask, ...]:
        document = {"type": kind, "outputs": list(outputs), **task}
        templates = Templates.load(worker.settings.templates_dir)
        parsed = parse_task("task", document, {"bucket": "outputs", "dir": "/out/"}, templates, where="test")
        return break_down(parsed, source, worker)

    return planned


@pytest.fixture
def made(worker, planned) -> Callable[..., list[SubtaskResult]]:
    """Do it, and return what came."""

    def made(source: Source, kind: str, *outputs: dict[str, Any]) -> list[SubtaskResult]:
        return [worker.perform(subtask, "run", lambda *_: None) for subtask in planned(source, kind, *outputs)]

    return made
