"""Logs of steps in the bucket that all hosts share, through dagster-aws."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import IO, Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from dagster_aws.s3 import S3ComputeLogManager

from mps_dagster.orchestration import internals
from mps_dagster.orchestration.value_store import LOGS
from mps_dagster.settings import Settings
from mps_dagster.storage.s3 import make_client

UPLOAD_S = 30
"""How often the log of a running step is copied."""

log = logging.getLogger(__name__)


class SharedLogs(S3ComputeLogManager):
    """dagster-aws's, with our clients for S3 and COS, over our way to capture a log."""

    def __init__(
        self, settings: Settings, local: internals.LocalComputeLogManager, inst_data: internals.ConfigurableClassData | None
    ) -> None:  # fmt: skip
        service, _, bucket = settings.shared_bucket.partition("://")
        s3 = settings.s3_of(service)
        super().__init__(
            bucket, local_dir="", inst_data=inst_data, prefix=LOGS, endpoint_url=s3.endpoint_url, region=s3.region or "",
            upload_interval=UPLOAD_S,
        )  # fmt: skip
        # It would take boto3's own keys, addressing and checksums.
        self._s3_session = make_client(s3)
        self._local_manager = local

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    def _upload_file_obj(
        self, data: IO[bytes], log_key: Sequence[str], io_type: internals.ComputeIOType, partial: bool = False
    ) -> None:
        try:
            super()._upload_file_obj(data, log_key, io_type, partial)
        except (Boto3Error, BotoCoreError, ClientError) as error:
            # What a step printed is not worth failing it.
            log.warning("the log %s was not uploaded: %s", "/".join(log_key), error)
