"""Conversion between MPS's description of a place (reference A.2, A.3) and our bucket names."""

from __future__ import annotations

from typing import Any

from mps_dagster.errors import InvalidInput
from mps_dagster.settings import Settings

Info = dict[str, Any]


def cos_bucket(name: str, settings: Settings) -> str:
    """A bucket of COS if its key is set; otherwise the local bucket of the same name."""
    return f"cos://{name}" if settings.cos.secret_id else name


def s3_bucket(name: str) -> str:
    return f"s3://{name}"


def object_key(path: str) -> str:
    """The key of a path, which has a leading slash in MPS."""
    key = path.removeprefix("/")
    if not key:
        raise InvalidInput("the object has no path")
    return key


def input_info(bucket: str, key: str, url: str = "") -> Info:
    """MPS's MediaInputInfo of a source, without its region."""
    empty: Info = {"Type": "COS", "CosInputInfo": None, "UrlInputInfo": None, "S3InputInfo": None}
    if url:
        return empty | {"Type": "URL", "UrlInputInfo": {"Url": url}}
    service, name = _split(bucket)
    if service == "s3":
        return empty | {"Type": "AWS-S3", "S3InputInfo": {"S3Bucket": name, "S3Object": f"/{key}"}}
    return empty | {"CosInputInfo": {"Bucket": name, "Object": f"/{key}"}}


def output_storage(bucket: str) -> Info:
    """MPS's TaskOutputStorage of a bucket, without its region."""
    service, name = _split(bucket)
    if service == "s3":
        return {"Type": "AWS-S3", "CosOutputStorage": None, "S3OutputStorage": {"S3Bucket": name}}
    return {"Type": "COS", "CosOutputStorage": {"Bucket": name}, "S3OutputStorage": None}


def with_regions(shown: Info, settings: Settings) -> Info:
    """Add the region of every bucket, from the settings, whatever the requests named.

    A local bucket replaces one of COS, and gets COS's region.
    """
    info = {name: _add_regions(item, settings) for name, item in shown.items()}
    if "Bucket" in info:
        info["Region"] = settings.cos.region
    if "S3Bucket" in info:
        info["S3Region"] = settings.s3.region or ""
    return info


def _add_regions(item: Any, settings: Settings) -> Any:
    if isinstance(item, list):
        return [_add_regions(member, settings) for member in item]
    return with_regions(item, settings) if isinstance(item, dict) else item


def _split(bucket: str) -> tuple[str, str]:
    service, _, name = bucket.rpartition("://")
    return service, name
