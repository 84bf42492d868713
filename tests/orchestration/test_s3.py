"""A workflow whose uploads and outputs are on S3, against a real server over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from moto.server import ThreadedMotoServer
from projects import VOD, make_project

from mps_dagster.settings import S3Settings
from mps_dagster.storage.s3 import make_client

from .conftest import furnished


@pytest.fixture
def s3() -> Iterator[S3Settings]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Settings(
        endpoint_url=f"http://{host}:{port}", region="us-east-1", addressing_style="path", access_key_id="k",
        secret_access_key="s",
    )  # fmt: skip
    server.stop()


def test_uploads_and_outputs_may_be_on_s3(tmp_path, instance, clips, s3):
    """Found by the sensor, processed, published with its type; a second look asks for nothing."""
    client = make_client(s3)
    for bucket in ("media", "made"):
        client.create_bucket(Bucket=bucket)
    text = VOD.replace("bucket: inbox", "bucket: s3://media").replace("bucket: outputs", "bucket: s3://made")
    settings = make_project(tmp_path, vod=text).model_copy(update={"s3": s3})
    house = furnished(settings, instance)
    client.upload_file(str(clips.video()), "media", "in/clip a.mp4")
    assert [request.partition_key for request in house.look("vod_uploads").run_requests] == ["in/clip a.mp4"]
    assert house.run("in/clip a.mp4").success
    made = {item["Key"] for item in client.list_objects_v2(Bucket="made")["Contents"]}
    assert {"vod/clip a_transcode_small.mp4", "_mps/manifests/vod/in/clip a.mp4/web.json"} <= made
    head = client.head_object(Bucket="made", Key="vod/clip a_transcode_small.mp4")
    assert head["ContentType"] == "video/mp4"


def test_a_bucket_that_is_not_there_fails_the_tick_with_what_to_do(tmp_path, instance, s3):
    """And asks for nothing."""
    settings = make_project(tmp_path, vod=VOD.replace("bucket: inbox", "bucket: s3://none"))
    house = furnished(settings.model_copy(update={"s3": s3}), instance)
    with pytest.raises(dg.Failure, match="make the bucket"):
        house.look("vod_uploads")
