"""Sinks against real servers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import TypeAdapter, ValidationError

from mps_dagster.errors import DeliveryFailed, DeliveryRefused
from mps_dagster.notify import sinks as sinks_module
from mps_dagster.notify.outbox import Event
from mps_dagster.notify.sinks import open_sink
from mps_dagster.settings import Settings
from mps_dagster.workflow.notification import SinkConfig

EVENT = Event(id="mps-WorkflowTask-1:run:SUCCESS", task_id="mps-WorkflowTask-1", body={"EventType": "WorkflowTask", "名": "字"})
CONFIG: TypeAdapter[SinkConfig] = TypeAdapter(SinkConfig)


class Receiver:
    """An HTTP server that answers as it is told and keeps what it got."""

    def __init__(self) -> None:
        self.status, self.delay_s, self.headers = 200, 0.0, {}
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), body))
                time.sleep(receiver.delay_s)
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"said")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def sink(settings: Settings | None = None, **config):
    return open_sink(CONFIG.validate_python(config), settings or Settings())


def test_a_url_gets_the_event_as_json(receiver):
    """With an id by which a repeat can be told."""
    sink(type="url", url=receiver.url).send(EVENT)
    path, headers, body = receiver.got[0]
    assert (path, headers["Content-Type"], headers["X-MPS-Event-Id"]) == ("/hook", "application/json", EVENT.id)
    assert json.loads(body) == EVENT.body


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, DeliveryFailed), (503, DeliveryFailed), (429, DeliveryFailed), (400, DeliveryRefused), (302, DeliveryRefused)],
)
def test_what_a_url_answers_says_whether_to_try_again_soon(receiver, status, error):
    """Its own trouble is ours to wait out; an event that it refuses is not."""
    receiver.status = status
    with pytest.raises(error, match=f"answered {status}") as caught:
        sink(type="url", url=receiver.url).send(EVENT)
    assert type(caught.value) is error


def test_a_redirect_is_not_followed(receiver):
    """It would lead to wherever the receiver says, inside our network, too."""
    receiver.status, receiver.headers = 307, {"Location": f"{receiver.url}/elsewhere"}
    with pytest.raises(DeliveryRefused):
        sink(type="url", url=receiver.url).send(EVENT)
    assert len(receiver.got) == 1


def test_a_url_that_does_not_answer_is_left_after_a_while(receiver, monkeypatch):
    """A slow receiver must not hold a tick."""
    monkeypatch.setattr(sinks_module, "READ_S", 0.2)
    receiver.delay_s = 1.0
    with pytest.raises(DeliveryFailed, match="did not reach"):
        sink(type="url", url=receiver.url).send(EVENT)


def test_a_url_where_nobody_listens_is_a_failure():
    """Not an exception of some library."""
    with pytest.raises(DeliveryFailed, match=r"127\.0\.0\.1:9"):
        sink(type="url", url="http://127.0.0.1:9/").send(EVENT)


@pytest.fixture(scope="module")
def sqs() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.parametrize("name", ["events", "events.fifo"])
def test_sqs_takes_the_event(sqs, monkeypatch, name):
    """By the queue's name; in a FIFO queue a repeat is taken out by its deduplication id."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")
    client = boto3.client("sqs", endpoint_url=sqs, region_name="us-east-1")
    fifo = name.endswith(".fifo")
    url = client.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})["QueueUrl"]
    target = sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue=name, region="us-east-1")
    target.send(EVENT)
    target.send(EVENT)
    messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert json.loads(messages[0]["Body"]) == EVENT.body
    assert len(messages) == (1 if fifo else 2)


def test_an_sqs_queue_that_is_not_there_is_told(sqs, monkeypatch):
    """With the queue's name and what to check."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")
    with pytest.raises(DeliveryFailed, match="none"):
        sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue="none", region="us-east-1").send(EVENT)


def test_an_event_too_big_for_sqs_is_refused(sqs):
    """Before it is sent."""
    big = Event(id="e", task_id="t", body={"x": "y" * 1_100_000})
    with pytest.raises(DeliveryRefused, match="bytes"):
        sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue="events", region="us-east-1").send(big)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"type": "url", "url": "ftp://x/"}, "http"),
        ({"type": "url", "url": "https://user:secret@x/"}, "password"),
        ({"type": "local", "queue": "no spaces"}, "pattern"),
        ({"type": "mail"}, "local"),
        ({"type": "local", "que": "x"}, "que"),
    ],
)
def test_a_sink_that_cannot_be_is_refused_with_its_field(config, problem):
    """When the workflow is loaded."""
    with pytest.raises(ValidationError, match=problem):
        CONFIG.validate_python(config)
