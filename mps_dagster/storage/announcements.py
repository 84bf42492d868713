"""A bucket's own news of its uploads: event JSON of S3 (plain, or wrapped by SNS or EventBridge) and of COS, out of an SQS queue.

A message announces a key, no more: messages come late, twice and out of order, so what counts is what is in the bucket.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus

from mps_dagster.errors import InvalidInput, StorageFailed, StorageRefused

RECEIVED_AT_ONCE = 10
"""SQS's own limit."""
VISIBILITY_S = 120
"""A message that was not deleted within it comes again: several looks long, so that a slow one does not double the work."""
REFUSED = frozenset(
    {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "AccessDenied", "InvalidClientTokenId",
     "SignatureDoesNotMatch", "InvalidAddress", "KMS.AccessDeniedException"}
)  # fmt: skip
"""Answers that no retry mends."""


@dataclass(frozen=True, slots=True)
class Announced:
    """An object that was written, by the bucket's plain name."""

    bucket: str
    key: str

    def __post_init__(self) -> None:
        if not isinstance(self.bucket, str) or not isinstance(self.key, str):
            raise TypeError("bucket and key have to be text")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the queue."""

    id: str
    receipt: str
    body: str


def announced(body: str) -> list[Announced]:
    """The uploads that a message tells of; none for a test message and for objects that were removed.

    Raise `InvalidInput` if it is no bucket's event.
    """
    document = _json(body)
    if document.get("Type") == "Notification" and isinstance(document.get("Message"), str):
        # SNS, unless "raw message delivery" is on.
        document = _json(document["Message"])
    if document.get("Event") == "s3:TestEvent":
        return []
    try:
        if "detail-type" in document:
            return _of_event_bridge(document)
        return [item for record in document["Records"] for item in _of_record(record)]
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"a message is no event of a bucket: {error!r} in {body[:200]!r}") from error


def _json(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"a message is not JSON: {text[:200]!r}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"a message is no event of a bucket: {text[:200]!r}")
    return document


def _of_event_bridge(document: Mapping[str, Any]) -> list[Announced]:
    if document["detail-type"] != "Object Created":
        return []
    detail = document["detail"]
    # Not escaped here, unlike in the bucket's own notification.
    return [Announced(detail["bucket"]["name"], detail["object"]["key"])]


def _of_record(record: Mapping[str, Any]) -> list[Announced]:
    if "cos" in record:
        return _of_cos(record)
    created = record["eventName"].removeprefix("s3:").startswith("ObjectCreated:")
    return [Announced(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))] if created else []


def _of_cos(record: Mapping[str, Any]) -> list[Announced]:
    if not record["event"]["eventName"].startswith("cos:ObjectCreated:"):
        return []
    bucket = record["cos"]["cosBucket"]
    # The key comes as /appid/bucket/key.
    key = record["cos"]["cosObject"]["key"].removeprefix(f"/{bucket['appid']}/{bucket['name']}/")
    # Whether it comes escaped is written nowhere; only one of the two is there.
    return [Announced(f"{bucket['name']}-{bucket['appid']}", name) for name in dict.fromkeys((key, unquote(key)))]


def keep_dead_letter(folder: Path, message: Message, problem: str) -> Path:
    """Write a message that cannot be read to a file, with the reason, before it is deleted from the queue."""
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(message.id.encode()).hexdigest()[:16]
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{name}.json"
    path.write_text(json.dumps({"id": message.id, "problem": problem, "body": message.body}, indent=2))
    return path


class AnnouncementQueue:
    """The SQS queue that a bucket announces uploads in. Safe for one reader; a second one would take its messages."""

    def __init__(self, queue: str, client: Any) -> None:
        self.name = queue
        self._client = client
        self._url = queue if "://" in queue else ""
        self._lock = threading.Lock()

    def receive(self, deadline: float) -> Iterator[list[Message]]:
        """Messages, ten at a time, until there are none or `time.monotonic()` is past the deadline."""
        while time.monotonic() < deadline:
            reply = self._call(
                "receive_message",
                MaxNumberOfMessages=RECEIVED_AT_ONCE,
                VisibilityTimeout=VISIBILITY_S,
                WaitTimeSeconds=0,
            )
            if not reply.get("Messages"):
                return
            yield [Message(m["MessageId"], m["ReceiptHandle"], m["Body"]) for m in reply["Messages"]]

    def delete(self, messages: Sequence[Message]) -> None:
        """What is not deleted after all (an expired receipt) comes again, which does no harm."""
        for start in range(0, len(messages), RECEIVED_AT_ONCE):
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt}
                for number, message in enumerate(messages[start : start + RECEIVED_AT_ONCE])
            ]
            self._call("delete_message_batch", Entries=entries)

    def depth(self) -> tuple[int, int]:
        """About how many messages wait, and how many were received and not yet deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        depths = self._call("get_queue_attributes", AttributeNames=names)["Attributes"]
        return int(depths[names[0]]), int(depths[names[1]])

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"cannot {operation.replace('_', ' ')} of queue {self.name}"
        try:
            with self._lock:
                if not self._url:
                    self._url = self._client.get_queue_url(QueueName=self.name)["QueueUrl"]
            reply: dict[str, Any] = getattr(self._client, operation)(QueueUrl=self._url, **arguments)
        except ClientError as error:
            kind = StorageRefused if error.response["Error"]["Code"] in REFUSED else StorageFailed
            raise kind(f"{where}: {error}", hint="check the queue's name, region and permissions") from error
        except BotoCoreError as error:
            raise StorageFailed(
                f"{where}: {error}", hint="check the endpoint, the region and the credentials"
            ) from error
        return reply
