"""Of a transport stream with several programmes, what is published is one of them: its pictures with its own sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from readings import hertz, sound

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration
from mps_dagster.media.probe import probe


def pitches(path: Path) -> list[int]:
    """Each audio track's tone in Hz, to the nearest 10."""
    return [hertz(sound(path, track=number)) for number in range(len(probe(path).audio))]


@pytest.mark.parametrize(
    ("members", "tones"),
    [
        pytest.param(("va", "VA"), [1320], id="HD comes second"),
        pytest.param(("va", "Va"), [440], id="both share a sound"),
        pytest.param(("va", "V"), [], id="HD is silent"),
        pytest.param(("va", "wA"), [440], id="of equal size, the first"),
    ],
)
@pytest.mark.parametrize("codec", ["aac", "copy"])
def test_a_picture_comes_with_its_own_programme_s_sound(clips, upload, made, worker, members, tones, codec):
    """And no other, encoded or copied: ffmpeg numbers the streams as the probe does."""
    spec = {"name": "x", "video_template": {"codec": "copy"}, "audio_template": {"codec": codec}}
    result = made(upload(clips.programmes(*members)), "transcode", spec)[0]
    path = worker.settings.buckets_dir / result.bucket / result.main[0].key
    assert pitches(path) == tones


def test_of_two_radio_programmes_the_first_is_heard(clips, upload, made, worker):
    """One track, not both mixed up."""
    result = made(upload(clips.programmes("a", "A")), "transcode", {"definition": 1010})[0]
    assert pitches(worker.settings.buckets_dir / result.bucket / result.main[0].key) == pytest.approx([440], abs=10)


def test_tracks_are_counted_within_the_programme(clips, upload, made, planned, worker):
    """Track 0 is HD's first one, and there is no second."""
    source = upload(clips.programmes("va", "VA"))
    spec = {"name": "x", "container": "mp3", "remove_video": 1, "audio_template": {"stream_selects": [0]}}
    result = made(source, "transcode", spec)[0]
    assert pitches(worker.settings.buckets_dir / result.bucket / result.main[0].key) == pytest.approx([1320], abs=10)
    (second,) = planned(source, "transcode", {**spec, "audio_template": {"stream_selects": [1]}})
    with pytest.raises(InvalidConfiguration, match="the source has 1"):
        worker.perform(second, "run", lambda *_: None)


@pytest.mark.parametrize("start_s", [0, 1])
def test_a_programme_with_a_clock_of_its_own_is_cut_at_the_right_time(clips, upload, made, worker, start_s):
    """A seek would look for the time on the other programme's clock, and find the end of the file."""
    spec = {"name": "x", "container": "mkv", "start_time_offset": start_s, "video_template": {"effort": "fast"}}
    result = made(upload(clips.own_clocks()), "transcode", spec)[0]
    path = worker.settings.buckets_dir / result.bucket / result.main[0].key
    media = probe(path)
    assert media.video.frames == 50 - 25 * start_s
    assert media.duration_s == pytest.approx(2 - start_s, abs=0.05)
    # 21 ms in the source; a frame at most.
    assert 0 <= media.video.start_s - media.audio[0].start_s <= 0.041
    assert pitches(path) == pytest.approx([1320], abs=10)


def test_a_still_of_such_a_programme_is_of_its_time(clips, upload, made, worker):
    """The same picture as from the programme alone."""
    spec = {"name": "s", "ext_time_offset_set": ["1s"], "format": "png"}
    taken = []
    for source in (clips.own_clocks(), clips.programmes("va", "VA")):
        result = made(upload(source), "snapshot_by_time_offset", spec)[0]
        taken.append((worker.settings.buckets_dir / result.bucket / result.main[0].key).read_bytes())
    assert taken[0] == taken[1]


def test_a_part_of_such_a_programme_is_not_copied(clips, upload, planned, worker):
    """ffmpeg can find a time only by decoding; the whole is copied."""
    source = upload(clips.own_clocks())
    copy = {"name": "x", "video_template": {"codec": "copy"}, "audio_template": {"codec": "copy"}}
    (part,) = planned(source, "transcode", {**copy, "start_time_offset": 1})
    with pytest.raises(ContentUnsupported, match="clock of its own"):
        worker.perform(part, "run", lambda *_: None)
    (whole,) = planned(source, "transcode", copy)
    assert worker.perform(whole, "run", lambda *_: None).main[0].media.video.frames == 50
