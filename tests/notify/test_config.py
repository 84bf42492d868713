"""Sinks as they are written under `notify:`."""

from __future__ import annotations

import pytest

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.notify.config import LocalSink, as_written, parse_sinks

LOCAL = {"type": "local"}


def test_sinks_are_read_in_their_order():
    """None is none."""
    assert parse_sinks([LOCAL, LOCAL | {"queue": "mine"}]) == (
        LocalSink(type="local"),
        LocalSink(type="local", queue="mine"),
    )
    assert parse_sinks([]) == ()


def test_what_is_written_is_read_again():
    """It travels in a run's config."""
    documents = [LOCAL, {"type": "url", "url": "https://x/", "notify_key": {"env": "KEY"}, "notify_mode": "change"}]
    assert as_written(parse_sinks(documents)) == documents


@pytest.mark.parametrize(
    ("documents", "text"),
    [
        (None, "notify: Input should be a valid tuple"),
        ([LOCAL, {"type": "url"}], "notify[1].url: Field required"),
        ([LOCAL | {"que": 1}], "notify[0].que: Extra inputs are not permitted"),
        ([{"type": "tdmq_cmq"}], "notify[0]: model queue needs a queue name"),
    ],
)
def test_an_invalid_sink_is_reported_with_its_place(documents, text):
    """In words that a person can act on."""
    with pytest.raises(InvalidConfiguration) as caught:
        parse_sinks(documents)
    assert str(caught.value) == text


def test_the_error_of_a_sink_shows_no_secret():
    """It is written into logs and shown in the UI."""
    url = {"type": "url", "url": "ftp://hook/secret", "notify_key": ["secret"]}
    with pytest.raises(InvalidConfiguration) as caught:
        parse_sinks([url])
    assert "secret" not in str(caught.value)
