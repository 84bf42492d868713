"""A request's task sets as the outputs that a workflow file would write, and what is refused by which name."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from mps_dagster.api.action import read_request
from mps_dagster.api.actions.media_tasks import MediaProcessTask
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.settings import Settings

KEY = ApiKey(
    secret_id="AKIDtest",
    secret_key=SecretStr("a key of sixteen characters"),
    read=("inbox",),
    write=("outputs", "s3://out"),
)
VIDEO = {"Codec": "h264", "Fps": 25, "Bitrate": 500}
RAW = {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO}
LOGO = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "r", "Object": "/logo.png"}}
SECRET = {"Type": "COS", "CosInputInfo": {"Bucket": "secret", "Region": "r", "Object": "/logo.png"}}


def image(content: dict) -> dict:
    return {"Definition": 0, "RawParameter": {"Type": "image", "ImageTemplate": {"ImageContent": content}}}


def outputs(tmp_path, **sets: object) -> dict:
    settings = Settings(project=tmp_path, home=tmp_path)
    return read_request(MediaProcessTask, sets).outputs(KEY, settings)


@pytest.mark.parametrize(
    ("entry", "document"),
    [
        ({"Definition": 100010}, {"definition": 100010}),
        ({"Definition": "100010", "StartTimeOffset": "1.5"}, {"definition": 100010, "start_time_offset": 1.5}),
        ({"Definition": 0, "RawParameter": RAW}, {"definition": 0, "raw_parameter": {"container": "mp4", "remove_audio": 1, "video_template": {"codec": "h264", "fps": 25, "bitrate": 500}}}),
        # What MPS shows of a template may be sent back: encoders for codecs, and what says nothing.
        ({"Definition": 0, "RawParameter": RAW | {"VideoTemplate": VIDEO | {"Codec": "libx264", "RawPts": 0, "Sar": "", "SceneType": ""}, "StdExtInfo": ""}}, {"definition": 0, "raw_parameter": {"container": "mp4", "remove_audio": 1, "video_template": {"codec": "h264", "fps": 25, "bitrate": 500}}}),
        # Numbers as a form has them.
        ({"Definition": "0", "RawParameter": {"Container": "mp3", "RemoveVideo": "1", "AudioTemplate": {"Codec": "mp3", "Bitrate": "64", "SampleRate": "44100"}}}, {"definition": 0, "raw_parameter": {"container": "mp3", "remove_video": 1, "audio_template": {"codec": "mp3", "bitrate": 64, "sample_rate": 44100}}}),
        ({"Definition": 100010, "OverrideParameter": {"VideoTemplate": {"Vcrf": 100, "Height": 240}}}, {"definition": 100010, "override_parameter": {"video_template": {"vcrf": None, "height": 240}}}),
        # Each is for one kind of definition only, as MPS says.
        ({"Definition": 100010, "RawParameter": RAW}, {"definition": 100010}),
        ({"Definition": 100010, "OutputStorage": {"Type": "AWS-S3", "S3OutputStorage": {"S3Bucket": "out", "S3Region": "r"}}}, {"definition": 100010, "output_bucket": "s3://out"}),
    ],
)  # fmt: skip
def test_a_transcode_is_written_in_our_names(tmp_path, entry, document):
    """Only what is given: the rest is the template's."""
    assert outputs(tmp_path, TranscodeTaskSet=[entry]) == {"transcode": [document]}


@pytest.mark.parametrize(
    ("entry", "code", "named"),
    [
        ({"Definition": 0}, "InvalidParameterValue", "RawParameter"),
        ({"Definition": 0, "RawParameter": {"Container": "mp4", "VideoTemplate": {"Codec": "h264"}}}, "MissingParameter", "RawParameter.VideoTemplate.Fps"),
        ({"Definition": 0, "RawParameter": RAW | {"TEHDConfig": {"Type": "TEHD-100"}}}, "UnsupportedOperation", "RawParameter.TEHDConfig"),
        ({"Definition": 0, "RawParameter": RAW | {"EnhanceConfig": {"VideoEnhance": {}}}}, "UnsupportedOperation", "EnhanceConfig"),
        ({"Definition": 0, "RawParameter": RAW | {"VideoTemplate": VIDEO | {"Compress": 50}}}, "UnsupportedOperation", "VideoTemplate.Compress"),
        ({"Definition": 100010, "OverrideParameter": {"SubtitleTemplate": {"Path": "http://x"}}}, "UnsupportedOperation", "OverrideParameter.SubtitleTemplate"),
        ({"Definition": 100010, "ExtInfo": "{}"}, "UnsupportedOperation", "ExtInfo"),
        # Nothing but MPS's own members gets through: ours are no business of a request.
        ({"Definition": 0, "RawParameter": RAW | {"WatermarkSet": [{"ImageTemplate": {"ImageContent": "secret/logo.png"}}]}}, "UnknownParameter", "RawParameter.WatermarkSet"),
        ({"Definition": 100010, "OverrideParameter": {"OutputObjectPath": "/elsewhere"}}, "UnknownParameter", "OverrideParameter.OutputObjectPath"),
        ({"Definition": 100010, "WatermarkSet": [image(SECRET)]}, "UnauthorizedOperation", "secret"),
        ({"Definition": 100010, "OutputStorage": {"Type": "COS", "CosOutputStorage": {"Bucket": "secret", "Region": "r"}}}, "UnauthorizedOperation", "secret"),
        ({"Definition": 100010, "OutputStorage": {"Type": "COS", "CosOutputStorage": {"Bucket": "a/b", "Region": "r"}}}, "ResourceNotFound.CosBucketNameInvalid", "a/b"),
    ],
)  # fmt: skip
def test_what_is_not_offered_or_not_allowed_is_refused_by_its_name(tmp_path, entry, code, named):
    """At the call, and by the code that MPS has for it."""
    with pytest.raises(ApiError) as caught:
        outputs(tmp_path, TranscodeTaskSet=[entry])
    assert caught.value.code == code
    assert named in caught.value.message


def test_a_picture_that_may_be_read_is_laid_over(tmp_path):
    """By its bucket and key."""
    [document] = outputs(tmp_path, TranscodeTaskSet=[{"Definition": 100010, "WatermarkSet": [image(LOGO)]}])[
        "transcode"
    ]
    assert document["watermark_set"][0]["image_template"]["image_content"] == "inbox/logo.png"


def test_screenshots_have_a_template(tmp_path):
    """MPS has no parameters of their own for them."""
    with pytest.raises(ApiError) as caught:
        outputs(tmp_path, SampleSnapshotTaskSet=[{"Definition": 0}])
    assert caught.value.code == "InvalidParameterValue"
