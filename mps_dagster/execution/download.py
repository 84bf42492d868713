"""Downloads a URL of a user into a bucket. Only this module fetches from the web; ffmpeg never does."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from urllib3.exceptions import HTTPError

from mps_dagster.errors import ContentUnsupported, SourceNotAccessible, StorageFailed
from mps_dagster.settings import Settings, WebSettings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.disk import filling
from mps_dagster.storage.web import HINT, GuardedSession, InvalidIPAddress, without_userinfo

CHUNK_BYTES = 1 << 20
CONNECT_S, READ_S = 5.0, 30.0
SIZE_HINT = "a task takes sources of up to MPS_MAX_SOURCE_BYTES"


def download(url: str, bucket: Bucket, key: str, settings: Settings) -> None:
    """Fetch the whole URL into the bucket; do nothing if the object exists already, as in a retry."""
    with suppress(SourceNotAccessible):
        bucket.head(key)
        return
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    with (
        filling(f"cannot fetch {without_userinfo(url)}", settings.scratch_dir),
        TemporaryDirectory(dir=settings.scratch_dir, prefix="download-") as folder,
    ):
        path = Path(folder) / "file"
        fetch(url, path, settings.web, max_bytes=settings.max_source_bytes, seconds=settings.subtask_timeout_s)
        bucket.publish(path, key)


def fetch(url: str, path: Path, web: WebSettings, *, max_bytes: int, seconds: float) -> None:
    """Fetch the URL into a file within the limits of size and time."""
    what = f"cannot fetch {without_userinfo(url)}"
    late = f"it takes longer than {seconds:g} s"
    try:
        with (
            GuardedSession(web, seconds) as session,
            session.get(url, stream=True, timeout=(CONNECT_S, READ_S)) as reply,
        ):
            _check(reply, what)
            _save(reply, path, max_bytes, what)
    except InvalidIPAddress as error:
        raise SourceNotAccessible(f"{what}: it leads to {error}", hint=HINT) from error
    except (ValueError, requests.TooManyRedirects) as error:
        # An invalid URL: this one, or one that it redirects to.
        raise SourceNotAccessible(f"{what}: {without_userinfo(str(error))}") from error
    except (requests.RequestException, HTTPError) as error:
        raise StorageFailed(f"{what}: {late if session.is_over else without_userinfo(str(error))}") from error
    if session.is_over:
        raise StorageFailed(f"{what}: {late}")


def _check(reply: requests.Response, what: str) -> None:
    if reply.status_code >= 500 or reply.status_code == 429:
        raise StorageFailed(f"{what}: it answered {reply.status_code}")
    if reply.status_code != 200:
        raise SourceNotAccessible(f"{what}: it answered {reply.status_code}", hint="can everybody read it?")


def _save(reply: requests.Response, path: Path, max_bytes: int, what: str) -> None:
    size = 0
    with filling(what, path.parent), path.open("wb") as file:
        for chunk in reply.iter_content(CHUNK_BYTES):
            size += len(chunk)
            if size > max_bytes:
                raise ContentUnsupported(f"{what}: it has more than {max_bytes} bytes", hint=SIZE_HINT)
            file.write(chunk)
    announced = reply.headers.get("Content-Length")
    if announced and "Content-Encoding" not in reply.headers and size != int(announced):
        raise StorageFailed(f"{what}: {size} of {announced} bytes came")
