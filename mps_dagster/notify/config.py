"""Where events go, as an admin writes it under `notify:`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.frozen import Facts

QueueName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{0,32}$")]
"""Becomes part of a host name, so it holds nothing that could name another host."""


class FromEnvironment(Facts):
    """A secret by the name of the variable that holds it, so that no file of ours does."""

    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the environment variable.")


Secret = str | FromEnvironment


class Sink(Facts):
    """What all sinks have."""

    notify_mode: Literal["finish", "change"] = Field(
        "finish", description="`change` sends an event for each subtask that ends, too; MPS's NotifyMode."
    )


class LocalSink(Sink):
    """The embedded queue, read with `mps notifications`."""

    type: Literal["local"] = Field(description="Kind of sink.")
    queue: QueueName = Field("events", description="Name of the local queue.")

    @property
    def address(self) -> str:
        return f"local:{self.queue}"


class SqsSink(Sink):
    """An SQS queue by name or URL. A name that ends with `.fifo` is a FIFO queue."""

    type: Literal["aws_sqs"] = Field(description="Kind of sink.")
    queue: str = Field(pattern=r"^[!-~]{1,512}$", description="Name or URL; a FIFO queue's name ends with `.fifo`.")
    region: Region | None = Field(None, description="Empty = AWS_DEFAULT_REGION.")

    @property
    def address(self) -> str:
        return f"aws_sqs:{self.region or ''}/{self.queue}"


class CmqSink(Sink):
    """A queue or topic of CMQ or TDMQ-for-CMQ."""

    type: Literal["tdmq_cmq"] = Field(description="Kind of sink.")
    model: Literal["queue", "topic"] = Field("queue", description="Whether `queue` or `topic` is used.")
    queue: QueueName | None = Field(None, description="Name of the queue.")
    topic: QueueName | None = Field(None, description="Name of the topic.")
    region: Region = Field("", description="Fills {region} in MPS_CMQ__ENDPOINT_URL: gz, sh, bj …")

    @model_validator(mode="after")
    def _names_what_it_sends_to(self) -> CmqSink:
        if (self.queue if self.model == "queue" else self.topic) is None:
            raise ValueError(f"model {self.model} needs a {self.model} name")
        return self

    @property
    def address(self) -> str:
        return f"tdmq_cmq:{self.region}/{self.model}/{self.queue if self.model == 'queue' else self.topic}"


class UrlSink(Sink):
    """HTTP POST of the event as JSON."""

    type: Literal["url"] = Field(description="Kind of sink.")
    url: str = Field(description="http:// or https://, without a user name.")
    notify_key: Secret | None = Field(
        None, repr=False, description="Signs each POST: `Sign` is MD5 of `Timestamp` and this key."
    )

    @field_validator("url")
    @classmethod
    def _is_plain_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address is http:// or https:// with a host")
        if "@" in parts.netloc:
            raise ValueError("an address holds no user name or password: it is shown in logs and in the UI")
        _check_address(url)
        return url

    @property
    def address(self) -> str:
        """Sinks that sign with different keys are different ones: each event is signed as it was asked for."""
        match self.notify_key:
            case None:
                return f"url:{self.url}"
            case FromEnvironment(env=name):
                return f"url:{self.url} key:{name}"
            case key:
                return f"url:{self.url} key:{hashlib.sha256(key.encode()).hexdigest()[:6]}"

    def key(self) -> str | None:
        """The secret itself; KeyError if its variable is not set."""
        return os.environ[self.notify_key.env] if isinstance(self.notify_key, FromEnvironment) else self.notify_key


def _check_address(url: str) -> None:
    """Raise ValueError unless a request can be made to it."""
    # Imported at need: it costs 0.1 s, and each step's process reads workflows.
    import requests

    if not url.isprintable():
        raise ValueError("an address holds no control characters, and nothing that is no Unicode")
    prepared = requests.Request("POST", url).prepare().url
    try:
        # What looks the host up makes it so, and fails where a label is empty or too long.
        (urlsplit(str(prepared)).hostname or "").encode("idna")
    except UnicodeError as error:
        raise ValueError("the host of an address has labels of 1 to 63 characters") from error


SinkConfig = Annotated[LocalSink | SqsSink | CmqSink | UrlSink, Field(discriminator="type")]

_SINKS: TypeAdapter[tuple[SinkConfig, ...]] = TypeAdapter(tuple[SinkConfig, ...])


def parse_sinks(documents: Any) -> tuple[SinkConfig, ...]:
    """Sinks as they are written under `notify:`; the error names the place, and shows nothing that may be a secret."""
    try:
        return _SINKS.validate_python(documents)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        lines = [f"{_place(item['loc'])}: {item['msg'].removeprefix('Value error, ')}" for item in problems]
        raise InvalidConfiguration("\n".join(lines)) from None


def as_written(sinks: Iterable[SinkConfig]) -> list[dict[str, Any]]:
    """What `parse_sinks` reads."""
    return [sink.model_dump(mode="json", exclude_defaults=True) for sink in sinks]


def _place(path: tuple[int | str, ...]) -> str:
    """`notify[0].url`. Behind the number pydantic puts the type, by which it chose the sink."""
    return "notify" + "".join(f"[{number}]" for number in path[:1]) + "".join(f".{field}" for field in path[2:])
