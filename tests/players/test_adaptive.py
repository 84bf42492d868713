"""Our own adaptive sets, judged by players and by parsers of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates
from players.parsers import examine
from players.players import play_all

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("players")]

SECONDS = 10
LINES = "1\n00:00:00,500 --> 00:00:04,000\nErste Zeile\n\n2\n00:00:06,000 --> 00:00:09,500\nZweite Zeile\n"
HLS = ("m3u8", "hls.js"), ("m3u8", "shaka")
DASH = ("mpd", "shaka"), ("mpd", "dash.js")
KEY = "00112233445566778899aabbccddeeff"
CASES = {
    "ts-segment": HLS,
    "ts-byterange": HLS,
    "mp4-segment": HLS,
    "mp4-byterange": HLS,
    "ts-packed-audio": HLS,
    "ts-ts-segment": HLS,
    "ts-ts-byterange": HLS,
    "mp4-packed-audio": HLS,
    "mp4-mp4-segment": (*HLS, *DASH),
    "mp4-mp4-byterange": (*HLS, *DASH),
}


def output(kind: str, **more) -> dict:
    picture = {"codec": "h264", "fps": 25, "hls_time": 2, "effort": "fast"}
    sound = {"codec": "aac", "bitrate": 64}
    infos = [{"video": {**picture, "height": height, "bitrate": 3 * height}, "audio": sound} for height in (72, 144)]
    return {"name": "s", "format": "HLS", "segment_type": kind, "stream_infos": infos, **more}


@pytest.fixture
def adaptive(tmp_path, clips, players):
    """Make a set of a clip; the folder and the name of its manifests without extension."""

    def adaptive(wanted: dict) -> tuple[Path, str]:
        settings = Settings(project=tmp_path / "project", home=tmp_path / "home", settle_s=0)
        settings.templates_dir.mkdir(parents=True)
        worker = Worker.of(settings, Buckets(settings))
        worker.buckets.get("inbox").publish(clips.video(SECONDS), "clip.mp4")
        worker.buckets.get("assets").write("lines.srt", LINES.encode())
        source = worker.fetch_source("inbox", "clip.mp4", None, "run")
        document = {"type": "adaptive_dynamic_streaming", "outputs": [wanted]}
        task = parse_task("t", document, {"bucket": "outputs", "dir": "/out/"}, Templates.load(), where="test")
        for subtask in break_down(task, source, worker):
            result = worker.perform(subtask, "run", lambda *_: None)
        return settings.buckets_dir / "outputs" / "out", Path(result.main[0].key).stem

    return adaptive


@pytest.mark.parametrize("kind", CASES)
def test_every_kind_plays(kind, adaptive):
    """Without an error or a gap, through switches and seeks, with subtitles and thumbnails; and is what its manifests say."""
    more = {"also_mpeg_dash": 1} if kind.startswith("mp4-mp4") else {}
    subtitles = [{"subtitle": "assets/lines.srt", "subtitle_name": "Deutsch", "subtitle_language": "de"}]
    thumbnails = {"interval_s": 1, "columns": 4, "rows": 2, "width": 64}
    folder, name = adaptive(output(kind, add_on_subtitles=subtitles, thumbnails=thumbnails, **more))
    assert examine(folder, frames=25 * SECONDS) == []
    for played in play_all(folder, [(f"{name}.{extension}", player) for extension, player in CASES[kind]]):
        assert played.problems == []
        assert played.duration == pytest.approx(SECONDS, abs=0.15)
        assert [(level.width, level.height) for level in played.levels] == [(128, 72), (256, 144)]
        assert {72, 144} <= set(played.heights)
        assert all(abs(one.pictured - one.wanted) < 0.1 for one in played.seeks)
        assert [text.shown for text in played.texts] == [("Erste Zeile", "Zweite Zeile")]
        if played.player == "shaka":
            assert [(tile.width, tile.height) for tile in played.thumbnails]


def test_a_template_for_dash_plays(adaptive):
    folder, name = adaptive({**output("mp4-byterange"), "format": "MPEG-DASH"})
    assert examine(folder, frames=25 * SECONDS) == []
    for played in play_all(folder, [(f"{name}.mpd", "shaka"), (f"{name}.mpd", "dash.js")]):
        assert played.problems == []


@pytest.mark.parametrize("kind", ["ts-segment", "mp4-mp4-segment"])
def test_encrypted_segments_play(kind, adaptive):
    drm = {"simple_aes_drm": {"uri": "key.bin", "key": KEY, "vector": "0f" * 16}}
    folder, name = adaptive(output(kind, drm_info=drm))
    (folder / "key.bin").write_bytes(bytes.fromhex(KEY))
    for played in play_all(folder, [(f"{name}.m3u8", "hls.js"), (f"{name}.m3u8", "shaka")]):
        assert played.problems == []


@pytest.mark.parametrize("codec", ["av1", "vp9"])
def test_other_codecs_play(codec, adaptive):
    wanted = output("mp4-mp4-segment", also_mpeg_dash=1)
    for info in wanted["stream_infos"]:
        info["video"]["codec"] = codec
    folder, name = adaptive(wanted)
    for played in play_all(folder, [(f"{name}.m3u8", "hls.js"), (f"{name}.mpd", "shaka")]):
        assert played.problems == []
