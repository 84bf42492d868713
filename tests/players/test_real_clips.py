"""All of adaptive streaming at once, on real clips: asked for with Tencent's own SDK, made by a deployment, played by three players.

Skipped without MPS_TEST_MEDIA, the folder of the clips.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployments import official_sdk, start, wait_until, with_ports
from projects import make_project

from mps_dagster.control.deployment import Deployment
from mps_dagster.control.tasks import describe
from mps_dagster.media.probe import probe
from mps_dagster.settings import Settings
from players.parsers import examine
from players.players import play_all

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("players")]

LADDER = """
kind: adaptive_dynamic_streaming
templates:
  - definition: 900
    name: ladder
    parameters:
      format: HLS
      segment_type: mp4-mp4-segment
      also_mpeg_dash: 1
      disable_higher_video_resolution: 1
      thumbnails: {interval_s: 2, columns: 4, rows: 4, width: 96}
      stream_infos:
        - video: &video {bitrate: 200, height: 144, hls_time: 4, effort: fast, quality: &vmaf {short_side: 360, subsample: 5}}
          audio: &audio {codec: aac, bitrate: 64}
        - {video: {<<: *video, bitrate: 500, height: 240}, audio: *audio}
"""
INSPECTION = """
kind: quality_inspection
templates:
  - {definition: 901, name: gate, parameters: {required: true, fail_on: [decode_errors]}}
"""
LINES = "1\n00:00:00,200 --> 00:00:04,000\nErste Zeile\n\n2\n00:00:05,000 --> 00:00:09,000\nZweite Zeile\n"
CLIPS = ["big_buck_bunny_0_30.webm", "earth.mov", "small_video.mp4", "captions-test.ts", "traffic_camera_vfr.mp4"]


def cos(key: str) -> dict:
    return {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "ap-guangzhou", "Object": key}}


SUBTITLES = [{"Subtitle": cos("/lines.srt"), "SubtitleName": "Deutsch", "SubtitleLanguage": "deu"}]
GRAPH = [
    {"ActivityType": "input", "ReardriveIndex": [1]},
    {
        "ActivityType": "action-AIQualityControl",
        "ActivityPara": {"QualityControlTask": {"Definition": 901}},
        "ReardriveIndex": [2, 3],
    },
    {
        "ActivityType": "action-adaptive-substream",
        "ActivityPara": {"AdaptiveDynamicStreamingTask": {"Definition": 900, "AddOnSubtitles": SUBTITLES}},
        "ReardriveIndex": [4],
    },
    {
        "ActivityType": "action-image-sprite",
        "ActivityPara": {"ImageSpriteTask": {"Definition": 10}},
        "ReardriveIndex": [4],
    },
    {"ActivityType": "output"},
]
TRIGGER = {
    "Type": "CosFileUpload",
    "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "ap-guangzhou", "Dir": "/in/"},
}


@pytest.fixture(scope="module")
def settings(media_folder, players, tmp_path_factory) -> Iterator[Settings]:
    """Of a deployment that runs."""
    settings = with_ports(make_project(tmp_path_factory.mktemp("real")))
    (settings.templates_dir / "ladder.yaml").write_text(LADDER)
    (settings.templates_dir / "inspection.yaml").write_text(INSPECTION)
    with start(settings) as process:
        Deployment.of(settings).buckets.get("inbox").write("lines.srt", LINES.encode())
        yield settings
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def sdk(settings) -> Callable[..., dict]:
    return official_sdk(settings)


@pytest.fixture(scope="module")
def schedule(sdk) -> int:
    return sdk("CreateSchedule", ScheduleName="all", Trigger=TRIGGER, Activities=GRAPH, OutputDir="/out/")["ScheduleId"]


def results(sdk: Callable[..., dict], task_id: str) -> dict[str, dict]:
    """What the SDK reads of each node, by the name of its result, when the task has ended."""
    wait_until(lambda: sdk("DescribeTaskDetail", TaskId=task_id)["Status"] == "FINISH", timeout_s=600)
    task = sdk("DescribeTaskDetail", TaskId=task_id)["ScheduleTask"]
    assert task["ErrCode"] == 0, task
    items = [node["ActivityResItem"] for node in task["ActivityResultSet"]]
    return {name: result for item in items for name, result in item.items() if result}


@pytest.mark.parametrize("name", CLIPS)
def test_a_real_clip_is_inspected_scored_packaged_and_played(name, media_folder, settings, sdk, schedule):
    deployment = Deployment.of(settings)
    deployment.buckets.get("inbox").publish(media_folder / name, f"real/{name}")
    place = {"Type": "COS", "CosOutputStorage": {"Bucket": "outputs", "Region": "ap-guangzhou"}}
    started = sdk("ProcessMedia", InputInfo=cos(f"/real/{name}"), ScheduleId=schedule, OutputStorage=place)
    found = results(sdk, started["TaskId"])
    assert {(result["Status"], result["ErrCodeExt"]) for result in found.values()} == {("SUCCESS", "SUCCESS")}
    assert found["QualityControlTask"]["Output"]["NoVideo"] is False

    sprite = found["ImageSpriteTask"]["Output"]
    outputs = settings.buckets_dir / "outputs"
    assert (outputs / sprite["WebVttPath"].lstrip("/")).read_text().count("-->") == sprite["TotalCount"]

    run = describe(deployment, started["TaskId"])
    [ladder] = [one.result for one in run.subtasks if one.type == "adaptive_dynamic_streaming"]
    scores = [one.facts["quality"]["mean"] for one in ladder.parts if "quality" in one.facts]
    assert len(scores) == 2
    assert 40 < scores[0] <= 100

    master = outputs / found["AdaptiveDynamicStreamingTask"]["Output"]["Path"].lstrip("/")
    source = probe(media_folder / name)
    mpd = master.with_suffix(".mpd")
    assert examine(master.parent, master.name) == []
    assert examine(master.parent, mpd.name) == []
    assert_played(master, mpd, source.duration_s)


def assert_played(master: Path, mpd: Path, duration_s: float) -> None:
    folder = master.parent
    for played in play_all(folder, [(master.name, "hls.js"), (master.name, "shaka"), (mpd.name, "dash.js")]):
        assert played.problems == []
        assert played.duration == pytest.approx(duration_s, abs=0.5)
        assert len(played.levels) == 2
        assert len(played.seeks) == 3
        assert [text.shown for text in played.texts] == [("Erste Zeile", "Zweite Zeile")]
        assert played.player == "hls.js" or played.thumbnails
