"""A workflow whose uploads and outputs are on COS, against a server that refuses what COS refuses."""

from __future__ import annotations

import json

import pytest
from projects import VOD, make_project

from mps_dagster.storage.s3 import make_client

from .conftest import Daemon, furnished


@pytest.fixture
def house(tmp_path, instance, cos_settings, s3_server, monkeypatch):
    """Uploads and outputs in one folder of one bucket; a queue has its events."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")
    # moto knows AWS's regions only; nothing but this call looks at it.
    make_client(cos_settings.as_s3().model_copy(update={"region": "us-east-1"})).create_bucket(
        Bucket="inbox-1250000000"
    )
    s3_server.sqs.create_queue(QueueName="cos-events")
    trigger = {"bucket": "cos://inbox-1250000000", "dir": "/in/", "queue": "cos-events", "queue_region": "us-east-1"}
    text = VOD.replace("{bucket: inbox, dir: /in/}", json.dumps({**trigger, "listing": False}))
    settings = make_project(tmp_path, vod=text.replace("{bucket: outputs, dir: /vod/}", "{dir: /in/}"))
    updates = {"cos": cos_settings, "sqs_endpoint_url": s3_server.settings.endpoint_url}
    return furnished(settings.model_copy(update=updates), instance)


def event(key: str) -> str:
    """As a cloud function gets it and sends it on."""
    bucket = {"region": "gz", "name": "inbox", "appid": "1250000000"}
    cos = {"cosObject": {"key": f"/1250000000/inbox/{key}"}, "cosBucket": bucket}
    return json.dumps({"Records": [{"cos": cos, "event": {"eventName": "cos:ObjectCreated:Put"}}]})


def test_an_upload_to_cos_is_heard_of_processed_and_no_output_is_taken_for_one(house, clips, s3_server):
    """With a name that looks escaped; its outputs are announced as every object is."""
    bucket, queue = house.buckets.get("cos://inbox-1250000000"), s3_server.sqs.get_queue_url(QueueName="cos-events")
    daemon = Daemon(house)

    def announce(key: str) -> None:
        s3_server.sqs.send_message(QueueUrl=queue["QueueUrl"], MessageBody=event(key))

    bucket.publish(clips.video(), "in/50%25 影.mp4")
    announce("in/50%25 影.mp4")
    assert daemon.tick() == ["in/50%25 影.mp4"]
    assert house.run("in/50%25 影.mp4").success
    outputs = [info.key for info in bucket.list("in/")]
    assert "in/50%25 影_transcode_small.mp4" in outputs
    for key in outputs:
        announce(key)
    assert daemon.tick() == []
