"""A URL that a user names becomes an object. Only this fetches from the web; ffmpeg never does."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from mps_dagster.errors import ContentUnsupported, SourceNotAccessible, StorageFailed
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.web import HINT, GuardedSession, InvalidIPAddress

CHUNK_BYTES = 1 << 20
CONNECT_S, READ_S = 5.0, 30.0


def download(url: str, bucket: Bucket, key: str, settings: Settings) -> None:
    """Fetch the URL into the bucket, whole or not at all; nothing is done if it is there already (a run tried again)."""
    with suppress(SourceNotAccessible):
        bucket.head(key)
        return
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.scratch_dir, prefix="download-") as folder:
        path = Path(folder) / "file"
        fetch(url, path, settings)
        bucket.publish(path, key)


def fetch(url: str, path: Path, settings: Settings) -> None:
    """Fetch the URL into a file, within the limits on size and time."""
    what = f"cannot fetch {url}"
    try:
        with (
            GuardedSession(settings.web) as session,
            session.get(url, stream=True, timeout=(CONNECT_S, READ_S)) as reply,
        ):
            if reply.status_code >= 500 or reply.status_code == 429:
                raise StorageFailed(f"{what}: it answered {reply.status_code}")
            if reply.status_code != 200:
                raise SourceNotAccessible(f"{what}: it answered {reply.status_code}", hint="can everybody read it?")
            _save(reply, path, settings, what)
    except InvalidIPAddress as error:
        raise SourceNotAccessible(f"{what}: it leads to {error}", hint=HINT) from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.TooManyRedirects) as error:
        raise SourceNotAccessible(f"{what}: {error}") from error
    except requests.RequestException as error:
        raise StorageFailed(f"{what}: {error}") from error


def _save(reply: requests.Response, path: Path, settings: Settings, what: str) -> None:
    deadline = time.monotonic() + settings.subtask_timeout_s
    size = 0
    with path.open("wb") as file:
        for chunk in reply.iter_content(CHUNK_BYTES):
            size += len(chunk)
            if size > settings.max_source_bytes:
                raise ContentUnsupported(
                    f"{what}: it has more than {settings.max_source_bytes} bytes", hint="MPS_MAX_SOURCE_BYTES"
                )
            if time.monotonic() > deadline:
                raise StorageFailed(f"{what}: it takes longer than {settings.subtask_timeout_s:g} s")
            file.write(chunk)
    announced = reply.headers.get("Content-Length")
    if announced and "Content-Encoding" not in reply.headers and size != int(announced):
        raise StorageFailed(f"{what}: {size} of {announced} bytes came")
