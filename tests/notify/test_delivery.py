"""Draining: at least once, each sink by itself, and in time."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from mps_dagster.errors import DeliveryFailed, DeliveryRefused, StorageFailed
from mps_dagster.notify.config import LocalSink, UrlSink
from mps_dagster.notify.delivery import DeliveryReport, deliver_due
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.notify.outbox import Event, Outbox
from mps_dagster.notify.sinks import open_sink
from mps_dagster.settings import Settings

SPAWN = multiprocessing.get_context("spawn")
QUEUE = LocalSink(type="local")


def event(number: int) -> Event:
    return Event(id=f"e{number}", task_id=f"t{number}", body={"n": number})


def url(address: str) -> UrlSink:
    return UrlSink(type="url", url=address)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def outbox(settings) -> Outbox:
    return Outbox(settings.outbox_path)


@pytest.fixture
def open_real(settings):
    return functools.partial(open_sink, settings=settings)


def in_queue(settings: Settings) -> list[str]:
    return [message.id for message in LocalQueue(settings.queue_path).receive("events", max_messages=100)]


def states(outbox: Outbox, *numbers: int) -> list[str]:
    return [delivery.state for number in numbers for delivery in outbox.deliveries(f"e{number}")]


class Noting:
    """A sink that does what it is told and notes what it was given."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.got: list[str] = []

    def send(self, event: Event) -> None:
        self.got.append(event.id)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome:
            raise outcome


def test_nothing_due_is_nothing_done(outbox):
    """And opens no sink."""
    assert deliver_due(outbox, pytest.fail) == DeliveryReport()


def test_a_report_reads_as_a_log_line():
    """It is the delivery sensor's skip reason."""
    assert str(DeliveryReport(3, 1, 2)) == "3 delivered, 1 refused, 2 sinks unreachable"


def test_a_lane_stops_at_its_first_unreachable_failure(outbox):
    """What is behind would run into the same timeout, one after the other."""
    for number in range(4):
        outbox.add(event(number), [QUEUE])
    sink = Noting(None, DeliveryFailed("down"))
    assert deliver_due(outbox, lambda _: sink) == DeliveryReport(delivered=1, unreachable=1)
    assert sink.got == ["e0", "e1"]
    assert states(outbox, 0, 1, 2, 3) == ["delivered", "waiting", "waiting", "waiting"]


def test_a_lane_goes_on_after_a_refusal(outbox):
    """The sink answered: it is there."""
    for number in range(3):
        outbox.add(event(number), [QUEUE])
    sink = Noting(None, DeliveryRefused("400"))
    assert deliver_due(outbox, lambda _: sink) == DeliveryReport(delivered=2, refused=1)
    assert sink.got == ["e0", "e1", "e2"]


def test_a_refusal_holds_up_the_rest_of_its_task(outbox):
    """In the same round already; another task's events go on."""
    for number, task in ((1, "a"), (2, "b"), (3, "a")):
        outbox.add(Event(f"e{number}", task, {}), [QUEUE])
    sink = Noting(DeliveryRefused("400"))
    assert deliver_due(outbox, lambda _: sink) == DeliveryReport(delivered=1, refused=1)
    assert sink.got == ["e1", "e2"]


def test_an_unforeseen_failure_counts_for_its_sink_only(outbox, caplog):
    """Its lane pauses, the others go on; the log has the traceback."""
    outbox.add(event(1), [QUEUE, url("http://a.example/")])
    broken = Noting(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))
    report = deliver_due(outbox, lambda config: Noting() if config == QUEUE else broken)
    assert report == DeliveryReport(delivered=1, unreachable=1)
    assert "did not reach url:http://a.example/: UnicodeDecodeError" in outbox.deliveries("e1")[1].error
    assert "Traceback" in caplog.text


def test_an_event_is_delivered_only_after_its_sink_returned(outbox):
    """While it is being sent it still waits."""
    outbox.add(event(1), [QUEUE])
    seen = []

    class Looking:
        def send(self, event: Event) -> None:
            seen.extend(states(outbox, 1))

    deliver_due(outbox, lambda _: Looking())
    assert seen + states(outbox, 1) == ["waiting", "delivered"]


def test_a_receiver_in_trouble_gets_the_same_event_again(outbox, open_real, receiver):
    """With the same id and the same bytes, so that it can tell a repeat."""
    outbox.add(event(1), [url(receiver.url)])
    receiver.status = 500
    assert deliver_due(outbox, open_real, now=lambda: 0).unreachable == 1
    receiver.status = 200
    assert deliver_due(outbox, open_real, now=lambda: 10).delivered == 1
    assert receiver.ids == ["e1", "e1"]
    assert receiver.got[0][2] == receiver.got[1][2]


def test_a_receiver_that_is_gone_holds_up_only_itself(outbox, settings, open_real, receiver):
    """The queue and the other receiver get everything in the same round."""
    for number in range(3):
        outbox.add(event(number), [url("http://127.0.0.1:9/"), QUEUE, url(receiver.url)])
    assert deliver_due(outbox, open_real) == DeliveryReport(delivered=6, unreachable=1)
    assert in_queue(settings) == receiver.ids == ["e0", "e1", "e2"]


def test_a_slow_receiver_delays_only_itself(outbox, open_real, receiver):
    """Lanes go side by side."""
    receiver.delay_s = 0.3
    quick: list[float] = []

    class Quick:
        def send(self, event: Event) -> None:
            quick.append(time.monotonic())

    for number in range(3):
        outbox.add(event(number), [url(receiver.url), QUEUE])
    began = time.monotonic()
    report = deliver_due(outbox, lambda config: Quick() if config == QUEUE else open_real(config))
    assert report.delivered == 6
    assert quick[-1] - began < 0.3 < 0.9 <= time.monotonic() - began


def _drip(handler, closing) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while not closing.wait(0.05):
        handler.wfile.write(b"x")


def test_an_answer_that_never_ends_does_not_hold_a_round(outbox, settings, open_real, receiver):
    """A byte now and then runs into no timeout of a socket. The budget ends it; the lane pauses, the other has gone."""
    receiver.behave = _drip
    outbox.add(event(1), [url(receiver.url), QUEUE])
    began = time.monotonic()
    assert deliver_due(outbox, open_real, budget_s=0.6) == DeliveryReport(delivered=1, unreachable=1)
    assert time.monotonic() - began < 2
    hanging, _ = outbox.deliveries("e1")
    assert (hanging.state, in_queue(settings)) == ("waiting", ["e1"])
    assert "no end of it within 0.6 s" in hanging.error
    assert outbox.due(time.time(), 9) == []


def test_a_send_that_was_given_up_counts_if_it_ends_well(outbox):
    """It has arrived, so it is not sent again."""
    outbox.add(event(1), [QUEUE])
    finish, finished = threading.Event(), threading.Event()

    class Hanging:
        def send(self, event: Event) -> None:
            finish.wait()

    class Watched(Outbox):
        def delivered(self, *values) -> None:
            super().delivered(*values)
            finished.set()

    watched = Watched(outbox._database.path)
    assert deliver_due(watched, lambda _: Hanging(), budget_s=0.1).unreachable == 1
    assert states(outbox, 1) == ["waiting"]
    finish.set()
    assert finished.wait(10)
    assert states(outbox, 1) == ["delivered"]


@pytest.mark.slow
def test_a_send_that_hangs_does_not_keep_its_process_from_ending(outbox, settings):
    """Else a restart would wait for a receiver."""
    outbox.add(event(1), [QUEUE])
    code = f"""
import threading
from pathlib import Path
from mps_dagster.notify.delivery import deliver_due
from mps_dagster.notify.outbox import Outbox
class Hanging:
    def send(self, event):
        threading.Event().wait()
print(deliver_due(Outbox(Path({str(settings.outbox_path)!r})), lambda _: Hanging(), budget_s=0.1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert "1 sinks unreachable" in done.stdout


def test_no_send_begins_in_the_second_half_of_the_budget(outbox):
    """The rest waits for the next round, as if nothing had been."""
    for number in range(50):
        outbox.add(event(number), [QUEUE])

    class Steady:
        def send(self, event: Event) -> None:
            time.sleep(0.1)

    began = time.monotonic()
    report = deliver_due(outbox, lambda _: Steady(), budget_s=0.8)
    assert time.monotonic() - began < 0.8
    assert report.unreachable == 0
    assert len(outbox.due(0, 100)) == 50 - report.delivered > 40


def test_more_lanes_than_threads_all_have_their_turn(outbox):
    """In the same round."""
    for number in range(7):
        outbox.add(event(number), [LocalSink(type="local", queue=f"q{number}")])
    assert deliver_due(outbox, lambda _: Noting(), threads=2).delivered == 7


def test_a_sink_that_this_version_does_not_know_keeps_its_events(outbox, settings, open_real):
    """An outbox outlives versions: one lane that cannot be read does not stop the others."""
    outbox.add(event(1), [LocalSink(type="local", queue="old"), QUEUE])
    connection = sqlite3.connect(settings.outbox_path)
    connection.execute("""UPDATE lane SET sink = '{"type": "cmq"}' WHERE address = 'local:old'""")
    connection.commit()
    connection.close()
    assert deliver_due(outbox, open_real) == DeliveryReport(delivered=1, unreachable=1)
    kept, sent = outbox.deliveries("e1")
    assert (kept.state, sent.state) == ("waiting", "delivered")
    assert "is not valid" in kept.error


def test_what_is_no_matter_of_delivery_is_raised_after_every_lane_had_its_turn(outbox, settings, open_real):
    """Our own disk being full is not the sink's fault: the round fails where it is seen, and the event waits."""

    class DiskFull(Outbox):
        def delivered(self, delivery, now) -> None:
            if delivery.address != QUEUE.address:
                raise StorageFailed("disk full")
            super().delivered(delivery, now)

    outbox.add(event(1), [LocalSink(type="local", queue="other"), QUEUE])
    with pytest.raises(StorageFailed, match="disk full"):
        deliver_due(DiskFull(settings.outbox_path), open_real)
    assert in_queue(settings) == ["e1"]
    assert states(outbox, 1) == ["waiting", "delivered"]


def _drain_and_die(home, doomed):
    """Deliver, and be killed right after the sink has taken the doomed event."""
    settings = Settings(home=home)

    class Killed:
        def send(self, event: Event) -> None:
            open_sink(QUEUE, settings).send(event)
            if event.id == doomed:
                os.kill(os.getpid(), signal.SIGKILL)

    deliver_due(Outbox(settings.outbox_path), lambda _: Killed())


@pytest.mark.slow
def test_what_was_sent_when_its_process_was_killed_is_sent_again_and_arrives_once(outbox, settings, open_real):
    """At least once, and with the embedded queue exactly once: it knows the id."""
    for number in range(4):
        outbox.add(event(number), [QUEUE])
    process = SPAWN.Process(target=_drain_and_die, args=(settings.home, "e2"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert states(outbox, 0, 1, 2, 3) == ["delivered", "delivered", "waiting", "waiting"]
    assert deliver_due(outbox, open_real).delivered == 2
    assert in_queue(settings) == ["e0", "e1", "e2", "e3"]
