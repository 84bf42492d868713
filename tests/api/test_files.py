"""The file server behind the pictures in the UI."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator

import pytest
from PIL import Image
from servers import served

from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets

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
        connection = http.client.HTTPConnection(address.removeprefix("http://"))

        def get(path: str, **headers: str) -> tuple[int, str, bytes]:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.headers.get("content-type", ""), reply.read()

        yield get
        connection.close()


def test_a_picture_is_served_with_its_type_and_in_ranges(get):
    """A player asks for parts."""
    assert get("/outputs/dir/a%20b%231%3F.png")[:2] == (200, "image/png")
    assert get("/outputs/a.png", Range="bytes=1-3")[2] == b"PNG"


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
