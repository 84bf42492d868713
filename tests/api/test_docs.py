"""The examples in the docs, sent one after the other through the official SDK."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from projects import ROOT

from mps_dagster.api.server import create_service
from mps_dagster.control import tags
from mps_dagster.control.graphql import Dagster
from mps_dagster.control.task_run import StoredRun
from mps_dagster.storage.buckets import Buckets

RUN = "00000000-0000-0000-0000-000000000001"
EXAMPLE = re.compile(r"### (\w+)\n.*?```json\n(.*?)```", re.DOTALL)
ANSWERS = {"TaskId": "$TASK", "Definition": "$DEFINITION", "WorkflowId": "$WORKFLOW", "ScheduleId": "$SCHEDULE"}


def test_every_action_has_an_example_that_is_taken(call, settings, clips, monkeypatch):
    """In the order of the page; Dagster itself is met in tests/cli."""
    waiting = StoredRun(
        RUN, RUN, "process_media", "QUEUED", 0.0, None, None,
        {tags.WORKFLOW: "process_media", tags.BUCKET: "inbox", tags.KEY: "clip.mp4"},
    )  # fmt: skip
    monkeypatch.setattr(Dagster, "launch", lambda *_, **__: RUN)
    monkeypatch.setattr(Dagster, "runs", lambda *_, **__: [])
    monkeypatch.setattr(Dagster, "count", lambda *_: 0)
    monkeypatch.setattr(Dagster, "newest_of", lambda *_: waiting)
    monkeypatch.setattr(Dagster, "terminate", lambda *_: None)
    monkeypatch.setattr(Dagster, "events", lambda *_: iter(()))
    (settings.buckets_dir / "inbox").mkdir(parents=True)
    Buckets(settings).get("inbox").publish(clips.video(), "clip.mp4")
    text = (ROOT / "docs" / "api-examples.md").read_text()
    examples = EXAMPLE.findall(text)
    assert {name for name, _ in examples} == set(create_service(settings).actions)
    known: dict[str, object] = {"$TODAY": datetime.now(UTC).isoformat(timespec="seconds")}
    for action, body in examples:
        for name, value in known.items():
            body = body.replace(f'"{name}"', json.dumps(value))
        answer = call(action, **json.loads(body))
        known |= {placeholder: answer[name] for name, placeholder in ANSWERS.items() if name in answer}
