"""`mps notifications dead|waiting|resend|discard`"""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mps_dagster.cli.notifications import notifications
from mps_dagster.errors import DeliveryFailed, DeliveryRefused, InvalidInput
from mps_dagster.notify.config import UrlSink
from mps_dagster.notify.outbox import REFUSALS, Event, Outbox
from mps_dagster.settings import Settings


@pytest.fixture
def outbox(tmp_path, monkeypatch) -> Outbox:
    """Two events that one receiver refused for good, one that another one did."""
    monkeypatch.setenv("MPS_HOME", str(tmp_path))
    outbox = Outbox(Settings().outbox_path)
    for name, host in (("one", "a"), ("two", "a"), ("three", "b")):
        outbox.add(Event(name, "task", {}), [UrlSink(type="url", url=f"http://{host}.example/")])
    for delivery in outbox.due(1e12):
        for _ in range(REFUSALS):
            outbox.failed(delivery, DeliveryRefused("answered 404"), 0.0)
    assert len(outbox.dead()) == 3
    return outbox


def run(*arguments: str) -> str:
    return CliRunner().invoke(notifications, arguments, catch_exceptions=False).output


def test_dead_letters_are_listed_with_their_reasons(outbox):
    """By event and sink, each on a line of its own, so that it can be copied."""
    assert run("dead").splitlines()[:4] == ["one", "  to url:http://a.example/", "  5 attempts", "  answered 404"]
    letters = [json.loads(line) for line in run("dead", "--json").splitlines()]
    assert [item["event"] for item in letters] == ["one", "two", "three"]
    assert letters[0] == {
        "event": "one", "sink": "url:http://a.example/", "attempts": 5, "error": "answered 404", "next_at": None
    }  # fmt: skip


def test_what_waits_is_listed_with_what_kept_it(outbox):
    """And with the time when it is tried again. A receiver's words move no cursor."""
    outbox.add(Event("four", "task", {}), [UrlSink(type="url", url="http://c.example/")])
    [delivery] = outbox.waiting()
    outbox.failed(delivery, DeliveryFailed("\x1b[2Jdown", hint="is it up?"), 4e9)
    *lines, again, error, hint = run("waiting").splitlines()
    assert lines == ["four", "  to url:http://c.example/"]
    assert again.startswith("  1 attempts, again at 2096-10-02T07:06:")
    assert (error, hint) == ("  ?[2Jdown", "  hint: is it up?")
    assert json.loads(run("waiting", "--json"))["next_at"].startswith("2096-")


@pytest.mark.parametrize(
    ("arguments", "left"),
    [(["one", "four"], {"two", "three"}), (["--sink", "url:http://a.example/"], {"three", "four"}), (["--all"], set())],
)
def test_what_will_never_arrive_is_dropped(outbox, arguments, left):
    """Whether it waits or is a dead letter; adding it again does not bring it back."""
    sink = UrlSink(type="url", url="http://c.example/")
    outbox.add(Event("four", "task", {}), [sink])
    assert f"{4 - len(left)} will not be sent" in run("discard", *arguments)
    outbox.add(Event("four", "task", {}), [sink])
    assert {delivery.event.id for delivery in (*outbox.dead(), *outbox.waiting())} == left


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["one"], {"two", "three"}),
        (["one", "three"], {"two"}),
        (["--all"], set()),
        (["--sink", "url:http://a.example/"], {"three"}),
    ],
)
def test_a_person_may_have_it_sent_again(outbox, arguments, left):
    """By event, by sink, or all of it; it is due at once."""
    assert f"{3 - len(left)} will be sent again" in run("resend", *arguments)
    assert {delivery.event.id for delivery in outbox.dead()} == left
    assert {delivery.event.id for delivery in outbox.due(1e12)} == {"one", "two", "three"} - left


def test_nothing_is_sent_again_by_accident(outbox):
    """Neither all of it, nor what is not there; nor is anything dropped."""
    assert "name events" in run("resend")
    assert "name events" in run("discard")
    with pytest.raises(InvalidInput, match="four"):
        run("resend", "four")
    assert len(outbox.dead()) == 3
