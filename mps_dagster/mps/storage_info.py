"""MPS's way of naming a place (reference A.2, A.3) to our bucket names, and back."""

from __future__ import annotations

from typing import Any

from mps_dagster.errors import InvalidInput
from mps_dagster.settings import Settings

Info = dict[str, Any]


def cos_bucket(name: str, settings: Settings) -> str:
    """COS itself where its key is set; otherwise a COS bucket is a local one of the same name."""
    return f"cos://{name}" if settings.cos.secret_id else name


def s3_bucket(name: str) -> str:
    return f"s3://{name}"


def object_key(path: str) -> str:
    """MPS writes paths with a leading slash."""
    key = path.removeprefix("/")
    if not key:
        raise InvalidInput("the object has no path")
    return key


def input_info(bucket: str, key: str, url: str = "") -> Info:
    """MPS's MediaInputInfo of a source, but for its region."""
    empty: Info = {"Type": "COS", "CosInputInfo": None, "UrlInputInfo": None, "S3InputInfo": None}
    if url:
        return empty | {"Type": "URL", "UrlInputInfo": {"Url": url}}
    service, name = _split(bucket)
    if service == "s3":
        return empty | {"Type": "AWS-S3", "S3InputInfo": {"S3Bucket": name, "S3Object": f"/{key}"}}
    return empty | {"CosInputInfo": {"Bucket": name, "Object": f"/{key}"}}


def output_storage(bucket: str) -> Info:
    """MPS's TaskOutputStorage of a bucket, but for its region."""
    service, name = _split(bucket)
    if service == "s3":
        return {"Type": "AWS-S3", "CosOutputStorage": None, "S3OutputStorage": {"S3Bucket": name}}
    return {"Type": "COS", "CosOutputStorage": {"Bucket": name}, "S3OutputStorage": None}


def with_regions(shown: Info, settings: Settings) -> Info:
    """The same with the region of every bucket in it: as the deployment has them, whatever the requests named.

    A local bucket stands in for one of COS, and is told to lie in COS's region.
    """
    filled = {name: _located(item, settings) for name, item in shown.items()}
    if "Bucket" in filled:
        filled["Region"] = settings.cos.region
    if "S3Bucket" in filled:
        filled["S3Region"] = settings.s3.region or ""
    return filled


def _located(item: Any, settings: Settings) -> Any:
    if isinstance(item, list):
        return [_located(member, settings) for member in item]
    return with_regions(item, settings) if isinstance(item, dict) else item


def _split(bucket: str) -> tuple[str, str]:
    service, found, name = bucket.rpartition("://")
    return (service if found else "", name)
