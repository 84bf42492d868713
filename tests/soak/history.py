"""What became of the uploads, as Dagster and the event queue tell it."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from mps_dagster.control import tags
from mps_dagster.control.run_config import source_config
from mps_dagster.control.task_run import TaskRun, task_id, task_run
from mps_dagster.errors import StorageFailed
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.orchestration.runs import run_record, stored_run
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Workflow
from soak.target import EVENTS

if TYPE_CHECKING:
    from soak.uploads import Upload

Place = tuple[str, str, str]
"""Bucket, key and etag."""
OPEN = (
    DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run."""

    run_id: str
    root: str
    place: Place
    status: str
    created_s: float
    ended_s: float | None
    goes_on: bool
    """It has not ended, or another run will follow."""


@dataclass
class History:
    """The runs of all uploads, read again as they change."""

    settings: Settings
    by_place: dict[Place, list[Attempt]] = field(default_factory=dict)
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _instance: DagsterInstance | None = None

    @property
    def instance(self) -> DagsterInstance:
        if self._instance is None:
            self._instance = DagsterInstance.from_config(str(self.settings.dagster_home))
        return self._instance

    def refresh(self) -> None:
        """The database may be down; then all stays as it was."""
        with self._lock:
            # All of them: a commit may come late, and tags change without a new time.
            for record in self.instance.get_run_records():
                self._attempts[record.dagster_run.run_id] = _attempt(record)
            by_place = defaultdict(list)
            for attempt in sorted(self._attempts.values(), key=lambda attempt: attempt.created_s):
                by_place[attempt.place].append(attempt)
            self.by_place = dict(by_place)

    def ended(self, uploads: Iterable[Upload]) -> int:
        with suppress(Exception):
            self.refresh()
        return sum(self.has_ended(upload) for upload in uploads)

    def has_ended(self, upload: Upload) -> bool:
        attempts = self.by_place.get(upload.place, [])
        if not attempts:
            # Content that was replaced before a look found it never gets a run.
            return upload.kind == "replaced" and time.time() > upload.at + 20
        return not attempts[-1].goes_on

    def open_runs(self) -> list[str]:
        return [f"{run.run_id} ({run.status.value})" for run in self.instance.get_runs(RunsFilter(statuses=list(OPEN)))]

    def state(self, run_id: str, workflow: Workflow) -> TaskRun:
        run = self.instance.get_run_by_id(run_id)
        assert run
        return task_run(run_record(self.instance, run, workflow), tasks=workflow.tasks.values())

    def pids(self, run_id: str) -> set[int]:
        """Processes of a run, as its log names them."""
        found = set()
        for entry in self.instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
            data: Any = entry.dagster_event.event_specific_data if entry.dagster_event else None
            pid = getattr(data, "metadata", {}).get("pid")
            if pid is not None:
                found.add(int(str(pid.value)))
            words = (entry.dagster_event.message or "").split() if entry.dagster_event else []
            # "process 123 has ended in the middle of step …"
            if words[:1] == ["process"] and words[2:5] == ["has", "ended", "in"]:
                found.add(int(words[1]))
        return found


def _attempt(record: dg.RunRecord) -> Attempt:
    run = record.dagster_run
    stored = stored_run(run, record)
    own, etag = run.tags, str(source_config(run.run_config, stored.workflow).get("etag", ""))
    # Dagster creates the next run after the end of this one.
    follows = stored.status == "FAILURE" and own.get(tags.WILL_RETRY) == "true"
    return Attempt(
        run.run_id, run.root_run_id or run.run_id, (own.get(tags.BUCKET, ""), own.get(tags.KEY, ""), etag),
        stored.status, stored.created_s, stored.ended_s, not run.is_finished or follows,
    )  # fmt: skip


@dataclass
class Events:
    """Takes the events out of the queue as a receiver does, in a thread."""

    settings: Settings
    received: list[dict[str, Any]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def of(self, root_run_id: str) -> list[dict[str, Any]]:
        task = task_id(root_run_id)
        return [event for event in self.received if (event["WorkflowTaskEvent"] or {}).get("TaskId") == task]

    def _run(self) -> None:
        queue = LocalQueue.of(self.settings)
        while not self._stop.wait(0.5):
            # PostgreSQL is restarted now and then.
            with suppress(StorageFailed):
                for message in queue.receive(EVENTS, max_messages=100):
                    self.received.append(json.loads(message.body))
                    queue.acknowledge(EVENTS, message.receipt)
