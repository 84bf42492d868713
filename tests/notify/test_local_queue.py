"""The embedded queue."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from mps_dagster.notify.local_queue import REMEMBER_S, TABLES, LocalQueue

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def queue(open_database) -> LocalQueue:
    return LocalQueue(open_database(TABLES))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(open_database, clock) -> LocalQueue:
    """A queue whose time is the clock's."""
    return LocalQueue(open_database(TABLES), now=clock)


def bodies(messages) -> list[str]:
    return [message.body for message in messages]


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


def test_two_receivers_never_get_the_same_message(queue, open_database):
    """However many ask at once."""
    for number in range(40):
        queue.send("events", f"m{number}", "")

    def take(_: int) -> list[str]:
        return [message.id for message in LocalQueue(open_database(TABLES)).receive("events", max_messages=1)]

    with ThreadPoolExecutor(8) as pool:
        taken = [name for names in pool.map(take, range(40)) for name in names]
    assert sorted(taken) == sorted(f"m{number}" for number in range(40))


def test_queues_are_apart_and_survive_a_restart(queue, open_database):
    """Each has its own messages."""
    queue.send("a", "m", "1")
    queue.send("b", "m", "2")
    again = LocalQueue(open_database(TABLES))
    assert again.queues() == ["a", "b"]
    assert again.receive("b")[0].body == "2"


def test_waiting_ends_with_the_first_message(queue):
    """Or with the time."""
    assert queue.receive("events", wait_s=0.3) == []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.receive, "events", wait_s=10)
        queue.send("events", "m", "body")
        assert [message.id for message in waiting.result(timeout=20)] == ["m"]


def test_no_more_messages_than_asked_for(timed):
    """The rest stays visible."""
    for name in "123":
        timed.send("a", name, name)
    assert bodies(timed.receive("a", max_messages=2)) == ["1", "2"]
    assert timed.depth("a") == (1, 2)


def test_a_message_is_sent_once_whatever_became_of_it(timed, clock):
    """A sender that does not know whether it has sent can send again: waiting, in flight or acknowledged."""
    timed.send("a", "1", "one")
    timed.send("a", "1", "one again")
    assert timed.depth("a") == (1, 0)
    (message,) = timed.receive("a")
    timed.send("a", "1", "one again")
    timed.acknowledge("a", message.receipt)
    timed.send("a", "1", "one again")
    assert timed.depth("a") == (0, 0)
    clock.now += REMEMBER_S + 1
    timed.send("a", "2", "the id of 1 is forgotten now")
    timed.send("a", "1", "one again")
    assert timed.depth("a") == (2, 0)


def test_a_message_that_is_not_acknowledged_comes_again(timed, clock):
    """After the visibility, before younger ones, and it counts."""
    timed.send("a", "1", "one")
    timed.send("a", "2", "two")
    timed.receive("a", max_messages=1, visibility_s=30)
    clock.now += 29.9
    assert bodies(timed.receive("a", visibility_s=0)) == ["two"]
    clock.now += 0.1
    again = timed.receive("a")
    assert [(message.body, message.receive_count) for message in again] == [("one", 2), ("two", 2)]


def test_an_acknowledged_message_is_gone(timed, clock):
    """Also after its visibility; a second acknowledgement says that there was nothing to do."""
    timed.send("a", "1", "one")
    (message,) = timed.receive("a")
    assert timed.acknowledge("a", message.receipt)
    assert not timed.acknowledge("a", message.receipt)
    clock.now += 1000
    assert timed.receive("a") == []
    assert timed.depth("a") == (0, 0)


def test_a_stale_receipt_does_not_acknowledge(timed, clock):
    """Who was too slow cannot remove what somebody else works on now; who was slow while nobody asked still can."""
    timed.send("a", "1", "one")
    (first,) = timed.receive("a", visibility_s=30)
    clock.now += 31
    (second,) = timed.receive("a", visibility_s=30)
    assert not timed.acknowledge("a", first.receipt)
    clock.now += 31
    assert timed.depth("a") == (1, 0)
    assert timed.acknowledge("a", second.receipt)


def test_a_receipt_is_of_one_queue(timed):
    """A slip in the queue's name removes nothing."""
    timed.send("a", "1", "one")
    (message,) = timed.receive("a")
    assert not timed.acknowledge("b", message.receipt)
    assert timed.depth("a") == (0, 1)


def test_depth_counts_visible_and_in_flight(timed, clock):
    """And what comes back from flight is visible again."""
    for name in "123":
        timed.send("a", name, name)
    timed.receive("a", max_messages=1, visibility_s=30)
    assert timed.depth("a") == (2, 1)
    clock.now += 30
    assert timed.depth("a") == (3, 0)
    assert timed.depth("never used") == (0, 0)


def _consume(path, start, received):
    queue = LocalQueue(path)
    start.wait()
    while messages := queue.receive("a", max_messages=3, visibility_s=60):
        received.put([message.id for message in messages])
    received.put(None)


@pytest.mark.slow
def test_two_processes_never_get_the_same_message(tmp_path):
    """As with threads."""
    path = tmp_path / "queue.sqlite"
    queue = LocalQueue(path)
    for name in range(100):
        queue.send("a", str(name), "")
    start, received = SPAWN.Barrier(3), SPAWN.Queue()
    processes = [SPAWN.Process(target=_consume, args=(path, start, received)) for _ in range(3)]
    for process in processes:
        process.start()
    got, ended = [], 0
    while ended < len(processes):
        ids = received.get(timeout=20)
        ended += ids is None
        got += ids or []
    for process in processes:
        process.join()
    assert sorted(got, key=int) == [str(name) for name in range(100)]


def _receive_and_die(path):
    LocalQueue(path).receive("a", visibility_s=1)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_what_a_killed_consumer_held_comes_again(tmp_path):
    """A message leaves only by an acknowledgement."""
    path = tmp_path / "queue.sqlite"
    LocalQueue(path).send("a", "1", "one")
    process = SPAWN.Process(target=_receive_and_die, args=(path,))
    process.start()
    process.join()
    (message,) = LocalQueue(path).receive("a", wait_s=10)
    assert (message.body, message.receive_count) == ("one", 2)
