"""When a message that announces uploads is deleted."""

from __future__ import annotations

import json

import pytest

from mps_dagster.control.queue_listener import QueueListener
from mps_dagster.control.uploads import Limits, Poll
from mps_dagster.errors import StorageFailed, StorageRefused
from mps_dagster.storage.announcements import VISIBILITY_S, Message

from .test_uploads import Faulty, SetLedger, workflow, write


class Queue:
    """Messages by body, received once."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.deleted: list[str] = []

    def announce(self, *keys: str, bucket: str = "inbox") -> None:
        records = [
            {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
            for key in keys
        ]
        self.send(",".join(keys), json.dumps({"Records": records}))

    def send(self, name: str, body: str) -> None:
        self.waiting.append(Message(name, "", body))

    def receive(self, deadline: float):
        while self.waiting:
            batch, self.waiting = self.waiting[:10], self.waiting[10:]
            yield batch

    def delete(self, messages) -> None:
        self.deleted += [message.id for message in messages]


class Listening:
    """A listener over a bucket in memory, and the time."""

    def __init__(self, dead_letters) -> None:
        self.queue, self.bucket, self.ledger, self.now = Queue(), Faulty(), SetLedger(), 0.0
        self.workflows = [workflow(queue="uploads")]
        self.off: set[str] = set()
        self.listener = QueueListener(lambda: self.queue, dead_letters, lambda: self.now)
        self.new_poll = lambda limits: Poll(
            self.workflows,
            self.bucket,
            self.ledger,
            limits,
            is_on=lambda name: name not in self.off,
            clock=lambda: self.now,
        )

    def listen(self, limits: Limits | None = None) -> Poll:
        self.poll = self.new_poll(limits or Limits())
        self.listener.listen(self.poll)
        return self.poll


@pytest.fixture
def listening(tmp_path) -> Listening:
    return Listening(tmp_path / "dead")


def test_a_message_is_deleted_when_the_ledger_has_all_its_uploads(listening):
    """Until then their runs may never be made."""
    write(listening.bucket, "in/a.mp4", "in/b.mp4")
    listening.queue.announce("in/a.mp4", "in/b.mp4")
    uploads = list(listening.listen().uploads)
    assert len(uploads) == 2
    listening.ledger.add(uploads[:1])
    listening.listen()
    assert listening.queue.deleted == []
    listening.ledger.add(uploads)
    listening.listen()
    assert listening.queue.deleted == ["in/a.mp4,in/b.mp4"]


def test_a_message_that_became_visible_again_is_not_waited_for(listening):
    """It is received again, with another receipt."""
    write(listening.bucket, "in/a.mp4")
    listening.queue.announce("in/a.mp4")
    uploads = listening.listen().uploads
    listening.now = VISIBILITY_S + 1
    listening.listen()
    listening.ledger.add(uploads)
    listening.listen()
    assert listening.queue.deleted == []


def test_what_needs_no_run_is_deleted_at_once(listening):
    """Gone, elsewhere, of another bucket, known already."""
    write(listening.bucket, "in/a.mp4")
    listening.queue.announce("in/a.mp4")
    listening.ledger.add(listening.listen().uploads)
    listening.queue.announce("in/gone.mp4")
    listening.queue.announce("out/a.mp4")
    listening.queue.announce("in/a.mp4", bucket="other")
    listening.queue.announce("in/a.mp4")
    listening.listen()
    assert listening.queue.deleted == ["in/a.mp4", "in/gone.mp4", "out/a.mp4", "in/a.mp4", "in/a.mp4"]


def test_a_message_of_an_upload_that_cannot_be_decided_on_stays(listening):
    """Also if it announces another one that can."""
    write(listening.bucket, "in/a.mp4", "in/secret.mp4")
    listening.bucket.faults["in/secret.mp4"] = StorageRefused("access denied")
    listening.queue.announce("in/a.mp4", "in/secret.mp4")
    uploads = listening.listen().uploads
    assert [upload.info.key for upload in uploads.values()] == ["in/a.mp4"]
    listening.ledger.add(uploads)
    listening.listen()
    assert listening.queue.deleted == []


def test_a_message_that_cannot_be_read_becomes_a_dead_letter(listening, tmp_path):
    """And is reported."""
    listening.queue.send("1", "hello")
    poll = listening.listen()
    [path] = (tmp_path / "dead").iterdir()
    assert json.loads(path.read_text())["body"] == "hello"
    assert f"kept as {path}" in poll.remarks[0]
    assert listening.queue.deleted == ["1"]


def test_what_was_decided_before_the_bucket_stopped_answering_is_deleted(listening):
    """The rest comes again."""
    listening.queue.announce("in/gone.mp4")
    listening.queue.announce("in/a.mp4")
    listening.bucket.faults["in/a.mp4"] = StorageFailed("timeout")
    with pytest.raises(StorageFailed, match="timeout"):
        listening.listen()
    assert listening.queue.deleted == ["in/gone.mp4"]


def test_no_more_is_received_than_there_are_runs_for(listening):
    """The rest of a burst stays in the queue."""
    keys = [f"in/{number:02}.mp4" for number in range(25)]
    write(listening.bucket, *keys)
    for key in keys:
        listening.queue.announce(key)
    assert len(listening.listen(Limits(runs=15)).uploads) == 20
    assert len(listening.queue.waiting) == 5


def test_messages_that_are_none_of_the_workflow_s_keep_no_upload_waiting(listening):
    """A bucket may announce all that is put into it: a poll reads on until it has runs enough."""
    write(listening.bucket, "in/a.mp4")
    for number in range(23):
        listening.queue.announce(f"elsewhere/{number}.ts")
    listening.queue.announce("in/a.mp4")
    assert [upload.info.key for upload in listening.listen(Limits(runs=5)).uploads.values()] == ["in/a.mp4"]
    assert len(listening.queue.deleted) == 23


def test_one_queue_serves_all_workflows_of_the_bucket(listening):
    """A message goes when the runs of all of them are in the ledger."""
    listening.workflows = [workflow(queue="uploads"), workflow(name="other", queue="uploads")]
    write(listening.bucket, "in/a.mp4")
    listening.queue.announce("in/a.mp4")
    [first, second] = listening.listen().uploads
    listening.ledger.add([first])
    listening.listen()
    assert listening.queue.deleted == []
    listening.ledger.add([second])
    listening.listen()
    assert listening.queue.deleted == ["in/a.mp4"]


@pytest.mark.parametrize(("listing", "deleted"), [(True, ["in/a.mp4"]), (False, [])])
def test_a_message_for_a_workflow_that_is_off_waits_unless_a_sweep_will_find_the_upload(listening, listing, deleted):
    """Another workflow of the bucket goes on reading the queue."""
    listening.workflows = [
        workflow(queue="uploads", listing=listing),
        workflow(name="other", queue="uploads", dir="/o/"),
    ]
    listening.off = {"vod"}
    write(listening.bucket, "in/a.mp4")
    listening.queue.announce("in/a.mp4")
    assert not listening.listen().uploads
    assert listening.queue.deleted == deleted
