"""`mps notifications dead|resend`"""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mps_dagster.cli.notifications import notifications
from mps_dagster.errors import DeliveryRefused, InvalidInput
from mps_dagster.notify.outbox import REFUSALS, Event, Outbox
from mps_dagster.settings import Settings
from mps_dagster.workflow.notification import UrlSink


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


def test_what_was_put_aside_is_listed_with_its_reason(outbox):
    """By event and sink."""
    told = run("dead")
    for word in ("one", "two", "three", "404", "url:http"):
        assert word in told


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
    """Neither all of it, nor what is not there."""
    assert "name events" in run("resend")
    with pytest.raises(InvalidInput, match="four"):
        run("resend", "four")
    assert len(outbox.dead()) == 3
