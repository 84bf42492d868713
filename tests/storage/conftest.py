"""Buckets to test: a folder, a real S3 server over HTTP, and the fake."""

from __future__ import annotations

import uuid

import pytest
from boto3.s3.transfer import TransferConfig

from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.local import LocalBucket
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.storage.s3 import S3Bucket, make_client

SMALL_PARTS = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
"""S3's smallest, so that a test's object has several parts."""
SETTLE_S = 0.3
"""Short: the server is in this process and answers soon."""


@pytest.fixture
def s3_client(s3_server):
    return s3_server.s3


@pytest.fixture
def s3_bucket(s3_client) -> S3Bucket:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return S3Bucket(f"s3://{name}", name, s3_client, settle_s=SETTLE_S, transfer=SMALL_PARTS)


@pytest.fixture
def local_bucket(tmp_path) -> LocalBucket:
    (tmp_path / "bucket").mkdir()
    return LocalBucket("inbox", tmp_path / "bucket", settle_s=0)


@pytest.fixture
def cos_bucket(cos_settings) -> S3Bucket:
    name = f"media{uuid.uuid4().hex[:8]}-1250000000"
    # moto knows AWS's regions only; nothing but this call looks at it.
    make_client(cos_settings.as_s3().model_copy(update={"region": "us-east-1"})).create_bucket(Bucket=name)
    client = make_client(cos_settings.as_s3())
    return S3Bucket(f"cos://{name}", name, client, settle_s=SETTLE_S, transfer=SMALL_PARTS)


@pytest.fixture(
    params=["local", pytest.param("s3", marks=pytest.mark.slow), pytest.param("cos", marks=pytest.mark.slow), "memory"]
)
def bucket(request) -> Bucket:
    if request.param == "memory":
        return MemoryBucket("memory")
    return request.getfixturevalue(f"{request.param}_bucket")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path, home=tmp_path / "home")
