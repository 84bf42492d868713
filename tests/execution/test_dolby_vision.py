"""Dolby Vision: used as HDR10 or HLG if it is compatible, otherwise refused."""

from __future__ import annotations

import pytest

from mps_dagster.errors import ContentUnsupported
from mps_dagster.media.probe import probe

KINDS = {
    "snapshot_by_time_offset": {"ext_time_offset_set": ["0s"]},
    "sample_snapshot": {},
    "image_sprite": {},
    "animated_graphics": {},
    "transcode": {},
    "watermark": {"watermark_set": [{"type": "text", "text_content": "x"}]},
}


@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("profile", "compatible", "hdr"), [(5, 0, "HDR10"), (8, 1, "HDR10"), (8, 4, "HLG")])
def test_its_profile_is_read(clips, profile, compatible, hdr, extension):
    """From every container."""
    video = probe(clips.dolby_vision(profile, compatible, extension)).video
    assert (video.dolby_vision, video.hdr) == (f"{profile}.{compatible}", hdr)
    assert video.only_dolby_vision is (profile == 5)


@pytest.mark.parametrize("kind", KINDS)
def test_profile_5_is_refused(clips, upload, run_task, kind):
    """Other players would show it green and purple."""
    with pytest.raises(ContentUnsupported, match="Dolby Vision profile 5") as caught:
        run_task(upload(clips.dolby_vision(5, 0)), kind, {"name": "x", **KINDS[kind]})
    assert "HDR10" in caught.value.hint


def test_the_audio_of_profile_5_can_be_used(clips, upload, run_task):
    output = run_task(upload(clips.dolby_vision(5, 0)), "transcode", {"name": "x", "container": "mp3"})[0].main[0]
    assert output.media.duration_s == pytest.approx(1, abs=0.1)


def test_profile_5_in_a_broadcast_is_refused(clips, upload, run_task):
    """A transport stream has the profile in a descriptor."""
    with pytest.raises(ContentUnsupported, match="Dolby Vision profile 5"):
        run_task(upload(clips.dolby_vision(5, 0, "ts")), "transcode", {"name": "x"})


def test_a_copy_of_profile_5_stays_dolby_vision(clips, upload, run_task):
    """In mp4 only; other containers would lose the marking."""
    source = upload(clips.dolby_vision(5, 0))
    copy = {"name": "x", "video_template": {"codec": "copy"}}
    assert run_task(source, "transcode", copy)[0].main[0].media.video.dolby_vision == "5.0"
    with pytest.raises(ContentUnsupported, match="into mp4 only"):
        run_task(source, "transcode", {**copy, "name": "ts", "container": "ts"})


@pytest.mark.parametrize(("compatible", "hdr"), [(1, "HDR10"), (4, "HLG")])
def test_profile_8_is_encoded_as_hdr_or_sdr(clips, upload, run_task, compatible, hdr):
    """10 bits as HDR, 8 bits as SDR."""
    source = upload(clips.dolby_vision(8, compatible))
    ten = {"name": "t", "video_template": {"codec": "h265", "bit_depth": 10, "effort": "fast"}}
    eight = {"name": "e", "video_template": {"effort": "fast"}}
    videos = [run_task(source, "transcode", spec)[0].main[0].media.video for spec in (ten, eight)]
    assert [(video.hdr, video.dolby_vision) for video in videos] == [(hdr, ""), ("", "")]
