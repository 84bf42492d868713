"""The server, met without an SDK."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import requests

from mps_dagster.api import server
from mps_dagster.api.action import Action, RequestModel

from .conftest import SECRET_KEY, serving


@pytest.fixture
def lines(caplog):
    """The audit log's lines so far."""
    caplog.set_level(logging.INFO, "mps_dagster.api.audit")
    return lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name.endswith(".audit")]


def test_it_says_that_it_is_there(address):
    """Without a key."""
    reply = requests.get(f"http://{address}/health", timeout=10)
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "send",
    [
        {"method": "GET"},
        {"method": "GET", "params": "Action=ProcessMedia&Action=ProcessMedia"},
        {"method": "GET", "params": "%ff"},
        {"method": "POST"},
        {"method": "POST", "data": b"\xff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"method": "POST", "json": {}},
        {
            "method": "POST",
            "data": b"[",
            "headers": {"Authorization": "TC3-HMAC-SHA256 \u00ff", "X-TC-Action": "\u00ff"},
        },
    ],
)
def test_every_answer_is_one_that_an_sdk_can_read(address, send):
    """Status 200, exactly this Content-Type, code, message and RequestId."""
    reply = requests.request(url=f"http://{address}/", timeout=10, **send)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
    response = reply.json()["Response"]
    assert set(response) == {"Error", "RequestId"}
    assert set(response["Error"]) == {"Code", "Message"}
    assert response["Error"]["Code"] in ("MissingParameter", "InvalidParameter", "AuthFailure.InvalidAuthorization")


def test_a_success_has_the_same_type(client, address, monkeypatch):
    """The SDKs compare it as a text."""
    replies = []
    send = client.request.send_request
    monkeypatch.setattr(client.request, "send_request", lambda request: replies.append(send(request)) or replies[-1])
    client.call_json("ProcessMedia", {})
    assert [(reply.status_code, reply.headers["Content-Type"]) for reply in replies] == [(200, "application/json")]


def test_each_call_leaves_a_line(client_to, address, lines):
    """Who, what, and what came of it; no keys, no parameters."""
    client_to(address).call_json("ProcessMedia", {"OutputDir": "/private/"})
    for client, action in (
        (client_to(address, sign="HmacSHA1", secret_key=SECRET_KEY + "!"), "ProcessMedia"),
        (client_to(address, secret_id="AKIDother"), "x" * 1000),
    ):
        with pytest.raises(Exception, match="AuthFailure"):
            client.call_json(action, {"OutputDir": "/private/"})
    entries = lines()
    assert [(line["action"][:12], line["secret_id"], line["signature"], line["code"]) for line in entries] == [
        ("ProcessMedia", "AKIDtest", "TC3-HMAC-SHA256", "OK"),
        ("ProcessMedia", "AKIDtest", "HmacSHA1", "AuthFailure.SignatureFailure"),
        ("X" + "x" * 11, "AKIDother", "TC3-HMAC-SHA256", "AuthFailure.SecretIdNotFound"),
    ]  # fmt: skip
    assert all(line["peer"] == "127.0.0.1" and line["client"].startswith("SDK_PYTHON_") for line in entries)
    assert len({line["request_id"] for line in entries}) == 3
    assert all("private" not in str(line) and SECRET_KEY not in str(line) and len(str(line)) < 600 for line in entries)


def test_a_stranger_cannot_write_into_the_log(address, lines):
    """A line is a line."""
    with socket.create_connection(address.split(":"), timeout=10) as connection:
        connection.sendall(b"GET /?SecretId=a%0Ab&Signature=x&Timestamp=1&Action=%0A{} HTTP/1.0\r\nHost: a\r\n\r\n")
        assert b"AuthFailure.SecretIdNotFound" in connection.makefile("rb").read()
    assert [(line["secret_id"], line["action"]) for line in lines()] == [("a\nb", "\n{}")]


def test_a_client_that_goes_away_is_no_error(address, caplog):
    """In the middle of its body."""
    with socket.create_connection(address.split(":"), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
    requests.get(f"http://{address}/health", timeout=10)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_longest_query_is_taken(address, receiver, client_to):
    """And a head without end is not."""
    client_to(address, method="GET").call_json("ProcessMedia", {"OutputDir": "x" * 32_700})
    assert len(receiver.calls[-1].request.output_dir) == 32_700
    head = b"GET / HTTP/1.1\r\n" + 40_000 * (b"X: " + 1000 * b"x" + b"\r\n")
    with socket.create_connection(address.split(":"), timeout=10) as connection, pytest.raises(ConnectionError):
        connection.sendall(head)


def test_a_client_that_sends_far_too_much_still_reads_why(api_settings, service, client_to):
    """To a connection that closes while it sends, it would say only that the network failed."""
    with (
        serving(api_settings, replace(service, max_body_bytes=2**20)) as address,
        pytest.raises(Exception, match="RequestSizeLimitExceeded"),
    ):
        client_to(address).call_json("ProcessMedia", {"OutputDir": "x" * (60 * 2**20)})


NEVER_WHOLE = [
    [b""],
    [b"POST / HTTP/1.1\r\nHost:"],
    [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"],
    [b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", b"GET"],
    [b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", b"half"],
]
"""The second part once the first has been answered."""


@pytest.mark.slow
def test_a_request_that_does_not_come_whole_is_not_waited_for(api_settings, service, monkeypatch):
    """Half a head, half a body; the first of a connection or another one."""
    monkeypatch.setattr(server, "BODY_S", 0.1)
    monkeypatch.setattr(server, "SWEEP_S", 0.1)
    with serving(api_settings, service) as address, contextlib.ExitStack() as stack:
        connections = []
        for sent, *rest in NEVER_WHOLE:
            connection = stack.enter_context(socket.create_connection(address.split(":"), timeout=20))
            connection.sendall(sent)
            for more in rest:
                assert connection.recv(65536).startswith(b"HTTP/1.1")
                connection.sendall(more)
            connections.append(connection)
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                while connection.recv(65536):
                    pass


def test_the_description_is_made_once(api_settings, service, monkeypatch):
    """It takes half a second, and everybody may ask for it."""
    renderings = []
    monkeypatch.setattr(server, "openapi", lambda *_: renderings.append(1) or {"openapi": "3.1.0"})
    with serving(api_settings, service) as address:
        replies = [requests.get(f"http://{address}/openapi.json", timeout=10).json() for _ in range(3)]
    assert (replies, renderings) == ([{"openapi": "3.1.0"}] * 3, [1])


def test_a_call_that_takes_long_holds_up_no_other(api_settings, service, client_to):
    """Each has a thread."""
    entered, leave = threading.Event(), threading.Event()

    def slow(call):
        entered.set()
        assert leave.wait(30)
        return {}

    class Nothing(RequestModel):
        pass

    with serving(api_settings, replace(service, actions={"DescribeTasks": Action(Nothing, slow)})) as address:
        client = client_to(address)
        thread = threading.Thread(target=client.call_json, args=("DescribeTasks", {}))
        thread.start()
        try:
            assert entered.wait(30)
            assert requests.get(f"http://{address}/health", timeout=10).ok
            with pytest.raises(Exception, match="UnsupportedOperation"):
                client_to(address).call_json("EditMedia", {})
        finally:
            leave.set()
            thread.join()


@pytest.mark.slow
def test_dagster_is_not_imported():
    """That alone would cost the process a second and its memory."""
    check = "import sys, mps_dagster.api.server; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
