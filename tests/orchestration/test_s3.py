"""A workflow whose uploads and outputs are on S3, against a real server over HTTP."""

from __future__ import annotations

import dagster as dg
import pytest
from projects import VOD, make_project

from mps_dagster.execution.assemble import manifests

from .conftest import furnished


def test_uploads_and_outputs_may_be_on_s3(tmp_path, instance, clips, s3_server):
    """Found by the sensor, processed, published with its type; a second look asks for nothing."""
    client = s3_server.s3
    for bucket in ("media", "made"):
        client.create_bucket(Bucket=bucket)
    text = VOD.replace("bucket: inbox", "bucket: s3://media").replace("bucket: outputs", "bucket: s3://made")
    settings = make_project(tmp_path, vod=text).model_copy(update={"s3": s3_server.settings})
    house = furnished(settings, instance)
    client.upload_file(str(clips.video()), "media", "in/clip a.mp4")
    assert [request.partition_key for request in house.tick("uploads_s3_media").run_requests] == ["in/clip a.mp4"]
    assert house.run("in/clip a.mp4").success
    keys = {item["Key"] for item in client.list_objects_v2(Bucket="made")["Contents"]}
    assert "vod/clip a_transcode_small.mp4" in keys
    assert {key.rpartition("/")[2] for key in keys if key.startswith(manifests("s3://media", "in/clip a.mp4"))} == {
        "web.json", "stills.json", "teaser.json",
    }  # fmt: skip
    head = client.head_object(Bucket="made", Key="vod/clip a_transcode_small.mp4")
    assert head["ContentType"] == "video/mp4"


def test_a_bucket_that_is_not_there_fails_the_tick_with_what_to_do(tmp_path, instance, s3_server):
    """And asks for nothing."""
    settings = make_project(tmp_path, vod=VOD.replace("bucket: inbox", "bucket: s3://none"))
    house = furnished(settings.model_copy(update={"s3": s3_server.settings}), instance)
    with pytest.raises(dg.Failure, match="make the bucket"):
        house.tick("uploads_s3_none")
