"""The outbox: nothing that is in it is ever lost, and one sink's trouble is its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from mps_dagster.errors import DeliveryFailed, DeliveryRefused
from mps_dagster.notify.delivery import deliver_due
from mps_dagster.notify.outbox import REFUSALS, Event, Outbox
from mps_dagster.workflow.notification import LocalSink, UrlSink

GOOD, DOWN = LocalSink(type="local", queue="good"), UrlSink(type="url", url="http://down.example/")


def event(number: int = 1) -> Event:
    return Event(id=f"e{number}", task_id="t", body={"n": number})


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


@pytest.fixture
def outbox(tmp_path) -> Outbox:
    return Outbox(tmp_path / "outbox.sqlite")


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


def test_a_sink_that_stays_down_is_asked_less_and_less(outbox):
    """5 s, 10 s, 20 s … up to 10 min; never given up."""
    sinks, clock = Sinks(), Clock()
    sinks.down.add(DOWN.address)
    outbox.add(event(), [DOWN])
    tries = []
    for _ in range(3600):
        if deliver_due(outbox, sinks, now=clock).unreachable:
            tries.append(clock.now)
        clock.now += 5
    gaps = [later - earlier for earlier, later in zip(tries, tries[1:], strict=False)]
    assert gaps[0] <= 15
    assert 400 <= gaps[-1] <= 800
    assert outbox.deliveries("e1")[0].state == "waiting"


def test_an_event_that_its_sink_refuses_does_not_hold_up_the_others(outbox):
    """After some attempts it is put aside, where a person finds it with the reason."""
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
    assert [delivery.lane for delivery in outbox.deliveries("e1")] == [DOWN.address]


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


def test_an_outbox_from_before_is_opened_again(tmp_path, outbox):
    """Everything waits in it through a restart."""
    outbox.add(event(), [GOOD])
    assert Outbox(tmp_path / "outbox.sqlite").has("e1")
    with sqlite3.connect(tmp_path / "outbox.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
