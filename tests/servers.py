"""Real servers, in a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3.session
import uvicorn
from s3_servers import layered

from mps_dagster.api.files import create_app
from mps_dagster.settings import S3Settings, Settings
from mps_dagster.storage.s3 import make_client


@dataclass(frozen=True)
class Aws:
    """An AWS of the test's own."""

    settings: S3Settings
    s3: Any
    sqs: Any


@contextmanager
def aws() -> Iterator[Aws]:
    with layered(lambda _: None) as address:
        settings = S3Settings(
            endpoint_url=address, region="us-east-1", addressing_style="path",
            access_key_id="test", secret_access_key="test",
        )  # fmt: skip
        sqs = boto3.session.Session().client(
            "sqs", endpoint_url=settings.endpoint_url, region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip
        yield Aws(settings, make_client(settings), sqs)


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Our own file server, as a player would meet it."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
