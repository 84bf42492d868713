"""How SQS is reached."""

from __future__ import annotations

from typing import Any

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.settings import Settings

CONNECT_S = 3.0
READ_S = 5.0


def make_sqs_client(settings: Settings, region: str | None) -> Any:
    """A client that tries once: who calls it tries again in its own time. Credentials are boto3's own chain."""
    # Imported at need: it costs 0.2 s and memory, and most deployments have no SQS.
    import boto3.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1})
    try:
        # A session of its own: the default one is not thread-safe.
        return boto3.session.Session().client(
            "sqs", region_name=region, endpoint_url=settings.sqs_endpoint_url, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise InvalidConfiguration(
            f"cannot make an SQS client: {error}",
            hint="set `queue_region` (of a sink: `region`) or AWS_DEFAULT_REGION; MPS_SQS_ENDPOINT_URL begins with http:// or https://",
        ) from error
