"""The parsers pass what is good, and name what is not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from players import streams
from players.apple import apple_findings
from players.parsers import examine
from players.streams import KEY, RATE, SECONDS, X264

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("parsers")]


@pytest.mark.parametrize("kind", ["ts", "aes", "cmaf", "single", "cenc", "sound"])
def test_they_find_nothing_in_what_is_good(good, kind):
    key = KEY if kind == "cenc" else None
    assert examine(good / kind, frames=RATE * SECONDS, key=key) == []


def test_a_picture_for_trick_play_that_is_none(copied):
    """The second byte range begins elsewhere."""
    folder = copied("cmaf")
    _change(folder / "low_pictures.m3u8", r"(?s)(BYTERANGE:\d+@)(\d+)(.*?BYTERANGE:\d+@)\d+", r"\1\2\g<3>900")
    assert any("master.m3u8: low_pictures.m3u8: picture 1" in one for one in examine(folder, "master.m3u8"))


def test_a_missing_segment(copied):
    folder = copied("cmaf")
    (folder / "middle" / "3.m4s").unlink()
    assert examine(folder) == [
        "master.m3u8: middle.m3u8: 3.m4s is missing or too short",
        "master.m3u8: middle_pictures.m3u8: 3.m4s is missing or too short",
        "stream.mpd: representation 1: 3.m4s is missing or too short",
    ]


def test_a_file_that_was_cut(copied):
    folder = copied("single")
    content = (folder / "high.mp4").read_bytes()
    (folder / "high.mp4").write_bytes(content[:-100])
    assert "stream.mpd: representation 2: high.mp4 is missing or too short" in examine(folder)


@pytest.mark.parametrize("kind", ["ts", "cmaf"])
def test_a_hole_in_the_timeline(copied, kind):
    folder = copied(kind)
    _change(folder / "middle.m3u8", r"#EXTINF:[\d.]+,\nmiddle[_/]2\.\w+\n", "")
    found = examine(folder, "master.m3u8", frames=RATE * SECONDS)
    assert any(re.search(r"middle\.m3u8: segment \d begins at [\d.]+ s, the one before ends at", one) for one in found)
    assert any("middle.m3u8 has 4 segments, low.m3u8 5" in one for one in found)
    assert "master.m3u8: middle.m3u8: it has 200 pictures, 250 were planned" in found
    assert any("(tfdt)" in one for one in found) == (kind == "cmaf")


def test_rungs_that_are_not_aligned(packager, tmp_path):
    """Another distance of key frames leads to other segments."""
    made = streams.parts(tmp_path, last=(*X264, "-g", "36"))
    found = examine(streams.segments(packager, made, tmp_path / "cmaf"))
    assert any(re.search(r"master\.m3u8: segment 1 of high\.m3u8 begins at", one) for one in found)
    assert any(re.search(r"stream\.mpd: segment 1 of representation 2 begins at", one) for one in found)


def test_bit_rates_that_are_not_true(copied):
    folder = copied("cmaf")
    _change(folder / "master.m3u8", r",AVERAGE-BANDWIDTH=\d+(?=.*\nhigh)", "")
    _change(folder / "master.m3u8", r"BANDWIDTH=\d+(?=.*\nlow)", "BANDWIDTH=90000")
    _change(folder / "stream.mpd", r'(?<=id="1" bandwidth=)"\d+"', '"400000"')
    found = examine(folder)
    assert [one.split(", the")[0] for one in found] == [
        "master.m3u8: low.m3u8: BANDWIDTH is 90000",
        "master.m3u8: low.m3u8: AVERAGE-BANDWIDTH is 90000",
        "master.m3u8: high.m3u8: AVERAGE-BANDWIDTH is missing",
        "stream.mpd: representation 1: BANDWIDTH is 400000",
    ]


def test_attributes_that_are_not_true(copied):
    folder = copied("ts")
    _change(folder / "master.m3u8", r"RESOLUTION=128x72", "RESOLUTION=160x90")
    _change(folder / "master.m3u8", r"FRAME-RATE=25.000(?=.*\nmiddle)", "FRAME-RATE=30.000")
    _change(folder / "master.m3u8", r'"avc1\.\w+,mp4a.40.2"(?=\nhigh)', '"avc1.640028"')
    assert examine(folder) == [
        "master.m3u8: low.m3u8: RESOLUTION is 160x90, its pictures are 128x72",
        "master.m3u8: middle.m3u8: FRAME-RATE is 30, measured 25.000",
        "master.m3u8: high.m3u8: CODECS is avc1.640028, in its segments is avc1.4d400c",
        "master.m3u8: high.m3u8: CODECS is avc1.640028, in its segments is mp4a.40.2",
    ]


def test_a_segment_that_begins_without_a_key_frame(good, tmp_path):
    """Cut by time, wherever the key frames are."""
    made = streams.parts(tmp_path, last=(*X264, "-g", "60", "-bf", "0"))
    cut = ("-hls_flags", "split_by_time+independent_segments")
    found = examine(streams.transport_streams(made, tmp_path / "ts", options=cut))
    assert "master.m3u8: high.m3u8: segment 1 (high_1.ts) does not begin with a key frame" in found


def test_a_segment_that_cannot_be_decoded(copied):
    folder = copied("cmaf")
    path = folder / "high" / "2.m4s"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(2000) + content[middle + 2000 :])
    found = examine(folder)
    assert any(one.startswith("master.m3u8: high.m3u8: ffmpeg -xerror: ") for one in found)
    assert any(one.startswith("stream.mpd: representation 2: ffmpeg -xerror: ") for one in found)


def test_boxes_that_are_cut(copied):
    folder = copied("cmaf")
    shutil.copy(folder / "low" / "2.m4s", folder / "low" / "3.m4s")
    found = examine(folder, "stream.mpd")
    assert any("fragment 2 begins at 2.000 s (tfdt), the one before ends at 4.000 s" in one for one in found)


def test_what_apple_wants_besides(good, copied):
    assert apple_findings(good / "cmaf" / "master.m3u8") == []
    folder = copied("ts")
    _change(folder / "low.m3u8", "#EXT-X-PLAYLIST-TYPE:VOD\n", "")
    _change(folder / "master.m3u8", r"CLOSED-CAPTIONS=NONE,(?=.*\nmiddle)", "")
    assert set(apple_findings(folder / "master.m3u8")) == {
        "middle.m3u8: CLOSED-CAPTIONS is missing",
        *(f"{name}.m3u8: its audio is in no group" for name in ("low", "middle", "high")),
        "low.m3u8: EXT-X-PLAYLIST-TYPE is not VOD",
        "there is no I-frame playlist",
    }


def _change(path: Path, pattern: str, to: str) -> None:
    changed, count = re.subn(pattern, to, path.read_text())
    assert count, f"{pattern} is not in {path.name}"
    path.write_text(changed)
