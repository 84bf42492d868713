"""Templates through the API, called with Tencent's own SDK: what is made is a file that workflows use."""

from __future__ import annotations

import base64
import io
import warnings

import pytest
from PIL import Image

from mps_dagster.workflow.templates import Templates

CREATE = {
    "AdaptiveDynamicStreaming": {"Format": "HLS", "StreamInfos": [{"Video": {"Codec": "h264", "Fps": 25, "Bitrate": 300, "Height": 360}, "Audio": {"Codec": "aac", "Bitrate": 48, "SampleRate": 44100}}], "DisableHigherVideoBitrate": 1},
    "Transcode": {"Container": "mp4", "VideoTemplate": {"Codec": "h264", "Fps": 25, "Bitrate": 500, "Height": 360}, "AudioTemplate": {"Codec": "aac", "Bitrate": 64, "SampleRate": 44100}},
    "AnimatedGraphics": {"Fps": 5, "Width": 320, "Format": "webp", "Quality": 80.0},
    "SampleSnapshot": {"SampleType": "Percent", "SampleInterval": 20, "Width": 320, "Format": "png"},
    "SnapshotByTimeOffset": {"Height": 240, "FillType": "white"},
    "ImageSprite": {"SampleType": "Time", "SampleInterval": 5, "RowCount": 4, "ColumnCount": 5, "Width": 128},
    "Watermark": {"Type": "text", "XPos": "10px", "TextTemplate": {"FontType": "arial.ttf", "FontSize": "32px", "FontColor": "0xFF0000", "FontAlpha": 0.5}},
}  # fmt: skip


def picture(size=(8, 8), kind: str = "PNG") -> str:
    content = io.BytesIO()
    Image.new("RGB", size, "red").save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize("kind", CREATE)
def test_a_template_is_made_shown_changed_and_deleted(call, refused, settings, kind):
    """By its ID; what is not named in a change stays; after the end it is gone, and its ID is not given again."""
    definition = call(f"Create{kind}Template", Name="mine", Comment="for tests", **CREATE[kind])["Definition"]

    def shown() -> dict:
        return call(f"Describe{kind}Templates", Definitions=[definition])

    [template] = shown()[f"{kind}TemplateSet"]
    assert (str(template["Definition"]), template["Name"], template["Comment"]) == (
        str(definition),
        "mine",
        "for tests",
    )
    for name, value in CREATE[kind].items():
        if not isinstance(value, dict | list):
            assert template[name] == value, name
    assert template["CreateTime"].endswith("Z")
    call(f"Modify{kind}Template", Definition=definition, Comment="changed")
    [changed] = shown()[f"{kind}TemplateSet"]
    assert (changed["Name"], changed["Comment"]) == ("mine", "changed")
    assert {name: value for name, value in changed.items() if name not in ("Comment", "UpdateTime")} == {
        name: value for name, value in template.items() if name not in ("Comment", "UpdateTime")
    }
    call(f"Delete{kind}Template", Definition=definition)
    assert shown()["TotalCount"] == 0
    assert refused(f"Modify{kind}Template", Definition=definition, Comment="x") == "ResourceNotFound.TemplateNotExist"
    assert refused(f"Delete{kind}Template", Definition=definition) == "ResourceNotFound.TemplateNotExist"
    assert call(f"Create{kind}Template", **CREATE[kind])["Definition"] > definition


def test_what_is_made_is_what_a_workflow_resolves(call, settings):
    """The same file that an admin would write."""
    definition = call("CreateTranscodeTemplate", Name="house", **CREATE["Transcode"])["Definition"]
    for named in (definition, "house"):
        resolved = Templates.load(settings.templates_dir).resolve("transcode", {"definition": named})
        assert resolved["video_template"]["height"] == 360
    call("ModifyTranscodeTemplate", Definition=definition, VideoTemplate={"Height": 240})
    resolved = Templates.load(settings.templates_dir).resolve("transcode", {"definition": definition})
    assert resolved["video_template"] == {"codec": "h264", "fps": 25, "bitrate": 500, "height": 240}


def test_presets_are_shown_and_stand(call, refused):
    """As MPS shows them: the ID of a transcode template is text, codecs are encoders."""
    shown = call("DescribeTranscodeTemplates", Definitions=[100010])
    [preset] = shown["TranscodeTemplateSet"]
    assert (preset["Definition"], preset["Type"], preset["Container"]) == ("100010", "Preset", "mp4")
    assert (
        preset["VideoTemplate"]["Codec"],
        preset["VideoTemplate"]["Height"],
        preset["VideoTemplate"]["Bitrate"],
    ) == ("libx264", 360, 400)
    assert (preset["AudioTemplate"]["Codec"], preset["ContainerType"]) == ("libfdk_aac", "Video")
    assert (
        refused("ModifyTranscodeTemplate", Definition=100010, Comment="x")
        == "InvalidParameterValue.ModifyDefaultTemplate"
    )
    assert refused("DeleteTranscodeTemplate", Definition=100010) == "InvalidParameterValue.DeleteDefaultTemplate"


def test_a_list_is_filtered_and_paged(call):
    """By kind, name and container type; the total is of all that match."""
    call("CreateTranscodeTemplate", Name="house video", **CREATE["Transcode"])
    call("CreateTranscodeTemplate", Name="house sound", Container="mp3", RemoveVideo=1)
    everything = call("DescribeTranscodeTemplates", Limit=100)
    assert everything["TotalCount"] == len(everything["TranscodeTemplateSet"]) > 10
    assert call("DescribeTranscodeTemplates", Type="Custom")["TotalCount"] == 2
    assert call("DescribeTranscodeTemplates", Type="Custom", ContainerType="PureAudio")["TotalCount"] == 1
    assert call("DescribeTranscodeTemplates", Name="house")["TotalCount"] == 2
    page = call("DescribeTranscodeTemplates", Offset=1, Limit=2)
    assert [t["Definition"] for t in page["TranscodeTemplateSet"]] == [
        t["Definition"] for t in everything["TranscodeTemplateSet"][1:3]
    ]


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("CreateTranscodeTemplate", {}, "MissingParameter"),
        ("CreateTranscodeTemplate", {"Container": "avi"}, "InvalidParameterValue.Container"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "VideoTemplate": {"Codec": "mpeg9"}}, "InvalidParameterValue.VideoCodec"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveVideo": 1, "RemoveAudio": 1}, "InvalidParameterValue"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "EnhanceConfig": {"VideoEnhance": {}}}, "UnsupportedOperation"),
        ("CreateAnimatedGraphicsTemplate", {"Fps": 31}, "InvalidParameterValue.Fps"),
        ("CreateAnimatedGraphicsTemplate", {"Fps": 2, "Quality": 101}, "InvalidParameterValue.Quality"),
        ("CreateAnimatedGraphicsTemplate", {"Fps": 2, "Format": "webp"}, "InvalidParameterValue.FormatWebpWidthAndHeightBothZero"),
        ("CreateSampleSnapshotTemplate", {"SampleType": "Frames", "SampleInterval": 1}, "InvalidParameterValue.SampleType"),
        ("CreateSampleSnapshotTemplate", {"SampleType": "Time", "SampleInterval": 0}, "InvalidParameterValue.SampleInterval"),
        ("CreateSnapshotByTimeOffsetTemplate", {"Width": 5000}, "InvalidParameterValue.Width"),
        ("CreateSnapshotByTimeOffsetTemplate", {"Name": "x" * 65}, "InvalidParameterValue"),
        ("CreateImageSpriteTemplate", {"SampleType": "Time", "SampleInterval": 1, "RowCount": 0, "ColumnCount": 1}, "InvalidParameterValue.RowCount"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "SMOOTH", "StreamInfos": [{}]}, "InvalidParameterValue"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "HLS", "StreamInfos": []}, "InvalidParameterValue"),
        ("CreateWatermarkTemplate", {"Type": "svg", "SvgTemplate": {"Width": "10px"}}, "UnsupportedOperation"),
        ("CreateWatermarkTemplate", {"Type": "image"}, "InvalidParameterValue"),
        ("CreateWatermarkTemplate", {"Type": "image", "ImageTemplate": {"ImageContent": "hello"}}, "InvalidParameterValue.ImageContent"),
        ("DescribeTranscodeTemplates", {"Limit": 101}, "InvalidParameterValue"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_mps_s_code(refused, action, parameters, code):
    """And nothing is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert refused(action, **parameters) == code


def test_a_watermark_picture_is_kept_beside_its_template(call, settings):
    """Changed with it, deleted with it."""
    made = call("CreateWatermarkTemplate", Type="image", ImageTemplate={"ImageContent": picture(), "Width": "20%"})
    file = settings.templates_dir / made["ImageUrl"]
    with Image.open(file) as kept:
        assert kept.size == (8, 8)
    mark = Templates.load(settings.templates_dir).resolve("watermark_template", {"definition": made["Definition"]})
    assert mark["image_template"] == {"image_content": made["ImageUrl"], "width": "20%"}
    changed = call(
        "ModifyWatermarkTemplate",
        Definition=made["Definition"],
        ImageTemplate={"ImageContent": picture((4, 4), "JPEG")},
    )
    with Image.open(settings.templates_dir / changed["ImageUrl"]) as kept:
        assert kept.size == (4, 4)
    call("DeleteWatermarkTemplate", Definition=made["Definition"])
    assert not list(settings.templates_dir.glob("watermark*"))


def test_there_may_be_so_many_of_a_kind(call, refused):
    """MPS's limit, of one's own."""
    for _ in range(16):
        call("CreateImageSpriteTemplate", **CREATE["ImageSprite"])
    assert refused("CreateImageSpriteTemplate", **CREATE["ImageSprite"]) == "LimitExceeded.TooMuchTemplate"
