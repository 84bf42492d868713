"""The outbox: nothing that is in it is ever lost, and one sink's trouble is its own."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys

import pytest

from mps_dagster.errors import DeliveryFailed, DeliveryRefused, InvalidInput, StorageFailed
from mps_dagster.notify.config import LocalSink, UrlSink
from mps_dagster.notify.delivery import deliver_due
from mps_dagster.notify.outbox import LONGEST_PAUSE_S, REFUSALS, TABLES, Event, Outbox, backoff_s

SPAWN = multiprocessing.get_context("spawn")
GOOD, DOWN = LocalSink(type="local", queue="good"), UrlSink(type="url", url="http://down.example/")


def event(number: int = 1) -> Event:
    return Event(id=f"e{number}", task_id=f"t{number}", body={"n": number})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Sinks:
    """Opens sinks that note what they get; some are down, some refuse one event."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.down: set[str] = set()
        self.refuses: set[str] = set()

    def __call__(self, config):
        sinks = self

        class Sink:
            def send(self, event):
                if config.address in sinks.down:
                    raise DeliveryFailed("no answer")
                if event.id in sinks.refuses:
                    raise DeliveryRefused("400")
                sinks.got.append((config.address, event.id))

        return Sink()


NO_ANSWER, NO_THANKS = DeliveryFailed("no answer"), DeliveryRefused("400")


def ids(deliveries) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


def drain(outbox: Outbox, now: float, outcome, sent: list[str] | None = None) -> None:
    """One round, with sinks whose `outcome(event id)` is None or the error."""

    class Sink:
        def send(self, event):
            error = outcome(event.id)
            if error is not None:
                raise error
            if sent is not None:
                sent.append(event.id)

    deliver_due(outbox, lambda _: Sink(), now=lambda: now)


@pytest.fixture
def outbox(open_database) -> Outbox:
    return Outbox(open_database(TABLES))


def test_an_event_that_comes_twice_is_sent_once(outbox):
    """A status sensor and the sweep may both bring it."""
    sinks, clock = Sinks(), Clock()
    assert outbox.add(event(), [GOOD]) == 1
    assert outbox.add(event(), [GOOD]) == 0
    deliver_due(outbox, sinks, now=clock)
    assert outbox.add(event(), [GOOD]) == 0
    deliver_due(outbox, sinks, now=clock)
    assert sinks.got == [("local:good", "e1")]


def test_events_of_a_sink_go_in_order(outbox):
    """Oldest first."""
    sinks = Sinks()
    for number in range(5):
        outbox.add(event(number), [GOOD])
    deliver_due(outbox, sinks, now=Clock())
    assert [name for _, name in sinks.got] == [f"e{number}" for number in range(5)]


def test_a_sink_that_is_down_holds_up_only_itself(outbox):
    """The other one gets everything at once; the first gets everything later, in order."""
    sinks, clock = Sinks(), Clock()
    sinks.down.add(DOWN.address)
    for number in range(3):
        outbox.add(event(number), [DOWN, GOOD])
    report = deliver_due(outbox, sinks, now=clock)
    assert (report.delivered, report.unreachable) == (3, 1)
    sinks.down.clear()
    clock.now += 3600
    deliver_due(outbox, sinks, now=clock)
    assert [name for lane, name in sinks.got if lane == DOWN.address] == ["e0", "e1", "e2"]


@pytest.mark.slow
def test_a_sink_that_stays_down_is_asked_less_and_less(outbox):
    """5 s, 10 s, 20 s … up to 10 min; never given up."""
    sinks, clock = Sinks(), Clock()
    sinks.down.add(DOWN.address)
    outbox.add(event(), [DOWN])
    tries = []
    began = clock.now
    while clock.now < began + 7200:
        if deliver_due(outbox, sinks, now=clock).unreachable:
            tries.append(clock.now)
        # Each look is a transaction.
        clock.now += 5 if clock.now < began + 60 else 50
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[0] <= 15
    assert 400 <= gaps[-1] <= 800
    assert outbox.deliveries("e1")[0].state == "waiting"


def test_an_event_that_its_sink_refuses_does_not_hold_up_the_others(outbox):
    """After some attempts it becomes a dead letter, listed with the reason."""
    sinks, clock = Sinks(), Clock()
    sinks.refuses.add("e1")
    for number in (1, 2):
        outbox.add(event(number), [GOOD])
    for _ in range(REFUSALS):
        deliver_due(outbox, sinks, now=clock)
        clock.now += 3600
    assert sinks.got == [("local:good", "e2")]
    assert [(delivery.event.id, delivery.error) for delivery in outbox.dead()] == [("e1", "400")]


def test_only_what_was_delivered_is_forgotten(outbox):
    """And only after its time."""
    sinks, clock = Sinks(), Clock()
    sinks.down.add(DOWN.address)
    outbox.add(event(), [GOOD, DOWN])
    deliver_due(outbox, sinks, now=clock)
    assert outbox.prune(clock.now) == 0
    assert outbox.prune(clock.now + 1) == 1
    assert [delivery.address for delivery in outbox.deliveries("e1")] == [DOWN.address]


def test_a_sink_that_nothing_waits_for_is_forgotten_with_its_key(outbox, open_database):
    """Callers name addresses of their own for each task, and keys."""
    once = UrlSink(type="url", url="http://good.example/task/1", notify_key="a key")
    outbox.add(event(1), [once, GOOD])
    outbox.add(event(2), [GOOD])
    for delivery in outbox.due(0):
        outbox.delivered(delivery, 10 if delivery.event.id == "e1" else 20)
    outbox.prune(15)
    with open_database(TABLES).read() as db:
        assert [row["address"] for row in db.rows("SELECT address FROM lane")] == [GOOD.address]
    assert outbox.add(event(3), [once]) == 1


def test_pruning_goes_by_portions_and_comes_to_an_end(outbox):
    """Nobody waits for long while a month is forgotten; events go with their last delivery, the dead stay."""
    for number in range(3):
        outbox.add(event(number), [GOOD])
    for _ in range(REFUSALS):
        outbox.failed(outbox.deliveries("e2")[0], NO_THANKS, 0)
    outbox.add(event(3), [GOOD, DOWN])
    for delivery in outbox.due(0):
        outbox.delivered(delivery, 10)
    assert [outbox.prune(11, limit=2) for _ in range(3)] == [2, 2, 0]
    assert outbox.known(f"e{number}" for number in range(4)) == {"e2"}
    assert ids(outbox.dead()) == ["e2"]


@pytest.mark.slow
def test_a_process_killed_between_sending_and_noting_sends_again(tmp_path):
    """At least once: the receiver sees the same event id twice, never zero times."""
    code = f"""
import os, signal
from pathlib import Path
from mps_dagster.notify.delivery import deliver_due
from mps_dagster.notify.outbox import Outbox
class Sink:
    def send(self, event):
        Path({str(tmp_path / "got")!r}).open("a").write(event.id + "\\n")
        os.kill(os.getpid(), signal.SIGKILL)
deliver_due(Outbox(Path({str(tmp_path / "outbox.sqlite")!r})), lambda config: Sink())
"""
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.add(event(), [GOOD])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    sinks = Sinks()
    deliver_due(outbox, sinks)
    assert (tmp_path / "got").read_text() == "e1\n"
    assert sinks.got == [("local:good", "e1")]


def test_an_outbox_from_before_is_opened_again(tmp_path):
    """Everything waits in it through a restart."""
    Outbox(tmp_path / "outbox.sqlite").add(event(), [GOOD])
    assert Outbox(tmp_path / "outbox.sqlite").known(["e1"])
    with sqlite3.connect(tmp_path / "outbox.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_sink_that_is_new_gets_what_is_added_again(outbox):
    """Idempotent by sink, not only by event."""
    assert outbox.add(event(), [GOOD, GOOD]) == 1
    assert outbox.add(event(), [GOOD, DOWN]) == 1
    assert [(d.address, d.state) for d in outbox.deliveries("e1")] == [
        ("local:good", "waiting"),
        ("url:http://down.example/", "waiting"),
    ]


def test_every_attempt_sends_what_was_added_first(outbox):
    """A repeat with the same id has the same content."""
    outbox.add(Event("e", "t", {"state": "first"}), [GOOD])
    outbox.add(Event("e", "t", {"state": "second"}), [GOOD, DOWN])
    assert [d.event.body for d in outbox.deliveries("e")] == [{"state": "first"}] * 2


def test_only_events_with_a_sink_are_kept(outbox):
    """`known` tells the sweep what it need not build again, however many it asks for."""
    assert outbox.add(event(1), []) == 0
    outbox.add(event(2), [GOOD])
    assert outbox.known(f"e{number}" for number in range(100_000)) == {"e2"}


def test_each_lane_gives_its_oldest_and_its_share(outbox):
    """The limit counts by lane: a lane with thousands waiting does not crowd out the others."""
    for name in range(5):
        outbox.add(event(name), [DOWN])
    outbox.add(event(5), [GOOD, DOWN])
    assert [(d.event.id, d.address[:3]) for d in outbox.due(0, 2)] == [("e0", "url"), ("e1", "url"), ("e5", "loc")]


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (9, 600), (1000, 600)])
def test_a_pause_doubles_up_to_ten_minutes(failures, pause_s):
    """From 5 s, and without overflow after days."""
    assert backoff_s(failures, 5.0) == pause_s


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 5), (2, 10), (4, 40), (8, 600), (12, 600)])
def test_a_lane_whose_sink_is_down_pauses_as_a_whole(outbox, failures, pause_s):
    """Other lanes go on. The jitter only shortens, by up to a fifth."""
    outbox.add(event(1), [GOOD, DOWN])
    outbox.add(event(2), [GOOD, DOWN])
    for _ in range(failures):
        outbox.failed(outbox.deliveries("e1")[0], NO_ANSWER, 1000.0)
    early, late = outbox.due(1000 + pause_s * 0.79, 9), outbox.due(1000 + pause_s, 9)
    assert {d.address for d in early} == {DOWN.address}
    assert {d.address for d in late} == {DOWN.address, GOOD.address}


def test_a_delivery_ends_the_pause(outbox):
    """And the next failure starts from the shortest one again."""
    outbox.add(event(1), [GOOD])
    outbox.add(event(2), [GOOD])
    first, second = outbox.due(0, 9)
    for _ in range(4):
        outbox.failed(first, NO_ANSWER, 0)
    outbox.delivered(first, 0)
    assert ids(outbox.due(0, 9)) == ["e2"]
    outbox.failed(second, NO_ANSWER, 0)
    assert ids(outbox.due(5, 9)) == ["e2"]


def test_a_refused_event_comes_again_by_itself(outbox):
    """It comes again by itself after a minute; what is behind it goes at once."""
    outbox.add(event(1), [GOOD])
    outbox.add(event(2), [GOOD])
    outbox.failed(outbox.due(0, 9)[0], NO_THANKS, 0)
    assert ids(outbox.due(0, 9)) == ["e2"]
    assert ids(outbox.due(60, 9)) == ["e1", "e2"]


def test_a_refusal_ends_the_pause(outbox):
    """The sink answered: what is behind need not wait."""
    outbox.add(event(1), [GOOD])
    outbox.add(event(2), [GOOD])
    first = outbox.due(0)[0]
    outbox.failed(first, NO_ANSWER, 0)
    outbox.failed(first, NO_THANKS, 0)
    assert ids(outbox.due(0)) == ["e2"]


def test_an_event_that_is_refused_five_times_is_dead_and_stays_listed(outbox):
    """Outages in between do not count, the last refusal is told, and somebody can revive it."""
    outbox.add(event(1), [GOOD])
    now, refusals = 0.0, 0
    while due := outbox.due(now, 9):
        outbox.failed(due[0], NO_ANSWER, now)
        outbox.failed(due[0], NO_THANKS, now)
        refusals, now = refusals + 1, now + LONGEST_PAUSE_S
    (dead,) = outbox.dead()
    assert (refusals, dead.state, dead.attempts, dead.error) == (REFUSALS, "dead", 2 * REFUSALS, "400")
    assert outbox.prune(9e9) == 0
    outbox.revive(dead)
    assert (ids(outbox.due(now, 9)), outbox.dead()) == (["e1"], [])


def test_an_event_is_never_given_up_because_its_sink_is_down(outbox):
    """A receiver may be away for a week."""
    outbox.add(event(1), [GOOD])
    for attempt in range(100):
        (delivery,) = outbox.due(attempt * LONGEST_PAUSE_S, 9)
        outbox.failed(delivery, NO_ANSWER, attempt * LONGEST_PAUSE_S)
    assert outbox.deliveries("e1")[0].state == "waiting"


def test_a_short_outage_keeps_the_order(outbox):
    """A receiver that restarts gets what it missed, oldest first."""
    for name in range(5):
        outbox.add(event(name), [GOOD])
    sent = []
    for now in range(0, 300, 3):
        drain(outbox, now, lambda _, now=now: NO_ANSWER if now < 30 else None, sent)
    assert sent == [f"e{name}" for name in range(5)]


def test_an_event_that_makes_its_receiver_fail_lets_the_others_pass(outbox):
    """A 500 or a timeout looks like an outage, but may be one event's doing."""
    for name in range(5):
        outbox.add(event(name), [GOOD])
    sent = []
    for now in range(0, 300, 3):
        drain(outbox, now, lambda name: NO_ANSWER if name == "e1" else None, sent)
    assert sent == ["e0", "e2", "e3", "e4"]
    assert outbox.deliveries("e1")[0].state == "waiting"


def of_one_task(*numbers: int) -> list[Event]:
    return [Event(id=f"e{number}", task_id="one", body={}) for number in numbers]


@pytest.mark.parametrize("trouble", [NO_THANKS, NO_ANSWER])
def test_events_of_one_task_go_in_order_whatever_happens(outbox, trouble):
    """One that is refused, or let pass, holds up what is behind it of its task, and nothing else."""
    for added in (*of_one_task(1, 2), event(3), *of_one_task(4)):
        outbox.add(added, [GOOD])
    sent = []
    for now in range(0, 1200, 3):
        drain(outbox, now, lambda name, now=now: trouble if name == "e1" and now < 500 else None, sent)
    assert sent == ["e3", "e1", "e2", "e4"]


def test_a_dead_event_holds_up_nothing(outbox):
    """A person may never look at it; the end of the task is told all the same."""
    for added in of_one_task(1, 2):
        outbox.add(added, [GOOD, DOWN])
    for _ in range(REFUSALS):
        assert ids(outbox.due(9e9)) == ["e1", "e1", "e2", "e2"]
        outbox.failed(outbox.due(9e9)[0], NO_THANKS, 0)
    assert [(d.event.id, d.address[:3]) for d in outbox.due(0)] == [("e1", "url"), ("e2", "loc"), ("e2", "url")]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_fails_for_however_long_every_event_arrives(outbox, seed):
    """An hour of any trouble, then sinks that work: within twenty minutes each delivery is delivered, or dead and listed."""
    chance = random.Random(seed)
    owed = {(f"e{name}", sink.address) for name in range(8) for sink in (GOOD, DOWN) if outbox.add(event(name), [sink])}
    for now in range(0, 3600, 20):
        drain(outbox, now, lambda _: chance.choice([None, NO_ANSWER, NO_ANSWER, NO_ANSWER, NO_THANKS, NO_THANKS]))
    for now in range(3600, 4800, 20):
        drain(outbox, now, lambda _: None)
    deliveries = [delivery for name in range(8) for delivery in outbox.deliveries(f"e{name}")]
    assert {(d.event.id, d.address) for d in deliveries} == owed
    assert {d.id for d in deliveries if d.state != "delivered"} == {d.id for d in outbox.dead()}


def test_a_late_failure_does_not_bring_back_what_was_delivered(outbox):
    """Two processes may try the same delivery; that one of them succeeded counts, and the lane stays open."""
    outbox.add(event(1), [GOOD])
    outbox.add(event(2), [GOOD])
    delivery = outbox.due(0, 1)[0]
    outbox.delivered(delivery, 0)
    outbox.failed(delivery, NO_ANSWER, 0)
    assert outbox.deliveries("e1")[0].state == "delivered"
    assert ids(outbox.due(0, 9)) == ["e2"]


@pytest.mark.parametrize("body", [{"名": "日本語 \x00 \x7f"}, {"Object": "/lone \udcff surrogate.mp4"}, {"ratio": 0.1}])
def test_what_is_sent_is_plain_ascii_json(outbox, body):
    """File names hold anything, also bytes that are no UTF-8; every receiver must be able to read them."""
    outbox.add(Event("e", "t", body), [GOOD])
    (delivery,) = outbox.due(0, 1)
    assert delivery.event.text.isascii()
    assert json.loads(delivery.event.text) == body


@pytest.mark.parametrize("bad", ["", "two words", "new\nline", "ü", "x" * 129])
def test_ids_travel_in_headers_and_queues(bad):
    """So they hold nothing that an HTTP header or SQS refuses."""
    with pytest.raises(InvalidInput, match="event cannot have the id"):
        Event(bad, "t", {})
    with pytest.raises(InvalidInput, match="event cannot have the task id"):
        Event("e", bad, {})


def test_a_file_that_cannot_be_used_says_so(tmp_path):
    """A newer version's, and one that is no database."""
    newer, damaged = tmp_path / "newer", tmp_path / "damaged"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    damaged.write_bytes(b"not a database" * 100)
    with pytest.raises(StorageFailed, match=r"its version is 99.*\nhint: a newer mps_dagster"):
        Outbox(newer).known(["e"])
    with pytest.raises(StorageFailed, match=r"cannot use .*damaged: file is not a database"):
        Outbox(damaged).known(["e"])


def _add_all(path, start, new):
    start.wait()
    new.put(sum(Outbox(path).add(event(name), [GOOD, DOWN]) for name in range(40)))


@pytest.mark.slow
def test_processes_that_start_at_once_share_one_outbox(tmp_path):
    """The three status sensors and the sweep may all be the first to use it."""
    start, new = SPAWN.Barrier(4), SPAWN.Queue()
    path = tmp_path / "outbox.sqlite"
    processes = [SPAWN.Process(target=_add_all, args=(path, start, new)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sum(new.get(timeout=20) for _ in processes) == 80
    for process in processes:
        process.join()
    assert len(Outbox(path).due(0, 100)) == 80


def _add_for_ever(path, added):
    outbox = Outbox(path)
    for name in range(1_000_000):
        outbox.add(event(name), [GOOD])
        added.send(f"e{name}")


@pytest.mark.slow
def test_an_event_whose_add_returned_survives_a_killed_process(tmp_path):
    """SIGKILL at any moment."""
    path = tmp_path / "outbox.sqlite"
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_add_for_ever, args=(path, theirs))
    process.start()
    theirs.close()
    added = [ours.recv() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    ours.close()
    assert ids(Outbox(path).due(0, 1000))[:50] == added


@pytest.mark.parametrize("other", [None, "key two", {"env": "HOOK_KEY"}], ids=["none", "another", "by name"])
def test_each_event_is_signed_with_the_key_that_it_was_asked_for_with(outbox, other):
    """Two callers may name one URL, each with a key of its own."""
    given = [UrlSink(type="url", url="http://good.example/", notify_key=key) for key in ("key one", other)]
    for number, sink in enumerate(given):
        outbox.add(event(number), [sink])
    used = {}
    for delivery in outbox.due(0):
        used[delivery.event.id] = UrlSink.model_validate_json(delivery.sink)
        assert "key one" not in delivery.address
    assert used == {"e0": given[0], "e1": given[1]}
