"""What S3 services do when they do not do what they should."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
from s3_servers import CUT, Answer, Environ, layered

from mps_dagster.errors import SourceNotAccessible, StorageFailed, StorageRefused
from mps_dagster.settings import S3Settings
from mps_dagster.storage.s3 import S3Bucket, make_client

from .conftest import SMALL_PARTS

pytestmark = pytest.mark.slow

Fault = Callable[[Environ], "Answer | None"]


class Server:
    """A bucket behind faults that a test sets; counts the requests that ran into them."""

    def __init__(self) -> None:
        self.fault: Fault = lambda _: None
        self.met = 0
        self.bucket: S3Bucket

    def __call__(self, environ: Environ) -> Answer | None:
        answer = self.fault(environ)
        self.met += answer is not None
        return answer


@pytest.fixture
def server(monkeypatch):
    # botocore waits up to 2 s and more between its attempts.
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server = Server()
    with layered(server) as address:
        settings = S3Settings(
            endpoint_url=address, region="us-east-1", addressing_style="path", access_key_id="k", secret_access_key="s"
        )
        client = make_client(settings)
        client.create_bucket(Bucket="faulty")
        server.bucket = S3Bucket("s3://faulty", "faulty", client, transfer=SMALL_PARTS)
        yield server


CALLS = {
    "head": lambda bucket, path: bucket.head("a.mp4"),
    "list": lambda bucket, path: list(bucket.list()),
    "read": lambda bucket, path: bucket.read("a.mp4"),
    "fetch": lambda bucket, path: bucket.fetch("a.mp4", path / "copy"),
    "write": lambda bucket, path: bucket.write("b.mp4", b"x"),
    "publish": lambda bucket, path: bucket.publish(path / "file", "b.mp4"),
    "swap": lambda bucket, path: bucket.swap("c.json", None, b"x"),
    "delete": lambda bucket, path: bucket.delete("a.mp4"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("answer", "kind", "hint"),
    [
        pytest.param(Answer("403 Forbidden", "AccessDenied"), StorageRefused, "policy", id="not allowed"),
        pytest.param(Answer("403 Forbidden", "InvalidAccessKeyId"), StorageRefused, "ACCESS_KEY_ID", id="no such key"),
        pytest.param(
            Answer("403 Forbidden", "SignatureDoesNotMatch"), StorageRefused, "SECRET_ACCESS_KEY", id="wrong secret"
        ),
        pytest.param(Answer("403 Forbidden", "RequestTimeTooSkewed"), StorageRefused, "clock", id="clock off"),
        pytest.param(Answer("503 Slow Down", "SlowDown"), StorageFailed, "", id="busy"),
        pytest.param(Answer("500 Oops", "InternalError"), StorageFailed, "", id="broken"),
        pytest.param(CUT, StorageFailed, "ENDPOINT_URL", id="connection cut"),
    ],
)
def test_each_answer_becomes_the_right_error(server, tmp_path, call, answer, kind, hint):
    """Refused for good, with what mends it; or worth a retry. HEAD has no body and so knows the status only."""
    server.bucket.write("a.mp4", b"content")
    (tmp_path / "file").write_bytes(b"x")
    server.fault = lambda _: answer
    with pytest.raises(kind, match=r"s3://faulty") as caught:
        CALLS[call](server.bucket, tmp_path)
    assert type(caught.value) is kind
    assert hint in caught.value.hint or call == "head"
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("call", CALLS)
def test_a_service_that_is_busy_for_a_moment_is_asked_again(server, tmp_path, call):
    """Nobody hears of it."""
    server.bucket.write("a.mp4", b"content")
    (tmp_path / "file").write_bytes(b"x")
    server.fault = lambda _: Answer("503 Slow Down", "SlowDown") if server.met < 2 else None
    CALLS[call](server.bucket, tmp_path)
    assert server.met == 2


def test_a_connection_that_is_cut_in_the_middle_of_an_upload_is_made_again(server, tmp_path):
    """Every part arrives, once."""
    content = os.urandom(11 * 2**20)
    (tmp_path / "big").write_bytes(content)
    server.fault = lambda environ: CUT if "partNumber=2" in environ["QUERY_STRING"] and server.met < 2 else None
    server.bucket.publish(tmp_path / "big", "big.mp4")
    assert server.met == 2
    assert server.bucket.read("big.mp4") == content


def test_an_upload_that_breaks_off_leaves_nothing(server, tmp_path):
    """Neither an object nor parts that somebody pays for; the old object stands."""
    (tmp_path / "big").write_bytes(bytes(11 * 2**20))
    server.bucket.write("big.mp4", b"old")
    server.fault = lambda environ: CUT if "partNumber=2" in environ["QUERY_STRING"] else None
    with pytest.raises(StorageFailed):
        server.bucket.publish(tmp_path / "big", "big.mp4")
    assert server.bucket.read("big.mp4") == b"old"
    assert "Uploads" not in server.bucket._client.list_multipart_uploads(Bucket="faulty")


def test_a_service_that_does_not_answer_is_given_up(server):
    """And worth a retry."""
    client = make_client(
        S3Settings(
            endpoint_url=server.bucket._client.meta.endpoint_url,
            region="us-east-1",
            addressing_style="path",
            access_key_id="k",
            secret_access_key="s",
        ),
        read_s=0.2,
    )

    def slow(_: Environ) -> None:
        threading.Event().wait(0.5)

    server.fault = slow
    with pytest.raises(StorageFailed, match="timeout") as caught:
        S3Bucket("s3://faulty", "faulty", client).read("a.mp4")
    assert caught.value.retryable


def test_an_object_that_comes_in_part_is_not_taken_for_whole(server, tmp_path):
    """The connection ended before its Content-Length did."""
    server.bucket.write("a.mp4", bytes(100_000))

    def cut_after_a_part(environ: Environ) -> None:
        if environ["REQUEST_METHOD"] == "GET":
            head = b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: "x"\r\nLast-Modified: Mon, 23 Nov 2026 12:00:00 GMT\r\n\r\n'
            environ["werkzeug.socket"].sendall(head + bytes(5_000))
            environ["werkzeug.socket"].shutdown(2)

    server.fault = cut_after_a_part
    with pytest.raises(StorageFailed):
        server.bucket.fetch("a.mp4", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_not_there_is_no_fault_of_the_service(server):
    """404 is an answer."""
    server.fault = lambda _: Answer("404 Not Found", "NoSuchKey")
    with pytest.raises(SourceNotAccessible):
        server.bucket.read("a.mp4")
    assert server.met == 1
