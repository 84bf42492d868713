"""What buckets announce in queues, as their services send it."""

from __future__ import annotations

import json
import time
import uuid

import boto3
import pytest
from s3_servers import Answer, layered

from mps_dagster.errors import InvalidConfiguration, InvalidInput, StorageFailed, StorageRefused
from mps_dagster.settings import Settings
from mps_dagster.storage.announcements import Announced, AnnouncementQueue, announced
from mps_dagster.storage.sqs import make_sqs_client

S3_RECORD = {
    "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventTime": "2026-11-23T12:00:00.000Z",
    "eventName": "ObjectCreated:CompleteMultipartUpload",
    "s3": {
        "s3SchemaVersion": "1.0", "configurationId": "uploads", "bucket": {"name": "media", "arn": "arn:aws:s3:::media"},
        "object": {"key": "in/a+b%2Bc/%E5%BD%B1.mp4", "size": 1024, "eTag": "d41d8cd9", "sequencer": "0A1B"},
    },
}  # fmt: skip
S3 = {"Records": [S3_RECORD]}
HELD = [Announced("media", "in/a b+c/影.mp4")]
EVENT_BRIDGE = {
    "version": "0", "id": "17793124", "detail-type": "Object Created", "source": "aws.s3", "account": "111122223333",
    "detail": {
        "version": "0", "bucket": {"name": "media"}, "object": {"key": "in/a b+c/影.mp4", "size": 5, "etag": "b1946ac9"},
        "reason": "PutObject",
    },
}  # fmt: skip
COS = {
    "Records": [
        {
            "cos": {
                "cosSchemaVersion": "1.0",
                "cosObject": {
                    "url": "http://testpic-1253970026.cos.ap-chengdu.myqcloud.com/testfile", "vid": "", "size": 1029,
                    "meta": {"x-cos-request-id": "x", "Content-Type": ""}, "key": "/1253970026/testpic/in/test file.mp4",
                },
                "cosBucket": {"region": "cd", "name": "testpic", "appid": "1253970026"}, "cosNotificationId": "unkown",
            },
            "event": {"eventName": "cos:ObjectCreated:Put", "eventVersion": "1.0", "eventTime": 1545205770},
        }
    ]
}  # fmt: skip


def changed(document: dict, **changes: object) -> dict:
    return json.loads(json.dumps(document)) | changes


@pytest.mark.parametrize(
    ("document", "held"),
    [
        pytest.param(S3, HELD, id="S3"),
        pytest.param({"Records": [S3_RECORD, S3_RECORD]}, HELD * 2, id="two in one"),
        pytest.param(
            {"Records": [changed(S3_RECORD, eventName="s3:ObjectCreated:Put")]}, HELD, id="MinIO's event name"
        ),
        pytest.param({"Records": [changed(S3_RECORD, eventName="ObjectRemoved:Delete")]}, [], id="removed"),
        pytest.param({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "media"}, [], id="S3's test"),
        pytest.param({"Type": "Notification", "MessageId": "1", "Message": json.dumps(S3)}, HELD, id="by SNS"),
        pytest.param(EVENT_BRIDGE, HELD, id="by EventBridge"),
        pytest.param(changed(EVENT_BRIDGE, **{"detail-type": "Object Deleted"}), [], id="removed, by EventBridge"),
        pytest.param(COS, [Announced("testpic-1253970026", "in/test file.mp4")], id="COS"),
        pytest.param(
            json.loads(json.dumps(COS).replace("test file", "50%25off")),
            [Announced("testpic-1253970026", "in/50%25off.mp4"), Announced("testpic-1253970026", "in/50%off.mp4")],
            id="COS, of which nobody knows whether it escapes",
        ),
    ],
)
def test_each_service_s_announcement_is_read(document, held):
    """Keys come escaped from S3, and not from EventBridge."""
    assert announced(json.dumps(document)) == held


@pytest.mark.parametrize(
    "body",
    ["", "hello", "[]", "{}", '{"Records": 1}', '{"Records": [{}]}', '{"Records": ["x"]}', '{"Records": [{"eventName": 1}]}',
     '{"Type": "Notification", "Message": "hello"}', '{"detail-type": "Object Created"}',
     '{"detail-type": "Object Created", "detail": {"bucket": {"name": "media"}, "object": {"key": 5}}}', "[" * 150_000],
)  # fmt: skip
def test_what_is_no_announcement_is_refused(body):
    """By an error that shows it; nothing is made of half of it."""
    with pytest.raises(InvalidInput, match="message is"):
        announced(body)


@pytest.fixture
def sqs(s3_server):
    return s3_server.sqs


@pytest.fixture
def queue(sqs) -> AnnouncementQueue:
    name = f"uploads-{uuid.uuid4().hex[:8]}"
    sqs.create_queue(QueueName=name)
    return AnnouncementQueue(name, sqs)


def send(sqs, queue: AnnouncementQueue, *bodies: str) -> None:
    url = sqs.get_queue_url(QueueName=queue.name)["QueueUrl"]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)


def test_messages_come_ten_at_a_time_and_stay_until_deleted(sqs, queue):
    """Ten is all that SQS gives; until there are none, or no time is left."""
    send(sqs, queue, *(str(number) for number in range(25)))
    assert list(queue.receive(time.monotonic() - 1)) == []
    messages = [message for batch in queue.receive(time.monotonic() + 10) for message in batch]
    assert len({message.id for message in messages}) == 25
    assert queue.depth() == (0, 25)
    queue.delete(messages)
    assert queue.depth() == (0, 0)


def test_a_queue_that_is_not_there_is_refused_for_good(sqs):
    """A person has to make it."""
    with pytest.raises(StorageRefused, match="none"):
        list(AnnouncementQueue("none", sqs).receive(time.monotonic() + 10))


def test_a_queue_that_is_down_is_worth_another_look():
    """And names what to check."""
    client = boto3.client(
        "sqs", endpoint_url="http://127.0.0.1:9", region_name="x", aws_access_key_id="x", aws_secret_access_key="x"
    )
    with pytest.raises(StorageFailed, match="endpoint") as caught:
        list(AnnouncementQueue("uploads", client).receive(time.monotonic() + 10))
    assert caught.value.retryable


def test_wrong_credentials_are_refused_for_good():
    """A person has to set others."""
    refusal = Answer("403 Forbidden", body=b'{"__type": "com.amazonaws.sqs#InvalidClientTokenId", "message": "no"}')
    with layered(lambda _: refusal) as address:
        client = boto3.client(
            "sqs", endpoint_url=address, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        with pytest.raises(StorageRefused, match="permissions") as caught:
            list(AnnouncementQueue("uploads", client).receive(time.monotonic() + 10))
    assert not caught.value.retryable


@pytest.mark.parametrize("endpoint", [None, "sqs.local:9324"])
def test_an_sqs_that_is_not_set_up_is_reported(monkeypatch, tmp_path, endpoint):
    """No region, or an endpoint without http://: with what to set, and no traceback of boto3's."""
    for variable in ("AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidConfiguration, match="AWS_DEFAULT_REGION"):
        make_sqs_client(Settings(sqs_endpoint_url=endpoint), "us-east-1" if endpoint else None)
