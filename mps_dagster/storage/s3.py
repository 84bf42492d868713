"""A bucket on S3, or on what speaks S3 (COS, MinIO, Ceph …)."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error, S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from urllib3.exceptions import HTTPError

from mps_dagster.errors import (
    InvalidConfiguration,
    MpsError,
    SourceChanged,
    SourceNotAccessible,
    StorageFailed,
    StorageRefused,
)
from mps_dagster.settings import S3Settings
from mps_dagster.storage.bucket import CHUNK_BYTES, READ_BYTES, ObjectInfo, Tell, log, too_large
from mps_dagster.storage.disk import filling
from mps_dagster.storage.drafts import draft_of
from mps_dagster.storage.keys import check_key, content_type_of
from mps_dagster.storage.s3_swap import SETTLE_S, Swap

CONNECT_S = 5.0
READ_S = 60.0
"""Between two pieces of an answer."""
ATTEMPTS = 5
BRISK_S, BRISK_ATTEMPTS = 10.0, 2
"""Instead of `READ_S` and `ATTEMPTS`, for callers that have little time and ask again soon anyway."""
CONNECTIONS = 32
"""Kept open: eight segments are uploaded at once, each, if it is a large one, by four threads of `TRANSFER`."""
RECORD, PLACE = "mps-record", "mps-place"
"""Metadata (`x-amz-meta-…`) of every output: the key of its record, and a hash of where it was written."""
TRANSFER = TransferConfig(multipart_threshold=16 * 2**20, multipart_chunksize=16 * 2**20, max_concurrency=4)
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
CHANGED = frozenset({"412", "PreconditionFailed"})
KEYS = (
    "check MPS_S3__ACCESS_KEY_ID and MPS_S3__SECRET_ACCESS_KEY (if not set: AWS's own), or MPS_COS__SECRET_ID and …_KEY"
)
REFUSED = {
    "NoSuchBucket": "make the bucket, or correct its name in the workflow",
    "AccessDenied": "the key may not do this; check the bucket's policy",
    "403": "the key may not do this; check the bucket's policy",
    "InvalidAccessKeyId": KEYS,
    "SignatureDoesNotMatch": f"{KEYS}; and the region",
    "ExpiredToken": KEYS,
    "InvalidToken": KEYS,
    "AuthorizationHeaderMalformed": "set MPS_S3__REGION to the bucket's region",
    "PermanentRedirect": "set MPS_S3__REGION to the bucket's region",
    "PathStyleDomainForbidden": "set MPS_S3__ADDRESSING_STYLE=virtual",
    "RequestTimeTooSkewed": "set this machine's clock",
    "InvalidObjectState": "the object is archived; restore it first",
    "KeyTooLong": "COS takes keys of up to 850 bytes; choose a shorter one",
}
"""Service codes that no retry mends, and what mends them."""
NETWORK = "check MPS_S3__ENDPOINT_URL and the network"


def make_client(settings: S3Settings, *, read_s: float = READ_S, attempts: int = ATTEMPTS) -> Any:
    """A client as the settings say; thread-safe, 0.1 s to make."""
    secret = settings.secret_access_key
    config = Config(
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": settings.addressing_style},
        request_checksum_calculation=settings.checksum, response_checksum_validation=settings.checksum,
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=CONNECT_S, read_timeout=read_s,
    )  # fmt: skip
    try:
        return boto3.client(
            "s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
        )  # fmt: skip
    except (BotoCoreError, ValueError) as error:
        raise InvalidConfiguration(
            f"cannot make an S3 client: {error}",
            hint="MPS_S3__ENDPOINT_URL begins with http:// or https://; a key id and its secret go together",
        ) from error


class S3Bucket:
    """S3 promises that every put is atomic: an upload in progress is no object yet."""

    def __init__(
        self, name: str, bucket: str, client: Any, *, settle_s: float = SETTLE_S, transfer: TransferConfig = TRANSFER
    ) -> None:
        self.name = name
        self._bucket = bucket
        self._client = client
        self._transfer = transfer
        self._swap = Swap(client, bucket, settle_s)

    def head(self, key: str) -> ObjectInfo:
        with self._errors("look at", key):
            return self._info(key, self._client.head_object(Bucket=self._bucket, Key=check_key(key)))

    def list(self, prefix: str = "", *, after: str = "", left_out: Tell = log.warning) -> Iterator[ObjectInfo]:
        # The first version of the call: COS documents no other one, and would end silently after a thousand keys.
        pages = self._client.get_paginator("list_objects")
        with self._errors("list", prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Marker=after):
                for item in page.get("Contents", ()):
                    if self._is_object(item["Key"], left_out):
                        yield ObjectInfo(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"])

    def fetch(self, key: str, path: Path, *, etag: str | None = None) -> ObjectInfo:
        # One GET, so that what comes is of one object whatever happens to the key meanwhile.
        match = {"IfMatch": f'"{etag}"'} if etag else {}
        with draft_of(path) as draft:
            with self._errors("read", key):
                reply = self._client.get_object(Bucket=self._bucket, Key=check_key(key), **match)
                with (
                    closing(reply["Body"]) as body,
                    filling(f"cannot fetch {self.name}/{key}", path.parent),
                    draft.path.open("wb") as file,
                ):
                    shutil.copyfileobj(body, file, CHUNK_BYTES)
            draft.replace(path)
        return self._info(key, reply)

    def read(self, key: str, *, max_bytes: int = READ_BYTES) -> bytes:
        with (
            self._errors("read", key),
            closing(self._client.get_object(Bucket=self._bucket, Key=check_key(key))["Body"]) as body,
        ):
            content: bytes = body.read(max_bytes + 1)
            if len(content) <= max_bytes:
                # To the end: only there it shows whether all of it came.
                content += body.read(1)
        if len(content) > max_bytes:
            raise too_large(self.name, key, max_bytes)
        return content

    def stream(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> Iterator[bytes]:
        options = {"IfMatch": f'"{etag}"'} if etag else {}
        if start or length is not None:
            options["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with self._errors("read", key):
            reply = self._client.get_object(Bucket=self._bucket, Key=check_key(key), **options)
        return self._chunks(reply["Body"], key)

    def _chunks(self, body: Any, key: str) -> Iterator[bytes]:
        with self._errors("read", key), closing(body):
            while chunk := body.read(CHUNK_BYTES):
                yield chunk

    def publish(self, path: Path, key: str, *, content_type: str | None = None, record: str = "") -> ObjectInfo:
        extra = self._headers(key, content_type, record)
        # A file that the caller does not have is no fault of the bucket.
        with path.open("rb") as body, self._errors("write", key):
            if path.stat().st_size < self._transfer.multipart_threshold:
                # Not upload_file, which starts threads for every file.
                self._client.put_object(Bucket=self._bucket, Key=check_key(key), Body=body, **extra)
            else:
                self._client.upload_file(
                    str(path), self._bucket, check_key(key), ExtraArgs=extra, Config=self._transfer
                )
        return self.head(key)

    def write(self, key: str, content: bytes, *, content_type: str | None = None, record: str = "") -> ObjectInfo:
        headers = self._headers(key, content_type, record)
        with self._errors("write", key):
            self._client.put_object(Bucket=self._bucket, Key=check_key(key), Body=content, **headers)
        return self.head(key)

    def swap(self, key: str, old: bytes | None, new: bytes) -> bool:
        with self._errors("write", key):
            return self._swap(check_key(key), old, new)

    def delete(self, key: str) -> None:
        with self._errors("delete", key):
            self._client.delete_object(Bucket=self._bucket, Key=check_key(key))

    def _headers(self, key: str, content_type: str | None, record: str) -> dict[str, Any]:
        marked = {"Metadata": {RECORD: record, PLACE: self._place(key)}} if record else {}
        return {"ContentType": content_type or content_type_of(key), **marked}

    def _place(self, key: str) -> str:
        # A copy keeps its metadata, and a person who copies an output into an inbox wants it processed.
        return hashlib.sha256(f"{self._bucket}/{key}".encode()).hexdigest()[:40]

    def _info(self, key: str, reply: dict[str, Any]) -> ObjectInfo:
        # A proxy may write the names of headers in another case.
        marks = {name.lower(): value for name, value in reply.get("Metadata", {}).items()}
        record = marks.get(RECORD, "") if marks.get(PLACE) == self._place(key) else ""
        return ObjectInfo(key, reply["ContentLength"], reply["ETag"].strip('"'), reply["LastModified"], record=record)

    def _is_object(self, key: str, left_out: Tell) -> bool:
        # Consoles make empty objects for "folders".
        if key.endswith("/"):
            return False
        try:
            check_key(key)
        except InvalidConfiguration as error:
            left_out(f"bucket {self.name}: an object is left out, rename it: {error}")
            return False
        return True

    @contextmanager
    def _errors(self, verb: str, key: str) -> Iterator[None]:
        where = f"cannot {verb} {self.name}/{key}"
        try:
            yield
        except S3UploadFailedError as error:
            # upload_file wraps what the service answered and keeps only its text.
            raise _told(where, error.__context__ or error) from error
        except (BotoCoreError, Boto3Error, ClientError, HTTPError, OSError) as error:
            raise _told(where, error) from error


def _told(where: str, error: BaseException) -> MpsError:
    if isinstance(error, ClientError):
        return _answered(where, error)
    what = f"{where}: {error}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageRefused(what, hint=KEYS)
    if isinstance(error, ParamValidationError):
        return StorageRefused(what, hint="correct the bucket's name in the workflow")
    if isinstance(error, OSError):
        # botocore's own are none: this is about the file at this end.
        return StorageFailed(what)
    return StorageFailed(what, hint=NETWORK)


def _answered(where: str, error: ClientError) -> MpsError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in MISSING:
        # HEAD has no body to tell the two apart.
        return SourceNotAccessible(f"{where}: there is no such object{', or no such bucket' if code == '404' else ''}")
    if code in CHANGED:
        return SourceChanged(f"{where}: it is no longer the object that was announced")
    if code in REFUSED:
        return StorageRefused(f"{where}: {error}", hint=REFUSED[code])
    return StorageFailed(f"{where}: {error}")
