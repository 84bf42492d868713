"""Resources: the worker that ops call, S3 through dagster-aws, and the storage of step values."""

from __future__ import annotations

from typing import Any

from dagster_aws.s3 import S3Resource
from pydantic import SecretStr

from mps_dagster.execution.perform import Worker
from mps_dagster.orchestration.value_store import value_store
from mps_dagster.orchestration.values import TypedValues
from mps_dagster.settings import S3Settings, Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.s3 import make_client


class S3(S3Resource):
    """dagster-aws's S3, with the two settings that it lacks and that COS and others need (reference H.1)."""

    addressing_style: str = "auto"
    checksum: str = "when_required"

    @classmethod
    def of(cls, settings: S3Settings) -> S3:
        secret = settings.secret_access_key
        return cls(
            endpoint_url=settings.endpoint_url, region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            addressing_style=settings.addressing_style, checksum=settings.checksum,
        )  # fmt: skip

    def get_client(self) -> Any:
        secret = self.aws_secret_access_key
        settings = S3Settings(
            endpoint_url=self.endpoint_url, region=self.region_name, access_key_id=self.aws_access_key_id,
            secret_access_key=SecretStr(secret) if secret else None,
            addressing_style=self.addressing_style, checksum=self.checksum,
        )  # fmt: skip
        return make_client(settings)


def resources(settings: Settings) -> dict[str, Any]:
    """`worker` is a plain object: all ops of a process share its buckets, and S3 clients are created when first needed."""
    s3 = S3.of(settings.s3)
    buckets = Buckets(settings, s3.get_client)
    return {
        "s3": s3,
        "worker": Worker.of(settings, buckets),
        "io_manager": TypedValues(value_store(settings, buckets)),
    }
