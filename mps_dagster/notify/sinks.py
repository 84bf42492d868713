"""Sinks: how an event gets to the embedded queue, an SQS queue or a URL. What an admin writes is in workflow.notification.

`DeliveryRefused` says that the receiver answered and will not take this event, `DeliveryFailed` anything else.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any, Protocol

import requests
import urllib3

from mps_dagster.errors import DeliveryFailed, DeliveryRefused, StorageFailed
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.notify.outbox import Event
from mps_dagster.settings import Settings
from mps_dagster.workflow.notification import LocalSink, SinkConfig, SqsSink, UrlSink

CONNECT_S = 3.0
READ_S = 5.0
EVENT_ID = "X-MPS-Event-Id"
"""HTTP header and SQS message attribute by which a receiver recognizes a repeat."""

ERROR_TEXT_BYTES = 1024
SQS_MAX_BYTES = 1_048_576
"""Body and attributes together, since 2025."""

NOT_NOW = frozenset({408, 425, 429})
"""Client errors that say "later", not "no"."""

SQS_REFUSALS = frozenset({"InvalidMessageContents", "InvalidParameterValue"})
"""SQS's other errors lie in the queue, the credentials or the moment."""


class Sink(Protocol):
    """Something that takes events."""

    def send(self, event: Event) -> None:
        """Return once the receiver has it; otherwise raise `DeliveryFailed` or `DeliveryRefused`."""


def open_sink(config: SinkConfig, settings: Settings) -> Sink:
    """Touches nothing yet: what is wrong with a sink shows in `send`."""
    match config:
        case LocalSink():
            return _Local(config, LocalQueue(settings.queue_path))
        case SqsSink():
            return _Sqs(config, settings.sqs_endpoint_url)
        case UrlSink():
            return _Url(config)


class _Local:
    def __init__(self, config: LocalSink, queue: LocalQueue) -> None:
        self._config = config
        self._queue = queue

    def send(self, event: Event) -> None:
        try:
            self._queue.send(self._config.queue, event.id, event.text)
        except StorageFailed as error:
            raise DeliveryFailed(f"{_attempt(event, self._config)}: {error.message}", hint=error.hint) from error


class _Url:
    def __init__(self, config: UrlSink) -> None:
        self._config = config

    def send(self, event: Event) -> None:
        try:
            with requests.post(
                self._config.url,
                data=event.text.encode(),
                headers={"Content-Type": "application/json", EVENT_ID: event.id},
                timeout=(CONNECT_S, READ_S),
                # Or a receiver could have us post to any address inside our network.
                allow_redirects=False,
                # So that a huge answer is not read.
                stream=True,
            ) as response:
                _check(response, event, self._config)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise DeliveryFailed(
                f"{_attempt(event, self._config)}: {_reason(error)}", hint="is it up, and the address right?"
            ) from error


class _Sqs:
    def __init__(self, config: SqsSink, endpoint_url: str | None) -> None:
        self._config = config
        self._endpoint_url = endpoint_url

    def send(self, event: Event) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        attempt = _attempt(event, self._config)
        size = len(event.text) + len(EVENT_ID) + len("String") + len(event.id)
        if size > SQS_MAX_BYTES:
            raise DeliveryRefused(
                f"{attempt}: it has {size} bytes", hint=f"SQS takes {SQS_MAX_BYTES}; make fewer outputs in one workflow"
            )
        fifo = {"MessageGroupId": event.task_id, "MessageDeduplicationId": event.id}
        try:
            self._client.send_message(
                QueueUrl=self._queue_url,
                MessageBody=event.text,
                MessageAttributes={EVENT_ID: {"DataType": "String", "StringValue": event.id}},
                **(fifo if self._queue_url.endswith(".fifo") else {}),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in SQS_REFUSALS:
                raise DeliveryRefused(f"{attempt}: {error}") from error
            raise DeliveryFailed(
                f"{attempt}: {error}", hint="check the queue's name, region and permissions"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise DeliveryFailed(
                f"{attempt}: {error}", hint="check the endpoint, `region:` and the AWS credentials"
            ) from error

    @cached_property
    def _client(self) -> Any:
        # Imported at need: it costs 0.2 s and memory, and most deployments have no SQS.
        import boto3.session
        from botocore.config import Config

        # No attempts of its own: the outbox makes them. A session of its own: the default one is not thread-safe.
        config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1})
        return boto3.session.Session().client(
            "sqs", region_name=self._config.region, endpoint_url=self._endpoint_url, config=config
        )

    @cached_property
    def _queue_url(self) -> str:
        if "://" in self._config.queue:
            return self._config.queue
        return str(self._client.get_queue_url(QueueName=self._config.queue)["QueueUrl"])


def _attempt(event: Event, config: SinkConfig) -> str:
    return f"event {event.id} did not reach {config.address}"


def _check(response: requests.Response, event: Event, config: UrlSink) -> None:
    """Raise unless the status is 2xx."""
    status = response.status_code
    if 200 <= status < 300:
        return
    problem = f"{config.address} answered {status} to event {event.id}: {_words(response)}"
    if 300 <= status < 400:
        to = response.headers.get("Location", "where it leads")[:ERROR_TEXT_BYTES]
        raise DeliveryRefused(problem, hint=f"redirects are not followed; if {to} is right, write that")
    if 400 <= status < 500 and status not in NOT_NOW:
        raise DeliveryRefused(problem, hint="its own words or its log say why; it has to answer 2xx")
    raise DeliveryFailed(problem, hint="its log says why; it has to answer 2xx")


def _words(response: requests.Response) -> str:
    """The start of the answer in one line, as far as it comes: the status is what counts."""
    said = b""
    with suppress(urllib3.exceptions.HTTPError):
        said = response.raw.read(ERROR_TEXT_BYTES, decode_content=True)
    return " ".join(said.decode("utf-8", "replace").split())


def _reason(error: Exception) -> str:
    """What happened, out of the two layers in which requests and urllib3 wrap it."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", inner))
