"""The file server behind the pictures in the UI."""

from __future__ import annotations

import http.client
import random
import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from PIL import Image
from s3_servers import layered
from servers import served

from mps_dagster.settings import S3Settings, Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.s3 import make_client

Get = Callable[..., http.client.HTTPResponse]


@pytest.fixture(scope="module")
def get(tmp_path_factory) -> Iterator[Get]:
    """Ask for a path exactly as it is written: most clients would tidy it up."""
    folder = tmp_path_factory.mktemp("files")
    settings = Settings(project=folder, home=folder / "home", settle_s=0)
    outputs = Buckets(settings).get("outputs")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(folder / "a.png")
    for key in ("dir/a b#1?.png", "a.png"):
        outputs.publish(folder / "a.png", key)
    outputs.write("page.html", b"<script>alert(1)</script>")
    outputs.write("drawing.svg", b"<svg onload='alert(1)'/>")
    (settings.home / "secret.png").write_bytes(b"secret")
    with served(settings) as address:

        def get(path: str, **headers: str) -> tuple[int, str, bytes]:
            reply, content = asked(address, path, headers)
            return reply.status, reply.headers.get("content-type", ""), content

        yield get


def asked(address: str, path: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
    """By a connection of its own: between two tests, the server may close one that is idle."""
    with closing(http.client.HTTPConnection(address.removeprefix("http://"))) as connection:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply, reply.read()


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Iterator[tuple]:
    """A film in a folder and on S3; what was asked of S3."""
    folder, ranges = tmp_path_factory.mktemp("played"), []

    def note(environ: dict) -> None:
        if environ["REQUEST_METHOD"] == "GET":
            ranges.append(environ.get("HTTP_RANGE"))

    with layered(note) as s3:
        access = S3Settings(
            endpoint_url=s3, region="us-east-1", addressing_style="path", access_key_id="k", secret_access_key="s"
        )
        settings = Settings(project=folder, home=folder / "home", settle_s=0, s3=access)
        make_client(access).create_bucket(Bucket="played")
        content = random.Random(1).randbytes(SIZE)
        for name in ("outputs", "s3://played"):
            Buckets(settings).get(name).write("film.mp4", content)
        with served(settings) as address:

            def asks(path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
                return asked(address, path, headers)

            yield settings, asks, content, ranges


def test_a_picture_is_served_with_its_type_and_in_ranges(get):
    """A player asks for parts."""
    assert get("/outputs/dir/a%20b%231%3F.png")[:2] == (200, "image/png")
    assert get("/outputs/a.png", Range="bytes=1-3")[2] == b"PNG"


SIZE = 20 * 2**20


@pytest.mark.parametrize("place", ["outputs", "s3:%2F%2Fplayed"])
@pytest.mark.parametrize(
    ("requested", "status", "shown", "size"),
    [
        (None, 200, None, SIZE),
        ("bytes=0-", 206, f"bytes 0-{SIZE - 1}/{SIZE}", SIZE),
        ("bytes=5-9", 206, f"bytes 5-9/{SIZE}", 5),
        (f"bytes={SIZE - 2}-{SIZE + 5}", 206, f"bytes {SIZE - 2}-{SIZE - 1}/{SIZE}", 2),
        ("bytes=-3", 206, f"bytes {SIZE - 3}-{SIZE - 1}/{SIZE}", 3),
        (f"bytes={SIZE}-", 416, f"bytes */{SIZE}", 0),
        (f"bytes={SIZE + 5}-{SIZE + 9}", 416, f"bytes */{SIZE}", 0),
        ("bytes=5-3", 200, None, SIZE),
        ("bytes=0-1,3-4", 200, None, SIZE),
        ("lines=1-2", 200, None, SIZE),
    ],
)
def test_a_part_comes_straight_out_of_its_bucket(played, place, requested, status, shown, size):
    """In the bytes that were asked for, without a copy of the whole object on disk or in memory."""
    settings, asks, content, ranges = played
    ranges.clear()
    tracemalloc.start()
    reply, body = asks(f"/{place}/film.mp4", **({"Range": requested} if requested else {}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (reply.status, reply.headers["content-range"], len(body)) == (status, shown, size)
    if status == 206:
        first, last = map(int, re.findall(r"(\d+)-(\d+)/", shown)[0])
        assert body == content[first : last + 1]
        assert set(ranges) <= {f"bytes={first}-{last}"}
    # The client here holds what came, twice; so does the S3 server with all of its object.
    assert peak < 2 * size + 12 * 2**20 or place != "outputs"
    assert not settings.scratch_dir.exists()


def test_a_part_of_an_earlier_version_is_not_mixed_with_this_one(played):
    """If-Range: another content comes whole."""
    _, asks, content, _ = played
    etag = asks("/outputs/film.mp4", Range="bytes=0-1")[0].headers["etag"]
    assert asks("/outputs/film.mp4", Range="bytes=5-9", **{"If-Range": etag})[1] == content[5:10]
    assert len(asks("/outputs/film.mp4", Range="bytes=5-9", **{"If-Range": '"old"'})[1]) == SIZE


@pytest.mark.parametrize("path", ["/outputs/page.html", "/outputs/drawing.svg"])
def test_nothing_that_a_browser_would_run_is_served(get, path):
    """An upload's name says what it is called, not who wrote it."""
    assert get(path)[0] == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/outputs/none.png", 404),
        ("/none/a.png", 404),
        ("/outputs/%2e%2e/%2e%2e/secret.png", 400),
        ("/outputs/..%2fsecret.png", 400),
        ("/%2e%2e/secret.png", 400),
        ("/", 400),
    ],
)
def test_what_is_not_in_a_bucket_is_not_served(get, path, status):
    """Whatever the path says."""
    assert get(path)[0] == status
