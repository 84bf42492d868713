"""Buckets to test: a folder, a real S3 server over HTTP, and the fake."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from boto3.s3.transfer import TransferConfig
from moto.server import ThreadedMotoServer

from mps_dagster.settings import S3Settings, Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.local import LocalBucket
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.storage.s3 import S3Bucket, make_client

SMALL_PARTS = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
"""S3's smallest, so that a test's object has several parts."""


@pytest.fixture(scope="session")
def s3_settings() -> Iterator[S3Settings]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Settings(
        endpoint_url=f"http://{host}:{port}", region="us-east-1", addressing_style="path",
        access_key_id="test", secret_access_key="test",
    )  # fmt: skip
    server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_settings):
    return make_client(s3_settings)


@pytest.fixture
def s3_bucket(s3_client) -> S3Bucket:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return S3Bucket(f"s3://{name}", name, s3_client)


@pytest.fixture
def local_bucket(tmp_path) -> LocalBucket:
    (tmp_path / "bucket").mkdir()
    return LocalBucket("inbox", tmp_path / "bucket", settle_s=0)


@pytest.fixture(params=["local", "s3", "memory"])
def bucket(request) -> Bucket:
    if request.param == "memory":
        return MemoryBucket("memory")
    return request.getfixturevalue(f"{request.param}_bucket")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path, home=tmp_path / "home")
