"""The players pass what is good, and notice what is not."""

from __future__ import annotations

import pytest

from players.players import play, play_all
from players.streams import CUES, KEY, KEY_ID, RUNGS, SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("players")]

SIZES = [tuple(map(int, size.split("x"))) for size, _ in RUNGS.values()]
CASES = {
    "ts": [("master.m3u8", "hls.js"), ("master.m3u8", "shaka")],
    "aes": [("master.m3u8", "hls.js"), ("master.m3u8", "shaka")],
    "cmaf": [("master.m3u8", "hls.js"), ("master.m3u8", "shaka"), ("stream.mpd", "shaka"), ("stream.mpd", "dash.js")],
    "single": [("master.m3u8", "hls.js"), ("stream.mpd", "shaka"), ("stream.mpd", "dash.js")],
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_they_play_what_is_good(good, kind):
    for played in play_all(good / kind, CASES[kind]):
        assert played.problems == []
        assert played.duration == pytest.approx(SECONDS, abs=0.1)
        assert [(level.width, level.height) for level in played.levels] == SIZES
        assert [one.rendered for one in played.switches] == [72, 144, 72]
        assert {72, 144} <= set(played.heights)
        assert len(played.fills) == len(RUNGS)
        assert all(abs(one.pictured - one.wanted) < 0.1 for one in played.seeks)
        assert len(played.seeks) == 3
        # Those around a switch may be decoded twice or not at all.
        assert played.decoded > 0.85 * 25 * SECONDS
        assert [text.shown for text in played.texts] == ([CUES] if kind == "cmaf" else [])
        tiles = 3 if kind == "cmaf" and played.player != "hls.js" else 0
        assert [tile.sheet for tile in played.thumbnails] == [(640, 72)] * tiles


def test_they_play_what_is_encrypted(good):
    cases = [("master.m3u8", "shaka"), ("stream.mpd", "shaka"), ("stream.mpd", "dash.js")]
    for played in play_all(good / "cenc", cases, keys={KEY_ID: KEY}):
        assert played.problems == []
        assert {72, 144} <= set(played.heights)


def test_they_play_sound_alone(good):
    for played in play_all(
        good / "sound", [("master.m3u8", "hls.js"), ("stream.mpd", "shaka"), ("stream.mpd", "dash.js")]
    ):
        assert played.problems == []
        assert (played.decoded, [one.pictured for one in played.seeks]) == (0, [None] * 3)


def test_they_notice_a_missing_segment(copied):
    folder = copied("cmaf")
    (folder / "middle" / "3.m4s").unlink()
    for played in play_all(
        folder, [("master.m3u8", "hls.js"), ("stream.mpd", "shaka"), ("stream.mpd", "dash.js")], patience_s=2
    ):
        assert "the server refused 404 /media/middle/3.m4s" in played.problems
        assert played.errors


def test_they_notice_a_hole_in_the_timeline(copied):
    folder = copied("cmaf")
    playlist = folder / "middle.m3u8"
    playlist.write_text(playlist.read_text().replace("#EXTINF:2.000,\nmiddle/3.m4s\n", ""))
    played = play(folder, "master.m3u8", "hls.js", patience_s=2)
    assert any(problem.startswith("nothing of level 1 is buffered from 4.00 to 6.00") for problem in played.problems)


def test_they_notice_that_there_is_nothing_to_play(tmp_path, players):
    played = play(tmp_path, "master.m3u8", "hls.js", patience_s=2)
    assert played.stopped
    assert "the server refused 404 /media/master.m3u8" in played.problems
