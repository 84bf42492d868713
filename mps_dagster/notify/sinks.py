"""Sinks: how an event gets to the embedded queue, an SQS queue or a URL. What an admin writes is in workflow.notification.

`DeliveryRefused` says that the receiver answered and will not take this event, `DeliveryFailed` anything else. The outbox
pauses a whole lane for the second, so a sink says "refused" only of what lies in the event, never of what lies in the address.
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

ABOUT_THE_ADDRESS = frozenset({401, 403, 404, 405, 407, 410, 421})
"""Client errors that any event would get there: somebody has to mend the receiver or the workflow."""

ABOUT_THE_MOMENT = frozenset({408, 425, 429})
"""Client errors that say "later"."""

SQS_ABOUT_THE_EVENT = frozenset({"InvalidMessageContents", "InvalidParameterValue"})


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
        attempt = _attempt(event, self._config)
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
                _check(response, attempt)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise DeliveryFailed(
                f"{attempt}: {_reason(error)}", hint="is the receiver up, and the address right?"
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
                f"{attempt}: it has {size} bytes", hint=f"SQS takes {SQS_MAX_BYTES}; split the workflow"
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
            if error.response["Error"]["Code"] in SQS_ABOUT_THE_EVENT:
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
    return f"cannot deliver {event.id} to {config.address}"


def _check(response: requests.Response, attempt: str) -> None:
    """Raise unless the status is 2xx."""
    status = response.status_code
    if 200 <= status < 300:
        return
    problem = f"{attempt}: the receiver answered {status} {_words(response)}".rstrip()
    if 300 <= status < 400:
        to = response.headers.get("Location", "nowhere")[:ERROR_TEXT_BYTES]
        raise DeliveryFailed(problem, hint=f"redirects are not followed; if {to} is right, write that")
    if status in ABOUT_THE_ADDRESS:
        raise DeliveryFailed(problem, hint="is the address right, and does the receiver take requests without a login?")
    if 400 <= status < 500 and status not in ABOUT_THE_MOMENT:
        raise DeliveryRefused(problem, hint="the receiver's own words or log say why")
    raise DeliveryFailed(problem)


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
