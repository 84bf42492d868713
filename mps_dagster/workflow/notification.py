"""Where events go, as an admin writes it under `notify:`."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from mps_dagster.media.info import Facts


class LocalSink(Facts):
    """The embedded queue, read with `mps notifications`."""

    type: Literal["local"]
    queue: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] = "events"

    @property
    def address(self) -> str:
        return f"local:{self.queue}"


class SqsSink(Facts):
    """An SQS queue by name or URL. A name that ends with `.fifo` is a FIFO queue."""

    type: Literal["aws_sqs"]
    queue: str = Field(min_length=1, max_length=512)
    region: str | None = None

    @property
    def address(self) -> str:
        return f"aws_sqs:{self.region or ''}/{self.queue}"


class UrlSink(Facts):
    """HTTP POST of the event as JSON."""

    type: Literal["url"]
    url: str

    @field_validator("url")
    @classmethod
    def _is_plain_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address is http:// or https:// with a host")
        if parts.username or parts.password:
            raise ValueError("an address holds no user name or password: it is shown in logs and in the UI")
        return url

    @property
    def address(self) -> str:
        return f"url:{self.url}"


SinkConfig = Annotated[LocalSink | SqsSink | UrlSink, Field(discriminator="type")]
