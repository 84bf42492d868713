"""COS over its S3 interface: a server that refuses what COS refuses."""

from __future__ import annotations

import pytest

from mps_dagster.errors import StorageFailed, StorageRefused
from mps_dagster.settings import CosSettings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.s3 import S3Bucket, make_client


def test_path_style_is_refused_and_the_error_says_what_to_set(cos_settings):
    """What happens to who reaches COS as `s3://` with the wrong settings."""
    client = make_client(cos_settings.as_s3().model_copy(update={"addressing_style": "path"}))
    with pytest.raises(StorageRefused, match="ADDRESSING_STYLE=virtual"):
        S3Bucket("s3://media-1250000000", "media-1250000000", client).write("a.mp4", b"x")


def test_checksums_that_botocore_adds_by_default_are_refused(cos_bucket, cos_settings, tmp_path):
    """So the server is one on which the settings matter."""
    client = make_client(cos_settings.as_s3().model_copy(update={"checksum": "when_supported"}))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StorageFailed, match="MissingContentLength"):
        S3Bucket(cos_bucket.name, cos_bucket.name.removeprefix("cos://"), client).publish(tmp_path / "file", "a.mp4")


def test_a_key_that_is_too_long_for_cos_is_refused_for_good(cos_bucket):
    """It takes 850 bytes, S3 1 024."""
    with pytest.raises(StorageRefused, match="850"):
        cos_bucket.write("x/" * 430 + "x", b"")


def test_the_endpoint_is_the_region_s():
    """With no more than the region, the id and the key."""
    s3 = CosSettings(region="ap-shanghai", secret_id="AKID", secret_key="k").as_s3()
    assert (s3.endpoint_url, s3.addressing_style, s3.checksum) == (
        "https://cos.ap-shanghai.myqcloud.com", "virtual", "when_required",
    )  # fmt: skip
    url = make_client(s3).generate_presigned_url("get_object", Params={"Bucket": "media-1250000000", "Key": "a"})
    assert url.startswith("https://media-1250000000.cos.ap-shanghai.myqcloud.com/a")


def test_cos_and_s3_buckets_stand_side_by_side(settings, s3_client):
    """Each with its own client."""
    buckets = Buckets(settings, lambda: s3_client)
    cos, s3 = buckets.get("cos://media-1250000000"), buckets.get("s3://media")
    assert (cos.name, s3.name) == ("cos://media-1250000000", "s3://media")
    assert cos._client is not s3._client
    assert buckets.get("cos://more-1250000000")._client is cos._client
