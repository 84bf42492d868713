"""A bucket on S3, or on what speaks S3 (COS, MinIO, Ceph …)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from mps_dagster.errors import SourceChanged, SourceNotAccessible, StorageFailed, StorageRefused
from mps_dagster.settings import S3Settings
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.storage.drafts import draft_of
from mps_dagster.storage.keys import check_key, content_type_of

CHUNK_BYTES = 1 << 20
TRANSFER = TransferConfig(multipart_threshold=16 * 2**20, multipart_chunksize=16 * 2**20, max_concurrency=4)
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
CHANGED = frozenset({"412", "PreconditionFailed"})
REFUSED = {
    "NoSuchBucket": "make the bucket, or correct its name in the workflow",
    "AccessDenied": "the key may not do this; check the bucket's policy",
    "403": "the key may not do this; check the bucket's policy",
    "InvalidAccessKeyId": "check MPS_S3__ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "check MPS_S3__SECRET_ACCESS_KEY and the region",
    "PathStyleDomainForbidden": "set MPS_S3__ADDRESSING_STYLE=virtual",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "set MPS_S3__REGION to the bucket's region",
}
"""Service codes that no retry mends, and what mends them."""


def make_client(settings: S3Settings) -> Any:
    """A client as the settings say; thread-safe, 0.1 s to make."""
    secret = settings.secret_access_key
    config = Config(
        s3={"addressing_style": settings.addressing_style},
        request_checksum_calculation=settings.checksum, response_checksum_validation=settings.checksum,
        retries={"mode": "standard", "max_attempts": 4}, connect_timeout=5, read_timeout=60,
    )  # fmt: skip
    return boto3.client(
        "s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config,
        aws_access_key_id=settings.access_key_id, aws_secret_access_key=secret.get_secret_value() if secret else None,
    )  # fmt: skip


class S3Bucket:
    """Every put is atomic by S3's own promise: an upload in progress is no object yet."""

    def __init__(self, name: str, bucket: str, client: Any) -> None:
        self.name = name
        self._bucket = bucket
        self._client = client

    def head(self, key: str) -> ObjectInfo:
        with self._errors("look at", key):
            return _info(key, self._client.head_object(Bucket=self._bucket, Key=check_key(key)))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._errors("list", prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    # Consoles make empty objects for "folders".
                    if not item["Key"].endswith("/"):
                        yield ObjectInfo(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"])

    def fetch(self, key: str, path: Path, *, etag: str | None = None) -> ObjectInfo:
        with self._errors("read", key), draft_of(path) as draft:
            # One GET, so that what comes is of one object whatever happens to the key meanwhile.
            match = {"IfMatch": f'"{etag}"'} if etag else {}
            reply = self._client.get_object(Bucket=self._bucket, Key=check_key(key), **match)
            with draft.open("wb") as file:
                shutil.copyfileobj(reply["Body"], file, CHUNK_BYTES)
            info = _info(key, reply)
            draft.replace(path)
        return info

    def read(self, key: str) -> bytes:
        with self._errors("read", key):
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=check_key(key))["Body"].read()
        return content

    def publish(self, path: Path, key: str, *, content_type: str | None = None) -> ObjectInfo:
        extra = {"ContentType": content_type or content_type_of(key)}
        with self._errors("write", key):
            self._client.upload_file(str(path), self._bucket, check_key(key), ExtraArgs=extra, Config=TRANSFER)
        return self.head(key)

    def write(self, key: str, content: bytes, *, content_type: str | None = None) -> ObjectInfo:
        kind = content_type or content_type_of(key)
        with self._errors("write", key):
            self._client.put_object(Bucket=self._bucket, Key=check_key(key), Body=content, ContentType=kind)
        return self.head(key)

    def delete(self, key: str) -> None:
        with self._errors("delete", key):
            self._client.delete_object(Bucket=self._bucket, Key=check_key(key))

    @contextmanager
    def _errors(self, verb: str, key: str) -> Iterator[None]:
        where = f"cannot {verb} {self.name}/{key}"
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in MISSING:
                raise SourceNotAccessible(f"{where}: there is no such object") from error
            if code in CHANGED:
                raise SourceChanged(f"{where}: it is no longer the object that was announced") from error
            if code in REFUSED:
                raise StorageRefused(f"{where}: {error}", hint=REFUSED[code]) from error
            raise StorageFailed(f"{where}: {error}") from error
        except (BotoCoreError, HTTPClientError, Boto3Error, OSError) as error:
            raise StorageFailed(f"{where}: {error}", hint="check MPS_S3__ENDPOINT_URL and the network") from error


def _info(key: str, reply: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, reply["ContentLength"], reply["ETag"].strip('"'), reply["LastModified"])
