"""Inputs and output storages of MPS's requests (reference A.2, A.3), checked against the rights of the caller's key."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from mps_dagster.api.action import NotOffered, RequestModel
from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.keys import ApiKey
from mps_dagster.errors import InvalidInput
from mps_dagster.mps.storage_info import cos_bucket, object_key, s3_bucket
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import check_shared
from mps_dagster.storage.keys import check_bucket_name


class CosInputInfo(RequestModel):
    bucket: str = Field(min_length=1)
    region: str = ""
    object: str = Field(min_length=1)


class UrlInputInfo(RequestModel):
    url: str = Field(pattern=r"^https?://[^\s/]+\S*$", max_length=2048)

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if not urlsplit(url).hostname:
            raise ValueError("it names no host")
        return url


class S3InputInfo(RequestModel):
    """Access keys are those of the deployment (MPS_S3__*), not the request's."""

    s3_bucket: str = Field(alias="S3Bucket", min_length=1)
    s3_region: str = Field("", alias="S3Region")
    s3_object: str = Field(alias="S3Object", min_length=1)
    s3_secret_id: NotOffered = Field(None, alias="S3SecretId")
    s3_secret_key: NotOffered = Field(None, alias="S3SecretKey")


class MediaInputInfo(RequestModel):
    type: Literal["COS", "URL", "AWS-S3", "VOD"]
    cos_input_info: CosInputInfo | None = None
    url_input_info: UrlInputInfo | None = None
    s3_input_info: S3InputInfo | None = Field(None, alias="S3InputInfo")
    vod_input_info: NotOffered = Field(None, alias="VODInputInfo")

    def place(self, key: ApiKey, settings: Settings) -> tuple[str, str]:
        """Bucket and key of a COS or S3 object. Raise `ApiError` unless the caller may read the bucket."""
        match self.type, self.cos_input_info, self.s3_input_info:
            case "COS", CosInputInfo() as cos, _:
                bucket, path = _checked(cos_bucket(cos.bucket, settings), settings), cos.object
            case "AWS-S3", _, S3InputInfo() as s3:
                bucket, path = _checked(s3_bucket(s3.s3_bucket), settings), s3.s3_object
            case "COS", None, _:
                raise missing("InputInfo.CosInputInfo")
            case "AWS-S3", _, None:
                raise missing("InputInfo.S3InputInfo")
            case _:
                raise ApiError("UnsupportedOperation", f"An input of type {self.type} is not offered here.")
        key.check_read(bucket)
        try:
            return bucket, object_key(path)
        except InvalidInput as error:
            raise ApiError("InvalidParameterValue", f"InputInfo: {error}") from error

    @property
    def url(self) -> str:
        """Of a URL input; empty for the others."""
        if self.type != "URL":
            return ""
        if self.url_input_info is None:
            raise missing("InputInfo.UrlInputInfo")
        return self.url_input_info.url


class CosOutputStorage(RequestModel):
    bucket: str = ""
    region: str = ""


class S3OutputStorage(RequestModel):
    s3_bucket: str = Field(alias="S3Bucket", min_length=1)
    s3_region: str = Field("", alias="S3Region")
    s3_secret_id: NotOffered = Field(None, alias="S3SecretId")
    s3_secret_key: NotOffered = Field(None, alias="S3SecretKey")


class TaskOutputStorage(RequestModel):
    type: Literal["COS", "AWS-S3", "VOD"]
    cos_output_storage: CosOutputStorage | None = None
    s3_output_storage: S3OutputStorage | None = Field(None, alias="S3OutputStorage")
    vod_output_storage: NotOffered = Field(None, alias="VODOutputStorage")


def bucket_of(storage: TaskOutputStorage | None, settings: Settings) -> str:
    """The bucket; empty if none is named, so that it is inherited."""
    if storage is None:
        return ""
    if storage.type == "COS":
        named = storage.cos_output_storage.bucket if storage.cos_output_storage else ""
        return _checked(cos_bucket(named, settings), settings) if named else ""
    if storage.type == "AWS-S3" and storage.s3_output_storage:
        return _checked(s3_bucket(storage.s3_output_storage.s3_bucket), settings)
    raise ApiError("UnsupportedOperation", f"An output storage of type {storage.type} is not offered here.")


def _checked(bucket: str, settings: Settings) -> str:
    try:
        check_shared(bucket, settings)
        return check_bucket_name(bucket)
    except InvalidInput as error:
        raise ApiError("ResourceNotFound.CosBucketNameInvalid", str(error)) from error


def check_dir(path: str) -> str:
    """Validate an output dir. MPS documents slashes at both ends, and accepts it without."""
    if any(part in (".", "..") for part in path.split("/")) or "\0" in path:
        raise PydanticCustomError("InvalidParameterValue", "it is no directory")
    return path
