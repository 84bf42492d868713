"""Impossible outputs are refused before anything runs, with MPS's code and advice."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, InvalidTimeOffset, NoVideoMedia
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import NumberFormat, OutputNames

from .test_argv import clip, plan_output

MARK = {"type": "text", "text_content": "x"}
LADDER = {"format": "HLS", "stream_infos": [{"video": {"height": 90}, "audio": {}}]}
SCORED = {"format": "HLS", "stream_infos": [{"video": {"quality": {"against": "source"}}, "audio": {}}]}


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("transcode", {"container": "mp5"}, "mp4"),
        ("transcode", {"container": "webm", "video_template": {"codec": "h264"}}, "takes av1, vp9"),
        ("transcode", {"container": "mp3", "audio_template": {"codec": "aac"}}, "takes mp3"),
        ("transcode", {"container": "hls", "video_template": {"codec": "av1"}}, "segment_type"),
        ("transcode", {"remove_video": 1, "remove_audio": 1}, "leave nothing"),
        ("transcode", {"container": "mp3", "remove_audio": 1}, "leaves nothing"),
        ("transcode", {"video_template": {"codec": "copy"}, "watermark_set": [MARK]}, "encoded"),
        ("transcode", {"video_template": {"mode": "CBR"}}, "needs a bitrate"),
        ("transcode", {"video_template": {"alpha": 1}}, "for vp9"),
        ("transcode", {"video_template": {"codec": "vp9", "alpha": 1}}, "use webm or mkv"),
        ("transcode", {"video_template": {"width": 360, "height": 640}}, "long side"),
        ("transcode", {"video_template": {"vcrf": 52}}, "51"),
        ("transcode", {"video_template": {"fps": 121}}, "at most 120"),
        ("transcode", {"video_template": {"fps": 121_000, "fps_denominator": 1000}}, "at most 120"),
        ("transcode", {"video_template": {"codec": "x264"}}, "h264"),
        ("transcode", {"container": "hls", "segment_object_name": "/abs_{number}"}, "relative"),
        ("transcode", {"container": "hls", "segment_object_name": "one"}, "{number}"),
        ("transcode", {"bogus": 1}, "Extra inputs"),
        ("transcode", {"video_template": {"codec": "copy", "quality": {}}}, "as good as its source"),
        ("transcode", {"video_template": {"codec": "copy", "quality_target": 93}}, "as good as its source"),
        ("transcode", {"video_template": {"mode": "ABR", "bitrate": 800, "quality_target": 93}}, "use VBR or CRF"),
        ("transcode", {"video_template": {"vcrf": 23, "quality_target": 93}}, "leave one of them out"),
        ("transcode", {"video_template": {"quality": {"metric": "xpsnr"}, "quality_target": 93}}, "is a VMAF score"),
        ("transcode", {"video_template": {"quality": {"metric": "xpsnr", "subsample": 5}}}, "vmaf only"),
        (
            "transcode",
            {"video_template": {"quality": {"against": "source"}, "quality_target": 93}},
            "against to output",
        ),
        ("transcode", {"video_template": {"quality_target": 99}}, "97"),
        ("transcode", {"audio_template": {"codec": "copy", "loudness": {}}}, "needs the audio encoded"),
        ("transcode", {"audio_template": {"loudness": {"true_peak_db": 1}}}, "less than or equal to 0"),
        ("transcode", {"watermark_set": [{"type": "image"}]}, "image_template"),
        ("transcode", {"watermark_set": [{"type": "text"}]}, "text_content"),
        ("transcode", {"watermark_set": [{**MARK, "x_pos": "5em"}]}, "pattern"),
        ("sample_snapshot", {"sample_interval": 101}, "percentage"),
        ("sample_snapshot", {"format": "bmp"}, "pattern"),
        ("image_sprite", {"row_count": 11, "column_count": 10}, "100 pictures"),
        ("transcode", {"container": "flv", "audio_template": {"stream_selects": [0, 1]}}, "flv holds one audio track"),
        ("transcode", {"container": "m4a", "audio_template": {"stream_selects": [0, 1]}}, "m4a holds one audio track"),
        ("image_sprite", {"web_vtt_object_name": "/abs"}, "relative"),
        ("animated_graphics", {"format": "webp"}, "width or a height"),
        ("animated_graphics", {"fps": 31}, "30"),
        ("watermark", {"watermark_set": []}, "at least 1"),
        ("watermark", {"container": "webm", "codec": "h264", "watermark_set": [MARK]}, "webm does not hold h264"),
        ("snapshot_by_time_offset", {"ext_time_offset_set": ["3"]}, "pattern"),
        ("transcode", {"video_template": {"quality": {"against": "source"}}, "watermark_set": [MARK]}, "to output"),
        ("watermark", {"quality": {"against": "source"}, "watermark_set": [MARK]}, "to output"),
        ("adaptive_dynamic_streaming", {"least_gain": 2, "watermark_set": [MARK], **LADDER}, "leave one of them out"),
        ("adaptive_dynamic_streaming", {"watermark_set": [MARK], **SCORED}, "to output"),
        ("adaptive_dynamic_streaming", {"drm_info": {"simple_aes_drm": {"uri": "k"}}, **LADDER}, "either a key or"),
        (
            "adaptive_dynamic_streaming",
            {"drm_info": {"simple_aes_drm": {"uri": "k", "key_object": "no-bucket"}}, **LADDER},
            "pattern",
        ),
        ("quality_inspection", {"checks": []}, "at least 1"),
        ("quality_inspection", {"checks": ["noise"]}, "silence"),
        ("quality_inspection", {"thresholds": {"silence_db": 3}}, "less than 0"),
        ("quality_inspection", {"checks": ["black"], "fail_on": ["silence"]}, "silence is not among the checks"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(kind, spec, message):
    """When it is parsed; the error names the allowed values."""
    with pytest.raises(ValidationError) as caught:
        TASKS[kind].spec.model_validate(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "output", "media", "error", "message"),
    [
        *(
            (kind, output, {"video": False}, NoVideoMedia, "no video stream")
            for kind, output in [
                ("sample_snapshot", {"definition": 10}),
                ("image_sprite", {"definition": 10}),
                ("animated_graphics", {"definition": 20000}),
                ("snapshot_by_time_offset", {"definition": 10, "ext_time_offset_set": ["0s"]}),
                ("watermark", {"name": "w", "watermark_set": [MARK]}),
            ]
        ),
        ("transcode", {"definition": 1010}, {"audio": 0}, ContentUnsupported, "none of the streams"),
        ("transcode", {"definition": 100030, "start_time_offset": 20}, {}, InvalidTimeOffset, "is empty"),
        ("transcode", {"definition": 875}, {"codec": "wmv2"}, InvalidConfiguration, "wmv2"),
        ("transcode", {"name": "x", "audio_template": {"stream_selects": [1]}}, {}, InvalidConfiguration, "track 1"),
        ("snapshot_by_time_offset", {"definition": 10}, {}, InvalidTimeOffset, "no time point"),
        ("snapshot_by_time_offset", {"definition": 10, "ext_time_offset_set": ["21s"]}, {}, InvalidTimeOffset, "past the end"),
        ("snapshot_by_time_offset", {"definition": 10, "ext_time_offset_set": ["101%"]}, {}, InvalidTimeOffset, "past the end"),
        ("sample_snapshot", {"definition": 10, "output_object_path": "one.{format}"}, {}, InvalidConfiguration, "{number}"),
        ("sample_snapshot", {"name": "s", "width": 4096, "height": 1, "format": "webp", "resolution_adaptive": "close"}, {"width": 8, "height": 8}, None, ""),
        ("image_sprite", {"name": "s", "width": 4096, "row_count": 1, "column_count": 20}, {}, InvalidConfiguration, "px per side"),
        ("transcode", {"definition": 100030, "watermark_set": [{**MARK, "start_time_offset": 5}], "end_time_offset": 3}, {}, InvalidTimeOffset, "watermark 0"),
    ],
)  # fmt: skip
def test_an_output_that_a_source_cannot_give_is_refused(kind, output, media, error, message):
    """When its subtask is planned."""
    if error is None:
        assert plan_output(kind, output, clip(**media)).outputs
        return
    with pytest.raises(error, match=message) as caught:
        plan_output(kind, output, clip(**media))
    assert caught.value.code.startswith(("InvalidInput", "SourceFileError"))


# ------------------------------------------------------------------------------------------------------------ names

NAMES = OutputNames("AnimalWorldE01", "mov", "output/", "100030")


@pytest.mark.parametrize(
    ("pattern", "format", "number", "key"),
    [
        ("{inputName}_transcode_{definition}.{format}", "mp4", None, "output/AnimalWorldE01_transcode_100030.mp4"),
        ("/transcode/{inputName}_{definition}.{format}", "mp4", None, "transcode/AnimalWorldE01_100030.mp4"),
        ("{inputName}_from_{inputFormat}.{format}", "m3u8", None, "output/AnimalWorldE01_from_mov.m3u8"),
        ("{inputName}_{number}.{format}", "jpg", "007", "output/AnimalWorldE01_007.jpg"),
        ("{inputName}_{number}.{format}", "ts", None, "output/AnimalWorldE01_{number}.ts"),
        ("plain", "mp4", None, "output/plain.mp4"),
        ("plain.mp4", "mp4", None, "output/plain.mp4"),
    ],
)
def test_output_names_follow_mps(pattern, format, number, key):
    """Reference A.9: variables, absolute and relative paths, and the extension added where the path has none."""
    assert NAMES.key(pattern, format=format, number=number) == key


def test_numbers_follow_their_format():
    """Reference A.6: InitialValue + k x Increment, filled up to MinLength."""
    format = NumberFormat(initial_value=2, increment=3, min_length=3, place_holder="_")
    assert [format.number(index) for index in range(3)] == ["__2", "__5", "__8"]
    assert [NumberFormat().number(index) for index in (0, 1, 10)] == ["0", "1", "10"]


def test_a_sprite_index_lists_each_picture_and_its_time():
    """Two sheets of two by one; paths are relative to the index."""
    output = {
        "name": "s", "sample_interval": 8, "row_count": 1, "column_count": 2, "width": 160, "height": 90,
        "output_object_path": "sheets/{inputName} #{number}.{format}", "web_vtt_object_name": "index",
    }  # fmt: skip
    plan = plan_output("image_sprite", output, clip())
    assert [file.key for file in plan.outputs] == ["out/sheets/clip #0.jpg", "out/sheets/clip #1.jpg"]
    assert (plan.texts[0].key, plan.texts[0].text.splitlines()) == (
        "out/index.vtt",
        [
            "WEBVTT", "",
            "00:00:00.000 --> 00:00:08.000", "sheets/clip%20%230.jpg#xywh=0,0,160,90", "",
            "00:00:08.000 --> 00:00:16.000", "sheets/clip%20%230.jpg#xywh=160,0,160,90", "",
            "00:00:16.000 --> 00:00:20.000", "sheets/clip%20%231.jpg#xywh=0,0,160,90",
        ],
    )  # fmt: skip


def test_every_task_type_has_its_docs():
    """A section in docs/tasks.md, and an example in its module."""
    from pathlib import Path

    import mps_dagster.tasks as room

    text = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
    examples: dict[str, Any] = {name: getattr(room, name).__doc__ for name in TASKS}
    assert [name for name in TASKS if f"## {name}\n" not in text] == []
    assert [name for name, doc in examples.items() if "```yaml" not in doc] == []
