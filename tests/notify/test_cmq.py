"""CMQ: what we send, the official SDK receives."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator

import pytest
from cmq.account import Account
from cmq.sign import Sign
from pydantic import TypeAdapter, ValidationError

from mps_dagster.errors import DeliveryFailed, DeliveryRefused
from mps_dagster.notify.cmq import Cmq, signature
from mps_dagster.notify.config import SinkConfig
from mps_dagster.notify.outbox import Event
from mps_dagster.notify.sinks import open_sink
from mps_dagster.settings import CmqSettings, Settings

from .cmq_server import SECRET_ID, SECRET_KEY, CmqServer

EVENT = Event(id="e:1", task_id="t", body={"EventType": "WorkflowTask", "名": "字 & + = %"})


@pytest.fixture
def server() -> Iterator[CmqServer]:
    server = CmqServer()
    yield server
    server.http.shutdown()
    server.http.server_close()


def sink(server: CmqServer, key: str = SECRET_KEY, **config):
    settings = CmqSettings(endpoint_url=server.url, secret_id=SECRET_ID, secret_key=key)
    document = {"type": "tdmq_cmq", **config}
    return open_sink(TypeAdapter(SinkConfig).validate_python(document), Settings(cmq=settings))


def test_a_queue_gets_the_event_and_the_official_sdk_receives_it(server, monkeypatch, tmp_path):
    """The body is MPS's JSON, as it is."""
    server.queues["events"] = deque()
    sink(server, queue="events").send(EVENT)
    # It writes a log into the current folder.
    monkeypatch.chdir(tmp_path)
    account = Account(server.url, SECRET_ID, SECRET_KEY)
    message = account.get_queue("events").receive_message(0)
    assert json.loads(message.msgBody) == EVENT.body


def test_a_topic_gets_the_event(server):
    """For all who subscribed."""
    server.topics["news"] = []
    sink(server, model="topic", topic="news").send(EVENT)
    assert [json.loads(body) for body in server.topics["news"]] == [EVENT.body]


def test_the_signature_is_the_official_sdk_s():
    """Raw values, sorted names, underscores as dots, the host with its port."""
    form = {"Action": "SendMessage", "msg_tag": "a b", "msgBody": '{"x": "字"}', "Nonce": "1"}
    theirs = Sign("id", "key").make("127.0.0.1:80", "/v2/index.php", form, "POST", "sha256").decode()
    assert signature("key", "127.0.0.1:80", form) == theirs


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ({"code": 4400, "message": "message too large"}, DeliveryRefused, "4400"),
        ({"code": 4000, "message": "invalid parameter"}, DeliveryRefused, "4000"),
        ({"code": 4420, "message": "qps limit"}, DeliveryFailed, "4420"),
        ({"code": 6000, "message": "internal"}, DeliveryFailed, "6000"),
        ({"code": "x"}, DeliveryFailed, "no CMQ answer"),
        ({"message": ""}, DeliveryFailed, "no CMQ answer"),
    ],
)
def test_each_answer_becomes_the_right_error(server, answer, kind, says):
    """A message that is refused becomes a dead letter; everything else is tried again."""
    server.answer = answer
    with pytest.raises(kind, match=says) as caught:
        sink(server, queue="events").send(EVENT)
    assert type(caught.value) is kind


def test_wrong_credentials_a_missing_queue_and_a_server_that_is_down_wait(server):
    """A person can mend them; no event is lost meanwhile."""
    server.queues["events"] = deque()
    with pytest.raises(DeliveryFailed, match="SECRET_KEY") as caught:
        sink(server, key="wrong", queue="events").send(EVENT)
    assert type(caught.value) is DeliveryFailed
    with pytest.raises(DeliveryFailed, match="does the queue") as caught:
        sink(server, queue="none").send(EVENT)
    assert type(caught.value) is DeliveryFailed
    with pytest.raises(DeliveryFailed, match="ENDPOINT_URL"):
        Cmq("http://127.0.0.1:9", "id", "key").send("q", "x")
    with pytest.raises(DeliveryFailed, match="not set up"):
        open_sink(TypeAdapter(SinkConfig).validate_python({"type": "tdmq_cmq", "queue": "q"}), Settings()).send(EVENT)


@pytest.mark.parametrize("config", [{}, {"model": "topic", "queue": "q"}, {"queue": "1q"}, {"queue": "a_b"}])
def test_a_sink_names_what_it_sends_to(config):
    """By a name that CMQ takes."""
    with pytest.raises(ValidationError):
        TypeAdapter(SinkConfig).validate_python({"type": "tdmq_cmq", **config})


def test_the_region_fills_the_endpoint(server):
    """One setting for all regions."""
    settings = CmqSettings(endpoint_url=f"{server.url}/{{region}}", secret_id=SECRET_ID, secret_key=SECRET_KEY)
    server.topics["news"] = []
    document = {"type": "tdmq_cmq", "model": "topic", "topic": "news", "region": "gz"}
    with pytest.raises(DeliveryFailed, match="4100"):
        # The server checks the signature over the path, which now begins with /gz.
        open_sink(TypeAdapter(SinkConfig).validate_python(document), Settings(cmq=settings)).send(EVENT)
