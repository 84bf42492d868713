"""Sinks: how an event gets to the embedded queue, to SQS, CMQ or a URL. What an admin writes is in `config`.

`DeliveryRefused` says that the receiver answered and will not take this event, `DeliveryFailed` anything else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import requests
import urllib3

from mps_dagster.errors import DeliveryFailed, DeliveryRefused, StorageFailed
from mps_dagster.notify.cmq import Cmq
from mps_dagster.notify.config import CmqSink, LocalSink, SinkConfig, SqsSink, UrlSink
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.notify.outbox import Event
from mps_dagster.settings import CmqSettings, Settings, WebSettings
from mps_dagster.storage.sqs import make_sqs_client
from mps_dagster.storage.web import HINT, GuardedSession, InvalidIPAddress

CONNECT_S = 3.0
READ_S = 5.0
"""How long a URL may send nothing before it is given up."""
EVENT_ID = "X-MPS-Event-Id"
"""HTTP header and SQS message attribute by which a receiver recognizes a repeat."""

ERROR_TEXT_BYTES = 1024
SQS_MAX_BYTES = 1_048_576
"""Body and attributes together, since 2025."""
CMQ_MAX_BYTES = 1_048_576
SIGNATURE_S = 600
"""How long a signed POST is valid; MPS's own default."""

NOT_NOW = frozenset({408, 425, 429})
"""Client errors that say "later", not "no"."""

SQS_TOO_LONG = "InvalidParameterValue"
"""Among other things: a queue may take less than SQS does."""
SQS_REFUSALS = frozenset({"InvalidMessageContents", SQS_TOO_LONG})
"""SQS's other errors lie in the queue, the credentials or the moment."""


class Sink(Protocol):
    """Something that takes events."""

    def send(self, event: Event) -> None:
        """Return once the receiver has it; otherwise raise `DeliveryFailed` or `DeliveryRefused`."""


Shorten = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""The body of an event that is too long for a sink, without what its receiver can read elsewhere."""


def open_sink(config: SinkConfig, settings: Settings, shorten: Shorten = dict, *, read_s: float = READ_S) -> Sink:
    """Touches nothing yet: what is wrong with a sink shows in `send`."""
    match config:
        case LocalSink():
            return _Local(config, LocalQueue.of(settings))
        case SqsSink():
            return _Sqs(config, settings, shorten)
        case CmqSink():
            return _Cmq(config, settings.cmq, shorten)
        case UrlSink():
            return _Url(config, settings.web, read_s)


class _Local:
    def __init__(self, config: LocalSink, queue: LocalQueue) -> None:
        self._config = config
        self._queue = queue

    def send(self, event: Event) -> None:
        try:
            self._queue.send(self._config.queue, event.id, event.text)
        except StorageFailed as error:
            raise DeliveryFailed(f"{_attempt(event, self._config)}: {error.message}", hint=error.hint) from error


class _Session(GuardedSession):
    """Follows no redirect, or a receiver could have us post to any address inside our network.

    Nor does it look where one leads, as requests does even if it shall not go there: it reads the whole answer before
    that, and fails at an address that is none.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        return None


class _Url:
    def __init__(self, config: UrlSink, web: WebSettings, read_s: float) -> None:
        self._config = config
        self._web = web
        self._read_s = read_s

    def send(self, event: Event) -> None:
        try:
            text = self._signed(event).text
            with (
                _Session(self._web) as session,
                session.post(
                    self._config.url,
                    data=text.encode(),
                    headers={"Content-Type": "application/json", EVENT_ID: event.id},
                    timeout=(CONNECT_S, self._read_s),
                    # So that a huge answer is not read.
                    stream=True,
                ) as response,
            ):
                _check(response, event, self._config)
        except InvalidIPAddress as error:
            raise DeliveryRefused(f"{_attempt(event, self._config)}: it leads to {error}", hint=HINT) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise DeliveryFailed(
                f"{_attempt(event, self._config)}: {_reason(error)}", hint="is it up, and the address right?"
            ) from error

    def _signed(self, event: Event) -> Event:
        """As reference E.3 and E.4 say; made for each attempt, because it is valid for ten minutes."""
        try:
            key = self._config.key()
        except KeyError as error:
            raise DeliveryFailed(
                f"{_attempt(event, self._config)}: its notify_key is in the variable {error}, which is not set"
            ) from error
        if key is None:
            return event
        expires = int(time.time()) + SIGNATURE_S
        sign = hashlib.md5(f"{expires}{key}".encode()).hexdigest()  # noqa: S324  (MPS's own scheme)
        return replace(event, body={**event.body, "Timestamp": expires, "Sign": sign})


class _Cmq:
    def __init__(self, config: CmqSink, settings: CmqSettings, shorten: Shorten) -> None:
        self._config = config
        self._settings = settings
        self._shorten = shorten

    def send(self, event: Event) -> None:
        settings, config, attempt = self._settings, self._config, _attempt(event, self._config)
        if not settings.endpoint_url or not settings.secret_id or not settings.secret_key:
            raise DeliveryFailed(
                f"{attempt}: CMQ is not set up",
                hint="set MPS_CMQ__ENDPOINT_URL, MPS_CMQ__SECRET_ID and MPS_CMQ__SECRET_KEY",
            )
        endpoint = settings.endpoint_url.replace("{region}", config.region)
        cmq = Cmq(endpoint, settings.secret_id, settings.secret_key.get_secret_value())
        text = _fitting(event, CMQ_MAX_BYTES, self._shorten, attempt).text
        try:
            if config.model == "queue":
                cmq.send(str(config.queue), text)
            else:
                cmq.publish(str(config.topic), text)
        except DeliveryFailed as error:
            raise type(error)(f"{attempt}: {error.message}", hint=error.hint) from error


class _Sqs:
    def __init__(self, config: SqsSink, settings: Settings, shorten: Shorten) -> None:
        self._config = config
        self._settings = settings
        self._shorten = shorten

    def send(self, event: Event) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        attempt = _attempt(event, self._config)
        attributes = len(EVENT_ID) + len("String") + len(event.id)
        event = _fitting(event, SQS_MAX_BYTES - attributes, self._shorten, attempt)
        try:
            self._put(event)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == SQS_TOO_LONG and len((short := _shortened(event, self._shorten)).text) < len(event.text):
                self.send(short)
                return
            if code in SQS_REFUSALS:
                raise DeliveryRefused(f"{attempt}: {error}") from error
            raise DeliveryFailed(
                f"{attempt}: {error}", hint="check the queue's name, region and permissions"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise DeliveryFailed(
                f"{attempt}: {error}", hint="check the endpoint, `region:` and the AWS credentials"
            ) from error

    def _put(self, event: Event) -> None:
        fifo = {"MessageGroupId": event.task_id, "MessageDeduplicationId": event.id}
        self._client.send_message(
            QueueUrl=self._queue_url,
            MessageBody=event.text,
            MessageAttributes={EVENT_ID: {"DataType": "String", "StringValue": event.id}},
            **(fifo if self._queue_url.endswith(".fifo") else {}),
        )

    @cached_property
    def _client(self) -> Any:
        return make_sqs_client(self._settings, self._config.region)

    @cached_property
    def _queue_url(self) -> str:
        if "://" in self._config.queue:
            return self._config.queue
        return str(self._client.get_queue_url(QueueName=self._config.queue)["QueueUrl"])


def _fitting(event: Event, limit: int, shorten: Shorten, attempt: str) -> Event:
    """The event, or its short form where it is too long for the sink."""
    if len(event.text) <= limit:
        return event
    short = _shortened(event, shorten)
    if len(short.text) > limit:
        raise DeliveryRefused(
            f"{attempt}: it has {len(event.text)} bytes, and {len(short.text)} without its results",
            hint=f"the sink takes {limit}; make fewer tasks in one workflow",
        )
    return short


def _shortened(event: Event, shorten: Shorten) -> Event:
    return replace(event, body=shorten(event.body))


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
