"""Templates through the API, called with Tencent's own SDK: what is made is a file that workflows use."""

from __future__ import annotations

import base64
import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from PIL import Image
from servers import served
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from mps_dagster.api.server import create_service
from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import MpsError
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.templates import Templates

from .conftest import serving

VIDEO = {"Codec": "h264", "Fps": 25, "Bitrate": 500}
AUDIO = {"Codec": "aac", "Bitrate": 64, "SampleRate": 44100}
TEXT = {"FontType": "arial.ttf", "FontSize": "32px", "FontColor": "0xFF0000", "FontAlpha": 0.5}
CREATE = {
    "AdaptiveDynamicStreaming": {"Format": "HLS", "StreamInfos": [{"Video": {"Codec": "h264", "Fps": 25, "Bitrate": 300, "Height": 360}, "Audio": {"Codec": "aac", "Bitrate": 48, "SampleRate": 44100}}], "DisableHigherVideoBitrate": 1},
    "Transcode": {"Container": "mp4", "VideoTemplate": VIDEO | {"Height": 360}, "AudioTemplate": AUDIO},
    "AnimatedGraphics": {"Fps": 5, "Width": 320, "Format": "webp", "Quality": 80.0},
    "SampleSnapshot": {"SampleType": "Percent", "SampleInterval": 20, "Width": 320, "Format": "png"},
    "SnapshotByTimeOffset": {"Height": 240, "FillType": "white"},
    "ImageSprite": {"SampleType": "Time", "SampleInterval": 5, "RowCount": 4, "ColumnCount": 5, "Width": 128},
    "Watermark": {"Type": "text", "XPos": "10px", "TextTemplate": TEXT},
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


def test_frame_rates_of_television_are_fractions(call):
    """The limit of 120 is of the rate, and not of its numerator."""
    rate = {"Fps": 30000, "FpsDenominator": 1001}
    created = call("CreateTranscodeTemplate", Container="mp4", RemoveAudio=1, VideoTemplate=VIDEO | rate)
    [shown] = call("DescribeTranscodeTemplates", Definitions=[created["Definition"]])["TranscodeTemplateSet"]
    assert rate.items() <= shown["VideoTemplate"].items()


def test_a_list_is_filtered_and_paged(call):
    """By kind, name and container type; the total is of all that match."""
    call("CreateTranscodeTemplate", Name="house video", **CREATE["Transcode"])
    call(
        "CreateTranscodeTemplate",
        Name="house sound",
        Container="mp3",
        RemoveVideo=1,
        AudioTemplate=AUDIO | {"Codec": "mp3"},
    )
    everything = call("DescribeTranscodeTemplates", Limit=100)
    assert everything["TotalCount"] == len(everything["TranscodeTemplateSet"]) > 10
    assert call("DescribeTranscodeTemplates", Type="Custom")["TotalCount"] == 2
    assert call("DescribeTranscodeTemplates", Type="Custom", ContainerType="PureAudio")["TotalCount"] == 1
    assert call("DescribeTranscodeTemplates", Name="house")["TotalCount"] == 2
    assert call("DescribeTranscodeTemplates", TranscodeType="TEHD")["TotalCount"] == 0
    assert call("DescribeTranscodeTemplates", TEHDType="Common")["TotalCount"] == everything["TotalCount"]
    page = call("DescribeTranscodeTemplates", Offset=1, Limit=2)
    assert [t["Definition"] for t in page["TranscodeTemplateSet"]] == [
        t["Definition"] for t in everything["TranscodeTemplateSet"][1:3]
    ]


def test_a_template_that_cannot_be_keeps_no_other_from_being_shown(call, settings):
    """An admin wrote it."""
    settings.templates_dir.mkdir(parents=True, exist_ok=True)
    (settings.templates_dir / "bad.yaml").write_text("kind: [")
    (settings.templates_dir / "own.yaml").write_text(
        "kind: transcode\ntemplates: [{definition: 7, name: no, parameters: {video_template: {mode: FOO}}}]"
    )
    assert call("DescribeTranscodeTemplates", Definitions=[100030])["TotalCount"] == 1
    assert call("DescribeTranscodeTemplates", Definitions=[7])["TotalCount"] == 0


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("CreateTranscodeTemplate", {}, "MissingParameter"),
        ("CreateTranscodeTemplate", {"Container": "avi"}, "InvalidParameterValue.Container"),
        ("CreateTranscodeTemplate", {"Container": "mxf"}, "UnsupportedOperation"),
        ("CreateTranscodeTemplate", {"Container": "mp4"}, "InvalidParameterValue"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "VideoTemplate": VIDEO}, "InvalidParameterValue"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Codec": "mpeg9"}}, "InvalidParameterValue.VideoCodec"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Codec": "h266"}}, "UnsupportedOperation"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Codec": "vp9", "BitDepth": 9}}, "InvalidParameterValue"),
        ("CreateTranscodeTemplate", {"Container": "mov", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Codec": "vp9"}}, "InvalidParameterValue.Container"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": {"Codec": "h264", "Fps": 25}}, "MissingParameter"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Bitrate": 127}}, "InvalidParameterValue.VideoBitrate"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Fps": 121}}, "InvalidParameterValue.Fps"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Fps": 121121, "FpsDenominator": 1001}}, "InvalidParameterValue.Fps"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Width": 64}}, "InvalidParameterValue.Resolution"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveAudio": 1, "VideoTemplate": VIDEO | {"Sar": "2:1"}}, "UnsupportedOperation"),
        ("CreateTranscodeTemplate", {"Container": "mp3", "AudioTemplate": AUDIO | {"Codec": "mp3", "Bitrate": 257}}, "InvalidParameterValue.AudioBitrate"),
        ("CreateTranscodeTemplate", {"Container": "mp3", "AudioTemplate": AUDIO | {"Codec": "mp3", "SampleRate": 1}}, "InvalidParameterValue.AudioSampleRate"),
        ("CreateTranscodeTemplate", {"Container": "mp3", "AudioTemplate": AUDIO}, "InvalidParameterValue.Container"),
        ("DeleteTranscodeTemplate", {"Definition": 10**300}, "InvalidParameterValue.Definition"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "RemoveVideo": 1, "RemoveAudio": 1}, "InvalidParameterValue.RemoveVideo"),
        ("CreateTranscodeTemplate", {"Container": "mp4", "EnhanceConfig": {"VideoEnhance": {}}}, "UnsupportedOperation"),
        ("CreateAnimatedGraphicsTemplate", {"Fps": 31}, "InvalidParameterValue.Fps"),
        ("CreateAnimatedGraphicsTemplate", {"Fps": 2, "Quality": 101}, "InvalidParameterValue.Quality"),
        ("CreateAnimatedGraphicsTemplate", {"Fps": 2, "Format": "webp"}, "InvalidParameterValue.FormatWebpWidthAndHeightBothZero"),
        ("CreateSampleSnapshotTemplate", {"SampleType": "Frames", "SampleInterval": 1}, "InvalidParameterValue.SampleType"),
        ("CreateSampleSnapshotTemplate", {"SampleType": "Time", "SampleInterval": 0}, "InvalidParameterValue.SampleInterval"),
        ("CreateSnapshotByTimeOffsetTemplate", {"Width": 5000}, "InvalidParameterValue.Width"),
        ("CreateAnimatedGraphicsTemplate", {"Fps": 2, "Width": 64}, "InvalidParameterValue.Resolution"),
        ("CreateSampleSnapshotTemplate", {"SampleType": "Percent", "SampleInterval": 101}, "InvalidParameterValue.SampleInterval"),
        ("CreateSampleSnapshotTemplate", {"SampleType": "Percent"}, "MissingParameter"),
        ("CreateSnapshotByTimeOffsetTemplate", {"Name": "x" * 65}, "InvalidParameterValue.Name"),
        ("CreateSnapshotByTimeOffsetTemplate", {"Comment": "x" * 257}, "InvalidParameterValue.Comment"),
        ("CreateImageSpriteTemplate", {"SampleType": "Time", "SampleInterval": 1, "RowCount": 0, "ColumnCount": 1}, "InvalidParameterValue.RowCount"),
        ("CreateImageSpriteTemplate", {"SampleType": "Time", "SampleInterval": 1, "RowCount": 11, "ColumnCount": 10}, "InvalidParameterValue.RowCount"),
        ("CreateImageSpriteTemplate", {"SampleType": "Time", "SampleInterval": 1, "RowCount": 1, "ColumnCount": 1, "FillType": "white"}, "InvalidParameterValue.FillType"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "SMOOTH", "StreamInfos": [{"Video": VIDEO, "Audio": AUDIO}]}, "InvalidParameterValue.Format"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "HLS", "StreamInfos": [{"Video": VIDEO | {"Codec": "h263"}, "Audio": AUDIO}]}, "InvalidParameterValue.Codec"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "HLS", "StreamInfos": [{"Audio": AUDIO}]}, "InvalidParameterValue"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "HLS", "PureAudio": 1, "StreamInfos": [{"Video": VIDEO, "Audio": AUDIO}]}, "InvalidParameterValue"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "MPEG-DASH", "SegmentType": "ts-segment", "StreamInfos": [{"Video": VIDEO, "Audio": AUDIO}]}, "InvalidParameterValue"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "HLS", "StreamInfos": []}, "InvalidParameterValue"),
        ("CreateAdaptiveDynamicStreamingTemplate", {"Format": "HLS", "StreamInfos": [{"Video": VIDEO | {"Mode": "CBR", "Bitrate": 0}, "Audio": AUDIO}]}, "InvalidParameterValue"),
        ("CreateWatermarkTemplate", {"Type": "svg", "SvgTemplate": {"Width": "10px"}}, "UnsupportedOperation"),
        ("CreateWatermarkTemplate", {"Type": "foo"}, "InvalidParameterValue.Type"),
        ("CreateWatermarkTemplate", {"Type": "text"}, "InvalidParameterValue.TextTemplate"),
        ("CreateWatermarkTemplate", {"Type": "text", "TextTemplate": TEXT | {"FontSize": "3px"}}, "InvalidParameterValue.TextTemplate"),
        ("CreateWatermarkTemplate", {"Type": "text", "TextTemplate": TEXT | {"FontAlpha": 2}}, "InvalidParameterValue.TextAlpha"),
        ("CreateWatermarkTemplate", {"Type": "image"}, "InvalidParameterValue.ImageTemplate"),
        ("CreateWatermarkTemplate", {"Type": "image", "ImageTemplate": {"ImageContent": 5}}, "InvalidParameterValue.ImageContent"),
        ("CreateWatermarkTemplate", {"Type": "image", "ImageTemplate": {"ImageContent": "hello"}}, "InvalidParameterValue.ImageContent"),
        ("DescribeTranscodeTemplates", {"Limit": 101}, "InvalidParameterValue.Limit"),
        ("DescribeTranscodeTemplates", {"TEHDType": "bogus"}, "InvalidParameterValue.TEHDType"),
        ("DescribeTranscodeTemplates", {"EnhanceType": "VideoEnhance"}, "UnsupportedOperation"),
        ("DescribeWatermarkTemplates", {"Type": "Custom"}, "InvalidParameterValue.Type"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_with_mps_s_code(refused, action, parameters, code):
    """And nothing is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert refused(action, **parameters) == code


def test_a_watermark_picture_is_kept_beside_its_template(call, settings):
    """Changed with it, deleted with it; its address can be opened, also the one before: a run may be working with it."""
    with served(settings) as files:

        def opened(url: str) -> requests.Response:
            return requests.get(url.replace(settings.files_url, files), timeout=10)

        created = call(
            "CreateWatermarkTemplate", Type="image", ImageTemplate={"ImageContent": picture(), "Width": "20%"}
        )
        assert Image.open(io.BytesIO(opened(created["ImageUrl"]).content)).size == (8, 8)
        [shown] = call("DescribeWatermarkTemplates", Definitions=[created["Definition"]])["WatermarkTemplateSet"]
        assert shown["ImageTemplate"]["ImageUrl"] == created["ImageUrl"]
        mark = Templates.load(settings.templates_dir).resolve(
            "watermark_template", {"definition": created["Definition"]}
        )
        assert mark["image_template"]["width"] == "20%"
        assert (settings.templates_dir / mark["image_template"]["image_content"]).is_file()
        content = {"ImageContent": picture((4, 4), "JPEG")}
        changed = call("ModifyWatermarkTemplate", Definition=created["Definition"], ImageTemplate=content)
        assert Image.open(io.BytesIO(opened(changed["ImageUrl"]).content)).size == (4, 4)
        assert opened(created["ImageUrl"]).status_code == 200
    call("DeleteWatermarkTemplate", Definition=created["Definition"])
    assert not list(settings.templates_dir.glob("watermark*"))


def test_what_was_set_can_be_taken_back(call, settings):
    """By MPS's numbers for it."""
    video = VIDEO | {"Vcrf": 30, "Bframes": 2}
    definition = call("CreateTranscodeTemplate", Container="mp4", RemoveAudio=1, VideoTemplate=video)["Definition"]
    call("ModifyTranscodeTemplate", Definition=definition, VideoTemplate={"Vcrf": 100, "Bframes": -1})
    resolved = Templates.load(settings.templates_dir).resolve("transcode", {"definition": definition})
    assert TASKS["transcode"].spec.model_validate(resolved).video_template.vcrf is None


@pytest.mark.parametrize("way", [{"method": "GET"}, {"sign": "HmacSHA256"}])
def test_numbers_may_be_text_as_they_are_in_a_form(settings, client_to, reloads, way):
    """In every dialect the same template."""
    with serving(settings, create_service(settings)) as address:
        for kind in ("Transcode", "AdaptiveDynamicStreaming"):
            parameters = (
                {**CREATE[kind], "VideoTemplate": VIDEO | {"BitDepth": 10}} if kind == "Transcode" else CREATE[kind]
            )
            client_to(address, **way).call_json(f"Create{kind}Template", parameters)
    resolved = Templates.load(settings.templates_dir).resolve("transcode", {"definition": 200_001})
    assert (resolved["video_template"]["bit_depth"], resolved["audio_template"]["sample_rate"]) == (10, 44100)


WORKFLOW = {
    "WorkflowName": "uses it",
    "Trigger": {"Type": "CosFileUpload", "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "r"}},
}


def test_what_a_workflow_uses_is_not_deleted_and_dagster_hears_of_changes(call, refused, reloads):
    """Nor changed so that the workflow could not use it any more."""
    definition = call("CreateTranscodeTemplate", **CREATE["Transcode"])["Definition"]
    override = {"VideoTemplate": {"Codec": "h265"}}
    tasks = {"TranscodeTaskSet": [{"Definition": definition, "OverrideParameter": override}]}
    call("CreateWorkflow", **WORKFLOW, MediaProcessTask=tasks)
    assert refused("DeleteTranscodeTemplate", Definition=definition) == "FailedOperation"
    reloads.clear()
    call("ModifyTranscodeTemplate", Definition=definition, VideoTemplate={"Height": 240})
    assert reloads == [1]
    assert refused("ModifyTranscodeTemplate", Definition=definition, Container="flv") == "InvalidParameterValue"
    [template] = call("DescribeTranscodeTemplates", Definitions=[definition])["TranscodeTemplateSet"]
    assert (template["Container"], template["VideoTemplate"]["Height"]) == ("mp4", 240)


def test_a_change_that_dagster_does_not_take_up_is_none(call, refused, monkeypatch):
    """The answer describes the stored template."""
    definition = call("CreateTranscodeTemplate", **CREATE["Transcode"])["Definition"]
    call("CreateWorkflow", **WORKFLOW, MediaProcessTask={"TranscodeTaskSet": [{"Definition": definition}]})

    def no_dagster(_: object) -> None:
        raise MpsError("no Dagster answers")

    monkeypatch.setattr(Dagster, "reload", no_dagster)
    assert refused("ModifyTranscodeTemplate", Definition=definition, Comment="changed") == "FailedOperation"
    [template] = call("DescribeTranscodeTemplates", Definitions=[definition])["TranscodeTemplateSet"]
    assert template["Comment"] == ""
    assert template["Name"] == str(definition)


def test_a_workflow_is_never_left_with_a_template_that_is_gone(call):
    """Whichever of the two comes first."""
    for _ in range(5):
        definition = call("CreateTranscodeTemplate", **CREATE["Transcode"])["Definition"]
        tasks = {"TranscodeTaskSet": [{"Definition": definition}]}
        calls = [
            ("CreateWorkflow", {**WORKFLOW, "WorkflowName": f"w{definition}", "MediaProcessTask": tasks}),
            ("DeleteTranscodeTemplate", {"Definition": definition}),
        ]
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda one: _or_code(call, one[0], **one[1]), calls))
        assert sum(isinstance(answer, dict) for answer in answers) == 1, answers


KEYS = """
keys:
  - {secret_id: AKIDowner, account: house, secret_key: a key of sixteen characters, read: ["*"], write: ["*"]}
  - {secret_id: AKIDsame, account: house, secret_key: a key of sixteen characters, read: [], write: []}
  - {secret_id: AKIDother, secret_key: a key of sixteen characters, read: ["*"], write: ["*"]}
"""


def test_a_template_belongs_to_the_account_that_made_it(settings, deployed):
    """Nobody else sees, uses, changes or deletes it, or takes the place of one of the house by its name."""
    call = deployed(KEYS)
    definition = call("AKIDowner", "CreateTranscodeTemplate", Name="MP4-HD", **CREATE["Transcode"])["Definition"]
    tasks = {"TranscodeTaskSet": [{"Definition": definition}]}
    for action, parameters in {
        "ModifyTranscodeTemplate": {"Definition": definition, "Comment": "mine now"},
        "DeleteTranscodeTemplate": {"Definition": definition},
        "CreateWorkflow": {**WORKFLOW, "MediaProcessTask": tasks},
    }.items():
        with pytest.raises(TencentCloudSDKException) as caught:
            call("AKIDother", action, **parameters)
        assert caught.value.code == "ResourceNotFound.TemplateNotExist"
    near = {"TranscodeTaskSet": [{"Definition": definition + 1}]}
    with pytest.raises(TencentCloudSDKException) as caught:
        call("AKIDother", "CreateWorkflow", **WORKFLOW, MediaProcessTask=near)
    assert str(definition) + " (" not in caught.value.message
    query = {"Definitions": [definition]}
    assert call("AKIDother", "DescribeTranscodeTemplates", **query)["TotalCount"] == 0
    assert call("AKIDsame", "DescribeTranscodeTemplates", **query)["TotalCount"] == 1
    call("AKIDsame", "ModifyTranscodeTemplate", Definition=definition, Comment="ours")
    named = Templates.load(settings.templates_dir).resolve("transcode", {"definition": "MP4-HD"})
    assert named["definition"] == 100030


def test_templates_that_are_made_and_changed_at_once_are_counted_and_kept(call):
    """Neither one too many, nor one change lost."""
    with ThreadPoolExecutor(24) as threads:
        created = list(
            threads.map(lambda _: _or_code(call, "CreateImageSpriteTemplate", **CREATE["ImageSprite"]), range(24))
        )
    assert created.count("LimitExceeded.TooMuchTemplate") == 8
    definition = next(answer["Definition"] for answer in created if isinstance(answer, dict))
    changes = [{"Name": "both"}, {"Comment": "kept"}, {"Width": 256}, {"RowCount": 3}]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda change: call("ModifyImageSpriteTemplate", Definition=definition, **change), changes))
    [template] = call("DescribeImageSpriteTemplates", Definitions=[definition])["ImageSpriteTemplateSet"]
    assert [template[name] for change in changes for name in change] == ["both", "kept", 256, 3]
    with ThreadPoolExecutor(4) as threads:
        gone = list(threads.map(lambda _: _or_code(call, "DeleteImageSpriteTemplate", Definition=definition), range(4)))
    assert gone.count("ResourceNotFound.TemplateNotExist") == 3


def _or_code(call, action: str, **parameters: object) -> dict | str:
    try:
        return call(action, **parameters)
    except TencentCloudSDKException as error:
        return error.code
