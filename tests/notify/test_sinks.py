"""Sinks against real servers."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import boto3
import pytest
from moto.server import ThreadedMotoServer
from projects import ROOT
from pydantic import TypeAdapter, ValidationError

from mps_dagster.errors import DeliveryFailed, DeliveryRefused
from mps_dagster.mps.event import pointer
from mps_dagster.notify.config import SinkConfig
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.notify.outbox import Event
from mps_dagster.notify.sinks import READ_S, open_sink
from mps_dagster.settings import Settings

EVENT = Event(
    id="mps-WorkflowTask-1:run:SUCCESS", task_id="mps-WorkflowTask-1", body={"EventType": "WorkflowTask", "名": "字"}
)
CONFIG: TypeAdapter[SinkConfig] = TypeAdapter(SinkConfig)


@pytest.fixture(autouse=True)
def credentials(monkeypatch) -> None:
    """Any will do for a server that is not AWS."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")


def sink(settings: Settings | None = None, *, read_s: float = READ_S, **config):
    return open_sink(CONFIG.validate_python(config), settings or Settings(), pointer, read_s=read_s)


def test_a_url_gets_the_event_as_json(receiver):
    """With an id by which a repeat can be told."""
    sink(type="url", url=receiver.url).send(EVENT)
    path, headers, body = receiver.got[0]
    assert (path, headers["Content-Type"], headers["X-MPS-Event-Id"]) == ("/hook", "application/json", EVENT.id)
    assert json.loads(body) == EVENT.body


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, DeliveryFailed),
        (503, DeliveryFailed),
        (429, DeliveryFailed),
        (400, DeliveryRefused),
        (302, DeliveryRefused),
    ],
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


def test_a_url_that_does_not_answer_is_left_after_a_while(receiver):
    """A slow receiver must not hold a tick."""
    receiver.delay_s = 1.0
    with pytest.raises(DeliveryFailed, match="did not reach"):
        sink(read_s=0.2, type="url", url=receiver.url).send(EVENT)


def test_a_url_without_a_listener_is_a_failure():
    """Not an exception of some library."""
    with pytest.raises(DeliveryFailed, match=r"127\.0\.0\.1:9"):
        sink(type="url", url="http://127.0.0.1:9/").send(EVENT)


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (201, None), (204, None), (299, None)]
    + [(status, DeliveryRefused) for status in (304, 307, 401, 404, 410, 413, 422)]
    + [(status, DeliveryFailed) for status in (408, 425, 502, 504, 599)],
)
def test_every_answer_is_one_of_taken_refused_and_not_now(receiver, status, error):
    """Any 2xx is success; redirects and client errors refuse, but for those that say "later"; all else is its own trouble."""
    receiver.status = status
    if error is None:
        sink(type="url", url=receiver.url).send(EVENT)
        return
    with pytest.raises(DeliveryFailed) as caught:
        sink(type="url", url=receiver.url).send(EVENT)
    assert type(caught.value) is error


def test_an_error_tells_what_the_receiver_said_but_not_all_of_it(receiver):
    """One line, at most 1 kB, whatever bytes came."""

    def explain(handler: BaseHTTPRequestHandler, _: object) -> None:
        handler.send_response(400)
        handler.end_headers()
        handler.wfile.write(b"no such\r\n  \xff task" + b"!" * 100_000)

    receiver.behave = explain
    with pytest.raises(DeliveryRefused) as caught:
        sink(type="url", url=receiver.url).send(EVENT)
    text = caught.value.message
    assert f"answered 400 to event {EVENT.id}: no such \N{REPLACEMENT CHARACTER} task!!!" in text
    assert len(text) < 1200
    assert "\n" not in text


def test_a_redirect_tells_where_it_leads(receiver):
    """So that the admin can write the right address."""
    receiver.status, receiver.headers = 301, {"Location": "https://new.example/hook"}
    with pytest.raises(DeliveryRefused, match=r"if https://new\.example/hook is right, write that"):
        sink(type="url", url=receiver.url).send(EVENT)


@pytest.mark.parametrize("location", [b"http://[::1", b"\xff\xfe", b"http://x:99999/", b"http://a..b/"])
def test_a_redirect_to_nowhere_is_a_refusal_like_any_other(receiver, location):
    """Whatever bytes a receiver writes there."""

    def redirect(handler: BaseHTTPRequestHandler, _: object) -> None:
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")

    receiver.behave = redirect
    with pytest.raises(DeliveryRefused, match="answered 302"):
        sink(type="url", url=receiver.url).send(EVENT)


def test_the_answer_of_a_redirect_is_not_read(receiver):
    """It may have no end."""

    def chatter(handler: BaseHTTPRequestHandler, _: object) -> None:
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: http://x.example/\r\n\r\n")
        for _ in range(1000):
            handler.wfile.write(b"x" * 65536)
            written.append(65536)

    written: list[int] = []
    receiver.behave = chatter
    with pytest.raises(DeliveryRefused, match="answered 302"):
        sink(type="url", url=receiver.url).send(EVENT)
    assert len(written) < 1000


def test_a_refusal_whose_text_never_ends_is_still_a_refusal(receiver):
    """The status is what counts."""

    def stall(handler: BaseHTTPRequestHandler, closing) -> None:
        handler.send_response(400)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half of")
        closing.wait()

    receiver.behave = stall
    with pytest.raises(DeliveryRefused, match="answered 400"):
        sink(read_s=0.2, type="url", url=receiver.url).send(EVENT)


def _hang_up(handler: BaseHTTPRequestHandler, _: object) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def _speak_no_http(handler: BaseHTTPRequestHandler, _: object) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.mark.parametrize("behave", [_hang_up, _speak_no_http])
def test_a_receiver_that_breaks_off_is_a_failure(receiver, behave):
    """Not an exception of some library."""
    receiver.behave = behave
    with pytest.raises(DeliveryFailed, match="did not reach"):
        sink(type="url", url=receiver.url).send(EVENT)


@pytest.mark.parametrize(
    "address",
    ["https://bücher.example/", "http://my_host:8080/a?b=c", "http://[::1]:80/", "http://x.", "http://10.0.0.1/名"],
)
def test_an_address_is_taken_as_it_is_written(address):
    """Names of other alphabets and of containers, too."""
    assert CONFIG.validate_python({"type": "url", "url": address}).url == address


def test_a_receiver_that_talks_for_ever_is_not_listened_to(receiver):
    """A success needs no body."""

    def chatter(handler: BaseHTTPRequestHandler, closing) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not closing.is_set():
            handler.wfile.write(b"x" * 65536)

    receiver.behave = chatter
    began = time.monotonic()
    sink(type="url", url=receiver.url).send(EVENT)
    assert time.monotonic() - began < 2


def test_the_local_queue_takes_the_event_once(tmp_path):
    """Under its id, so that a repeat is no second message."""
    target = sink(Settings(home=tmp_path), type="local")
    target.send(EVENT)
    target.send(EVENT)
    (message,) = LocalQueue(Settings(home=tmp_path).queue_path).receive("events")
    assert (message.id, json.loads(message.body)) == (EVENT.id, EVENT.body)


def test_a_local_queue_that_cannot_be_written_is_a_failure(tmp_path):
    """A full disk passes; the event waits."""
    (tmp_path / "queue.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DeliveryFailed, match="did not reach local:events: cannot use"):
        sink(Settings(home=tmp_path), type="local").send(EVENT)


@pytest.fixture(scope="module")
def sqs() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.parametrize("name", ["events", "events.fifo"])
def test_sqs_takes_the_event(sqs, name):
    """By the queue's name; in a FIFO queue a repeat is taken out by its deduplication id."""
    client = boto3.client("sqs", endpoint_url=sqs, region_name="us-east-1")
    fifo = name.endswith(".fifo")
    url = client.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})["QueueUrl"]
    target = sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue=name, region="us-east-1")
    target.send(EVENT)
    target.send(EVENT)
    messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert json.loads(messages[0]["Body"]) == EVENT.body
    assert len(messages) == (1 if fifo else 2)


def test_an_sqs_queue_that_is_not_there_is_reported(sqs):
    """With the queue's name and what to check."""
    with pytest.raises(DeliveryFailed, match="none"):
        sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue="none", region="us-east-1").send(EVENT)


def big(results: int = 1_100_000, name: int = 1) -> Event:
    task = {"TaskId": "t" * name, "Status": "FINISH", "MediaProcessResultSet": ["x" * results], "MetaData": None}
    body = {"EventType": "WorkflowTask", "WorkflowTaskEvent": task, "ExtInfo": '{"Manifests": ["outputs/_mps/a.json"]}'}
    return Event(id="e", task_id="t", body=body)


def test_an_event_too_big_for_sqs_goes_as_a_pointer_to_its_results(sqs):
    """To the manifests, which have all of them."""
    client = boto3.client("sqs", endpoint_url=sqs, region_name="us-east-1")
    url = client.create_queue(QueueName="long")["QueueUrl"]
    sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue="long", region="us-east-1").send(big())
    body = json.loads(client.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert body["WorkflowTaskEvent"] == {
        "TaskId": "t",
        "Status": "FINISH",
        "MediaProcessResultSet": [],
        "MetaData": None,
    }
    assert json.loads(body["ExtInfo"])["Manifests"] == ["outputs/_mps/a.json"]


@pytest.mark.parametrize(("limit", "refused"), [(262_144, False), (1024, True)])
def test_an_event_too_big_for_one_queue_goes_as_a_pointer_there(sqs, limit, refused):
    """A queue may take less than SQS does; 256 KiB was the most for years."""
    client = boto3.client("sqs", endpoint_url=sqs, region_name="us-east-1")
    url = client.create_queue(QueueName=f"small-{limit}", Attributes={"MaximumMessageSize": str(limit)})["QueueUrl"]
    target = sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue=f"small-{limit}", region="us-east-1")
    if refused:
        with pytest.raises(DeliveryRefused, match="InvalidParameterValue"):
            target.send(big(results=300_000, name=2000))
        return
    target.send(big(results=300_000))
    body = json.loads(client.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert body["WorkflowTaskEvent"]["MediaProcessResultSet"] == []


def test_an_event_that_is_too_big_even_so_is_refused(sqs):
    """Before it is sent."""
    with pytest.raises(DeliveryRefused, match="without its results"):
        sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue="events", region="us-east-1").send(
            big(name=1_100_000)
        )


def test_a_url_has_no_limit(receiver):
    """Whole, however long it is."""
    sink(type="url", url=receiver.url).send(big())
    assert len(receiver.got[0][2]) > 1_100_000


@pytest.mark.parametrize("key", ["a key", {"env": "HOOK_KEY"}])
def test_a_url_with_a_key_is_signed_again_at_each_attempt(receiver, monkeypatch, key):
    """MPS's scheme: MD5 of Timestamp and key; valid for ten minutes from the attempt on."""
    monkeypatch.setenv("HOOK_KEY", "a key")
    for now in (1_633_046_400, 1_633_050_000):
        monkeypatch.setattr(time, "time", lambda now=now: float(now))
        sink(type="url", url=receiver.url, notify_key=key).send(EVENT)
    bodies = [json.loads(body) for _, _, body in receiver.got]
    assert [body["Timestamp"] for body in bodies] == [1_633_047_000, 1_633_050_600]
    for body in bodies:
        assert body["Sign"] == hashlib.md5(f"{body['Timestamp']}a key".encode()).hexdigest()
        assert {name: body[name] for name in EVENT.body} == EVENT.body


def test_a_key_is_never_shown(monkeypatch):
    """Neither by the sink nor by an error."""
    config = CONFIG.validate_python({"type": "url", "url": "http://127.0.0.1:9/", "notify_key": "a key"})
    assert "a key" not in f"{config!r} {config} {config.address}"
    with pytest.raises(DeliveryFailed) as caught:
        open_sink(config, Settings()).send(EVENT)
    assert "a key" not in str(caught.value)
    with pytest.raises(DeliveryFailed, match="HOOK_KEY"):
        sink(type="url", url="http://127.0.0.1:9/", notify_key={"env": "HOOK_KEY"}).send(EVENT)


def test_a_url_inside_the_network_is_refused_unless_it_is_allowed(receiver, monkeypatch):
    """And the error says where to allow it."""
    monkeypatch.delenv("MPS_WEB__ALLOW")
    with pytest.raises(DeliveryRefused, match="MPS_WEB__ALLOW"):
        sink(type="url", url=receiver.url).send(EVENT)
    assert receiver.got == []


def test_sqs_gets_what_tells_a_repeat_and_groups_by_task(sqs):
    """In a standard queue a repeat is told by the attribute, which is the URL's header; a FIFO queue groups by task."""
    client = boto3.client("sqs", endpoint_url=sqs, region_name="us-east-1")
    url = client.create_queue(QueueName="by-url.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sink(Settings(sqs_endpoint_url=sqs), type="aws_sqs", queue=url, region="us-east-1").send(EVENT)
    (message,) = client.receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"]
    )["Messages"]
    assert message["MessageAttributes"]["X-MPS-Event-Id"]["StringValue"] == EVENT.id
    assert message["Attributes"]["MessageGroupId"] == EVENT.task_id
    assert message["Attributes"]["MessageDeduplicationId"] == EVENT.id


@pytest.mark.parametrize(
    ("code", "error"), [("InvalidMessageContents", DeliveryRefused), ("AccessDenied", DeliveryFailed)]
)
def test_sqs_refuses_an_event_or_fails_for_all(receiver, code, error):
    """Only what lies in the event is a refusal of it; missing permissions are mended, and then everything goes."""

    def refuse(handler: BaseHTTPRequestHandler, _: object) -> None:
        handler.send_response(400)
        handler.end_headers()
        handler.wfile.write(json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"}).encode())

    receiver.behave = refuse
    settings = Settings(sqs_endpoint_url=receiver.url)
    with pytest.raises(DeliveryFailed, match=code) as caught:
        sink(settings, type="aws_sqs", queue="https://sqs.example/1/q", region="us-east-1").send(EVENT)
    assert type(caught.value) is error
    assert len(receiver.got) == 1


def test_sqs_is_asked_once(receiver):
    """The outbox makes the attempts; botocore's own would hold up the round."""
    receiver.status = 500
    with pytest.raises(DeliveryFailed):
        sink(
            Settings(sqs_endpoint_url=receiver.url), type="aws_sqs", queue="https://sqs.example/1/q", region="us-east-1"
        ).send(EVENT)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("endpoint", "region", "problem"),
    [("http://127.0.0.1:9", "us-east-1", "127.0.0.1:9"), (None, None, "region"), ("no url", "us-east-1", "endpoint")],
)
def test_an_sqs_that_cannot_be_asked_is_a_failure(monkeypatch, endpoint, region, problem):
    """Nobody listens, no region, nonsense: each with what to check, none with a traceback."""
    for variable in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(DeliveryFailed, match=problem) as caught:
        sink(Settings(sqs_endpoint_url=endpoint), type="aws_sqs", queue="q", region=region).send(EVENT)
    assert "`region:`" in caught.value.hint


@pytest.mark.parametrize(
    ("config", "address"),
    [
        ({"type": "local"}, "local:events"),
        ({"type": "local", "queue": "a-1"}, "local:a-1"),
        ({"type": "aws_sqs", "queue": "q"}, "aws_sqs:/q"),
        ({"type": "aws_sqs", "queue": "q", "region": "eu-west-1"}, "aws_sqs:eu-west-1/q"),
        ({"type": "url", "url": "https://x/y?z=1"}, "url:https://x/y?z=1"),
    ],
)
def test_an_address_is_the_same_in_every_version(config, address):
    """It is written in outboxes: another address would send everything again."""
    assert CONFIG.validate_python(config).address == address


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"type": "url", "url": "ftp://x/"}, "http"),
        ({"type": "url", "url": "https://user:secret@x/"}, "password"),
        ({"type": "url", "url": "https://user@x/"}, "password"),
        ({"type": "url", "url": "http://x:port/"}, "port"),
        ({"type": "url", "url": "http://x:99999/"}, "Failed to parse"),
        ({"type": "url", "url": "http://a..b/"}, "labels"),
        ({"type": "url", "url": f"http://{'a' * 64}.example/"}, "labels"),
        ({"type": "url", "url": "http://[::1/"}, "IPv6"),
        ({"type": "url", "url": "http://x/\ud800"}, "Unicode"),
        ({"type": "url", "url": "http://x/\r\nX-Evil: 1"}, "control"),
        ({"type": "local", "queue": "no spaces"}, "pattern"),
        ({"type": "aws_sqs", "queue": "q\ud800"}, "queue"),
        ({"type": "aws_sqs", "queue": "q", "region": "x.example/"}, "pattern"),
        ({"type": "tdmq_cmq", "queue": "q", "region": "127.0.0.1:80/x?"}, "pattern"),
        ({"type": "tdmq_cmq", "queue": "q", "region": "gz\n"}, "pattern"),
        ({"type": "mail"}, "local"),
        ({"type": "local", "que": "x"}, "que"),
    ],
)
def test_a_sink_that_cannot_be_is_refused_with_its_field(config, problem):
    """When the workflow is loaded."""
    with pytest.raises(ValidationError, match=problem):
        CONFIG.validate_python(config)


def test_the_check_in_the_docs_takes_what_we_sign_and_nothing_else(receiver):
    """A receiver copies it."""
    text = (ROOT / "docs" / "url-callbacks.md").read_text()
    names: dict[str, object] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    sink(type="url", url=receiver.url, notify_key="a key").send(EVENT)
    body = receiver.got[0][2].decode()
    assert names["is_genuine"](body, "a key")
    assert not names["is_genuine"](body, "another")
    assert not names["is_genuine"](body.replace('"Timestamp":1', '"Timestamp":2'), "a key")
