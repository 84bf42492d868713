"""Sources that are named by a URL: fetched by us, whole or not at all, within limits, and never from inside the network."""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mps_dagster.errors import ContentUnsupported, DiskFull, SourceNotAccessible, StorageFailed
from mps_dagster.execution.download import download, fetch
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
def dripping():
    """Answers each connection with what it was given at once, and then one byte every hundredth of a second."""
    listener = socket.create_server(("127.0.0.1", 0))
    starts, over = {}, threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            path = connection.recv(65536).partition(b" ")[2].partition(b" ")[0]
            start, drip = starts.get(path, (b"", b""))
            connection.sendall(start)
            while not over.wait(0.01):
                connection.sendall(drip)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], starts
    over.set()
    # `close` alone would leave `accept` waiting.
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


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


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"", b"H"),
        (OK + b"X: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
        (OK + b"Connection: close\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"Content-Encoding: gzip\r\n\r\n", b"\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0"),
        (b"HTTP/1.1 302 Found\r\nLocation: /again\r\n", b"X: x\r\n"),
    ],
    ids=["status", "headers", "continue", "length", "until closed", "chunks", "nothing in gzip", "redirect"],
)
def test_a_fetch_ends_at_its_limit_however_slowly_it_comes(dripping, settings, tmp_path, start, drip):
    """Each byte comes in time, and all together never."""
    port, starts = dripping
    starts[b"/film.mp4"] = (start, drip)
    began = time.monotonic()
    with pytest.raises(StorageFailed, match=r"it takes longer than 0\.2 s"):
        fetch(f"http://127.0.0.1:{port}/film.mp4", tmp_path / "f", settings.web, max_bytes=10**6, seconds=0.2)
    assert time.monotonic() - began < 4


def test_a_fetch_ends_at_its_limit_in_the_middle_of_a_handshake(dripping, settings, tmp_path):
    """TLS takes the socket into its own hands before it has said a word."""
    port, _ = dripping
    began = time.monotonic()
    with pytest.raises(StorageFailed, match=r"it takes longer than 0\.2 s"):
        fetch(f"https://127.0.0.1:{port}/film.mp4", tmp_path / "f", settings.web, max_bytes=10**6, seconds=0.2)
    assert time.monotonic() - began < 4


def test_what_a_redirect_says_besides_is_not_read(dripping, settings, tmp_path):
    """It may be without end."""
    port, starts = dripping
    starts[b"/film.mp4"] = (b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n", b"x" * 65536)
    starts[b"/there"] = (OK + b"Content-Length: 4\r\n\r\nfilm", b"")
    fetch(f"http://127.0.0.1:{port}/film.mp4", tmp_path / "f", settings.web, max_bytes=4, seconds=60)
    assert (tmp_path / "f").read_bytes() == b"film"


@pytest.mark.parametrize(
    "address",
    [
        "http://anna:secret@127.0.0.1:1/film.mp4",
        "http://anna:secret@127.0.0.1:{port}/gone",
        "http://anna:s@secret@169.254.169.254/film.mp4",
        "http://anna:secret@[127.0.0.1/film.mp4",
        "http://anna:secret@/film.mp4",
        "http://anna:secret@" + "a" * 70 + ".example/",
        "ftp://anna:secret@127.0.0.1/film.mp4",
    ],
)
def test_an_error_tells_no_password(server, settings, tmp_path, address):
    """Of the address, whatever is wrong with it."""
    with pytest.raises((SourceNotAccessible, StorageFailed)) as caught:
        fetch(address.format(port=server.server_port), tmp_path / "f", settings.web, max_bytes=10**6, seconds=5)
    assert "//" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("location", ["http://[::1", "ftp://127.0.0.1/", "http://" + "a" * 70 + ".example/"])
def test_a_redirect_to_what_cannot_be_is_no_bug_of_ours(dripping, settings, tmp_path, location):
    """And not worth another attempt."""
    port, starts = dripping
    starts[b"/film.mp4"] = (f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode(), b"")
    with pytest.raises(SourceNotAccessible):
        fetch(f"http://127.0.0.1:{port}/film.mp4", tmp_path / "f", settings.web, max_bytes=4, seconds=5)


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


def test_a_disk_that_becomes_full_is_named(server, tmp_path, monkeypatch):
    """The retry may find room; the part that came is removed with its folder."""
    settings = Settings(home=tmp_path / "home", web={"allow": ["127.0.0.1"]})
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: object) -> object:
        if path.name == "file" and "w" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *rest)

    monkeypatch.setattr(Path, "open", full)
    url = f"http://127.0.0.1:{server.server_port}/film.mp4"
    with pytest.raises(DiskFull, match=r"cannot fetch http.*: no space left on the disk of .*home") as caught:
        download(url, MemoryBucket("inbox"), "film.mp4", settings)
    assert caught.value.retryable
    assert list(settings.scratch_dir.iterdir()) == []
