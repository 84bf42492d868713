"""Dolby Vision: what has a picture for everybody goes on as that; what has none is refused by name."""

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
def test_its_profile_is_known(clips, profile, compatible, hdr, extension):
    """From each container's own place for it."""
    video = probe(clips.dolby_vision(profile, compatible, extension)).video
    assert (video.dolby_vision, video.hdr) == (f"{profile}.{compatible}", hdr)
    assert video.only_dolby_vision is (profile == 5)


@pytest.mark.parametrize("kind", KINDS)
def test_profile_5_is_refused_by_name(clips, upload, made, kind):
    """Shown as anything else it is green and purple."""
    with pytest.raises(ContentUnsupported, match="Dolby Vision profile 5") as caught:
        made(upload(clips.dolby_vision(5, 0)), kind, {"name": "x", **KINDS[kind]})
    assert "HDR10" in caught.value.hint


def test_the_sound_of_profile_5_can_be_had(clips, upload, made):
    """Only the picture is of no use."""
    output = made(upload(clips.dolby_vision(5, 0)), "transcode", {"name": "x", "container": "mp3"})[0].main[0]
    assert output.media.duration_s == pytest.approx(1, abs=0.1)


def test_of_a_broadcast_too(clips, upload, made):
    """A transport stream says it in a descriptor."""
    with pytest.raises(ContentUnsupported, match="Dolby Vision profile 5"):
        made(upload(clips.dolby_vision(5, 0, "ts")), "transcode", {"name": "x"})


def test_a_copy_of_profile_5_stays_dolby_vision(clips, upload, made):
    """In mp4; elsewhere a player would not be told."""
    source = upload(clips.dolby_vision(5, 0))
    copy = {"name": "x", "video_template": {"codec": "copy"}}
    assert made(source, "transcode", copy)[0].main[0].media.video.dolby_vision == "5.0"
    with pytest.raises(ContentUnsupported, match="into mp4 only"):
        made(source, "transcode", {**copy, "name": "ts", "container": "ts"})


@pytest.mark.parametrize(("compatible", "hdr"), [(1, "HDR10"), (4, "HLG")])
def test_profile_8_goes_on_as_what_its_picture_is(clips, upload, made, compatible, hdr):
    """In ten bits as HDR, in eight as SDR."""
    source = upload(clips.dolby_vision(8, compatible))
    ten = {"name": "t", "video_template": {"codec": "h265", "bit_depth": 10, "effort": "fast"}}
    eight = {"name": "e", "video_template": {"effort": "fast"}}
    videos = [made(source, "transcode", spec)[0].main[0].media.video for spec in (ten, eight)]
    assert [(video.hdr, video.dolby_vision) for video in videos] == [(hdr, ""), ("", "")]
