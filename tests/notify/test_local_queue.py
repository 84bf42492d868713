"""The embedded queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mps_dagster.notify.local_queue import LocalQueue


@pytest.fixture
def queue(tmp_path) -> LocalQueue:
    return LocalQueue(tmp_path / "queue.sqlite")


def test_messages_come_oldest_first_and_leave_when_acknowledged(queue):
    """A receipt acknowledges one message."""
    for number in range(3):
        queue.send("events", f"m{number}", f"body {number}")
    messages = queue.receive("events", max_messages=2)
    assert [message.body for message in messages] == ["body 0", "body 1"]
    assert queue.depth("events") == (1, 2)
    assert all(queue.acknowledge("events", message.receipt) for message in messages)
    assert queue.depth("events") == (1, 0)


def test_what_is_not_acknowledged_comes_again(queue):
    """With a new receipt; the old one is void."""
    queue.send("events", "m", "body")
    first = queue.receive("events", visibility_s=0)[0]
    second = queue.receive("events", visibility_s=60)[0]
    assert (second.id, second.receive_count) == ("m", 2)
    assert not queue.acknowledge("events", first.receipt)
    assert queue.acknowledge("events", second.receipt)


def test_a_message_that_is_there_is_not_sent_twice(queue):
    """Delivery is at least once; the queue takes the repeats out while it can."""
    for _ in range(2):
        queue.send("events", "m", "body")
    assert queue.depth("events") == (1, 0)


def test_two_receivers_never_get_the_same_message(queue, tmp_path):
    """However many ask at once."""
    for number in range(40):
        queue.send("events", f"m{number}", "")

    def take(_: int) -> list[str]:
        return [message.id for message in LocalQueue(tmp_path / "queue.sqlite").receive("events", max_messages=1)]

    with ThreadPoolExecutor(8) as pool:
        taken = [name for names in pool.map(take, range(40)) for name in names]
    assert sorted(taken) == sorted(f"m{number}" for number in range(40))


def test_queues_are_apart_and_survive_a_restart(queue, tmp_path):
    """Each has its own messages."""
    queue.send("a", "m", "1")
    queue.send("b", "m", "2")
    again = LocalQueue(tmp_path / "queue.sqlite")
    assert again.queues() == ["a", "b"]
    assert again.receive("b")[0].body == "2"


def test_waiting_ends_with_the_first_message(queue):
    """Or with the time."""
    assert queue.receive("events", wait_s=0.3) == []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.receive, "events", wait_s=10)
        queue.send("events", "m", "body")
        assert [message.id for message in waiting.result(timeout=5)] == ["m"]
