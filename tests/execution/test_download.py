"""Sources that are named by a URL: fetched by us, whole or not at all, within limits, and never from inside the network."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mps_dagster.errors import ContentUnsupported, SourceNotAccessible, StorageFailed
from mps_dagster.execution.download import download
from mps_dagster.settings import Settings
from mps_dagster.storage.memory import MemoryBucket

CONTENT = bytes(100_000)


@pytest.fixture
def server():
    """Answers by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.append(self.path)
            status = {"/busy": 503, "/gone": 404, "/hop": 302}.get(self.path, 200)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/film.mp4")
            length = {"/cut": 2 * len(CONTENT), "/hop": 0}.get(self.path, len(CONTENT))
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if status == 200:
                self.wfile.write(CONTENT)
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path, web={"allow": ["127.0.0.1"]})


def url(server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


@pytest.mark.parametrize("path", ["/film.mp4", "/hop"])
def test_a_url_becomes_an_object_once(server, settings, path):
    """Also over a redirect; a run that is tried again does not fetch it again."""
    bucket = MemoryBucket("uploads")
    for _ in range(2):
        download(url(server, path), bucket, "url/1/film.mp4", settings)
    assert bucket.read("url/1/film.mp4") == CONTENT
    assert server.asked.count("/film.mp4") == 1
    assert list(settings.scratch_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "kind", "retryable"),
    [
        ("/gone", SourceNotAccessible, False),
        ("/busy", StorageFailed, True),
        ("/cut", StorageFailed, True),
    ],
)
def test_what_does_not_come_whole_leaves_nothing(server, settings, path, kind, retryable):
    """And is tried again only where that can help."""
    bucket = MemoryBucket("uploads")
    with pytest.raises(kind) as caught:
        download(url(server, path), bucket, "k", settings)
    assert caught.value.retryable is retryable
    assert list(bucket.list()) == []
    assert list(settings.scratch_dir.iterdir()) == []


def test_what_is_too_large_is_refused(server, settings):
    """By what comes, not by what it says of itself."""
    small = settings.model_copy(update={"max_source_bytes": 1000})
    with pytest.raises(ContentUnsupported, match="1000 bytes"):
        download(url(server, "/film.mp4"), MemoryBucket("uploads"), "k", small)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}/film.mp4", "http://169.254.169.254/", "http://[::1]:{port}/"]
)
def test_nothing_is_fetched_from_inside_the_network(server, tmp_path, address):
    """Unless the settings allow it; the error says where."""
    with pytest.raises(SourceNotAccessible, match="MPS_WEB__ALLOW"):
        download(address.format(port=server.server_port), MemoryBucket("uploads"), "k", Settings(home=tmp_path))
    assert server.asked == []


def test_a_name_that_does_not_exist_is_worth_another_attempt(settings):
    """The network may be down."""
    with pytest.raises(StorageFailed):
        download("http://no-such-host.invalid/film.mp4", MemoryBucket("uploads"), "k", settings)
