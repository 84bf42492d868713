"""A worker in its own folder, and fixtures that upload a clip and run a task on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.subtask import Subtask
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates


@pytest.fixture
def worker(tmp_path) -> Worker:
    settings = Settings(project=tmp_path / "project", home=tmp_path / "home", settle_s=0)
    settings.templates_dir.mkdir(parents=True)
    return Worker.of(settings, Buckets(settings))


@pytest.fixture
def upload(worker) -> Callable[..., Source]:
    """Publish a file in the inbox, then fetch and probe it as a run does."""

    def upload(path: Path, key: str = "") -> Source:
        key = key or path.name
        worker.buckets.get("inbox").publish(path, key)
        return worker.fetch_source("inbox", key, None, "run")

    return upload


@pytest.fixture
def plan_task(worker) -> Callable[..., tuple[Subtask, ...]]:
    """Break a task with these outputs down into subtasks."""

    def plan_task(source: Source, kind: str, *outputs: dict[str, Any], **task: Any) -> tuple[Subtask, ...]:
        document = {"type": kind, "outputs": list(outputs), **task}
        templates = Templates.load(worker.settings.templates_dir)
        parsed = parse_task("task", document, {"bucket": "outputs", "dir": "/out/"}, templates, where="test")
        return break_down(parsed, source, worker)

    return plan_task


@pytest.fixture
def run_task(worker, plan_task) -> Callable[..., list[SubtaskResult]]:
    """Plan a task and perform its subtasks."""

    def run_task(source: Source, kind: str, *outputs: dict[str, Any]) -> list[SubtaskResult]:
        return [worker.perform(subtask, "run", lambda *_: None) for subtask in plan_task(source, kind, *outputs)]

    return run_task
