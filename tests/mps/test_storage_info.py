"""MPS's way of naming places."""

from __future__ import annotations

import pytest

from mps_dagster.mps.storage_info import input_info, output_storage, with_regions
from mps_dagster.settings import Settings

SETTINGS = Settings(cos={"region": "ap-beijing"}, s3={"region": "eu-west-1"})


@pytest.mark.parametrize(
    ("place", "member", "shown"),
    [
        (output_storage("outputs"), "CosOutputStorage", {"Bucket": "outputs", "Region": "ap-beijing"}),
        (output_storage("cos://b-1"), "CosOutputStorage", {"Bucket": "b-1", "Region": "ap-beijing"}),
        (output_storage("s3://out"), "S3OutputStorage", {"S3Bucket": "out", "S3Region": "eu-west-1"}),
        (input_info("in", "a"), "CosInputInfo", {"Bucket": "in", "Region": "ap-beijing", "Object": "/a"}),
        (input_info("s3://in", "a"), "S3InputInfo", {"S3Bucket": "in", "S3Region": "eu-west-1", "S3Object": "/a"}),
        (input_info("in", "a", "https://h/a"), "UrlInputInfo", {"Url": "https://h/a"}),
    ],
)
def test_a_place_is_shown_with_its_region_at_any_depth(place, member, shown):
    """The receiver of an output opens its bucket with it."""
    info = with_regions({"results": [{"output": place, "path": None}]}, SETTINGS)
    assert info["results"][0]["output"][member] == shown
