"""Requests to addresses that users name: nothing inside the network is asked, however it is written."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from pydantic import ValidationError

from mps_dagster.settings import WebSettings
from mps_dagster.storage.web import GuardedSession, InvalidIPAddress


@pytest.fixture
def server():
    """Answers, or leads elsewhere; counts who came."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.append(self.path)
            location = self.server.leads.get(self.path)
            self.send_response(302 if location else 200)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.leads = [], {}
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.0.0.1", "10.0.0.1",
     "172.16.0.1", "192.168.0.1", "169.254.169.254", "[fe80::1]", "[fd00::1]", "100.64.0.1", "224.0.0.1", "[::]",
     "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::7f00:1]", "[::ffff:0:7f00:1]", "[fec0::1]"],
)  # fmt: skip
def test_an_address_inside_is_not_asked(server, host):
    """Loopback, private, link- and site-local (cloud metadata), carrier NAT, multicast; in any notation, also deprecated ones."""
    with GuardedSession(WebSettings()) as session, pytest.raises(InvalidIPAddress):
        session.get(f"http://{host}:{server.server_port}/", timeout=2)
    assert server.asked == []


def test_a_name_that_leads_inside_is_not_asked(server, monkeypatch):
    """What counts is where the connection goes."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: look_up("127.0.0.1", *rest, **more))
    with GuardedSession(WebSettings()) as session, pytest.raises(InvalidIPAddress, match=r"127\.0\.0\.1"):
        session.get(f"http://public.example:{server.server_port}/", timeout=2)
    assert server.asked == []


def test_a_name_that_changes_its_mind_gains_nothing(server, monkeypatch):
    """First public, then inside: it is looked up once."""
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    asked = []
    look_up = socket.getaddrinfo

    def rebinding(host, *rest, **more):
        asked.append(host)
        return look_up(next(answers) if host == "rebind.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with GuardedSession(WebSettings()) as session, pytest.raises(requests.RequestException):
        session.get(f"http://rebind.example:{server.server_port}/", timeout=0.3)
    assert asked.count("rebind.example") == 1
    assert server.asked == []


@pytest.mark.parametrize("allow", [("127.0.0.1",), ("127.0.0.0/8",), ("10.0.0.0/8", "127.0.0.1/32")])
def test_what_the_settings_allow_is_asked(server, allow):
    """By address or network."""
    with GuardedSession(WebSettings(allow=allow)) as session:
        assert session.get(f"http://127.0.0.1:{server.server_port}/", timeout=2).ok


def test_a_host_is_allowed_by_its_whole_name(server):
    """Not by the beginning of another one's."""
    with GuardedSession(WebSettings(allow=("localhost",))) as session:
        assert session.get(f"http://localhost:{server.server_port}/", timeout=2).ok
        with pytest.raises(requests.RequestException):
            session.get(f"http://localhost.evil.example:{server.server_port}/", timeout=2)


def test_each_hop_of_a_redirect_is_checked(server):
    """An allowed host may not lead to one that is not."""
    server.leads["/in"] = f"http://127.0.0.1:{server.server_port}/secret"
    server.leads["/round"] = f"http://localhost:{server.server_port}/round"
    with GuardedSession(WebSettings(allow=("localhost",))) as session:
        with pytest.raises(InvalidIPAddress):
            session.get(f"http://localhost:{server.server_port}/in", timeout=2)
        with pytest.raises(requests.TooManyRedirects):
            session.get(f"http://localhost:{server.server_port}/round", timeout=2)
    assert "/secret" not in server.asked


def test_proxy_variables_of_the_environment_are_not_looked_at(server, monkeypatch):
    """Only the setting is."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with GuardedSession(WebSettings(allow=("127.0.0.1",))) as session:
        assert session.get(f"http://127.0.0.1:{server.server_port}/", timeout=2).ok


def test_a_proxy_is_asked_for_names_and_never_for_addresses_inside(server):
    """It looks names up itself; an address that is written out is checked here."""
    with GuardedSession(WebSettings(proxy=f"http://127.0.0.1:{server.server_port}")) as session:
        assert session.get("http://hooks.example/a", timeout=2).ok
        with pytest.raises(requests.RequestException):
            session.get("http://169.254.169.254/latest", timeout=2)
    assert server.asked == ["http://hooks.example/a"]


@pytest.mark.parametrize("item", ["http://a", "a:80", "", "10.0.0.0/40"])
def test_an_invalid_host_is_reported(item):
    """Not silently never matched."""
    with pytest.raises(ValidationError):
        WebSettings(allow=(item,))
