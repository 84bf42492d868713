"""The packager's MPD with published names, labels and thumbnails."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from mps_dagster.streaming import dash
from mps_dagster.streaming.packaging import Packaging, Rendition, Track

from .test_hls import THUMBNAILS, segments

MPD = """<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT13S"><Period id="0">
  <AdaptationSet id="0" contentType="video"><Representation id="0" bandwidth="1">
    <SegmentTemplate initialization="s0_init.mp4" media="s0_$Number%05d$.m4s" startNumber="1"/></Representation></AdaptationSet>
  <AdaptationSet id="1" contentType="audio"><Representation id="1" bandwidth="1"><BaseURL>s1.mp4</BaseURL></Representation></AdaptationSet>
</Period></MPD>"""


def packaging(**more) -> Packaging:
    video = segments("s0", "s0_%05d.m4s", key_pattern="out/a $5_{number}.m4s", header="s0_init.mp4", **more)
    audio = segments("s1", "s1.mp4", key_pattern="out/sound.mp4")
    return Packaging(
        segment_s=4, duration_s=13, manifests=("MPEG-DASH",), thumbnails=THUMBNAILS,
        tracks=(
            Track(kind="video", files="mp4", file="v/out.mp4", segments=video, playlist_key="out/a $5.m3u8"),
            Track(kind="audio", files="mp4", file="a/out.mp4", segments=audio, playlist_key="out/b.m3u8", name="Deutsch"),
        ),
    )  # fmt: skip


def published(key: str) -> str:
    return key.removeprefix("out/").replace(" ", "%20")


def find(text: str, path: str) -> ET.Element:
    found = ET.fromstring(text).find(path.replace("/", "/{*}"))
    assert found is not None
    return found


def test_files_have_their_published_names_and_numbers():
    """`$` of a name is written twice, as the MPD's own variables begin with it."""
    text = dash.manifest(MPD, packaging(first=7, width=3), published)
    template = find(text, "{*}Period/AdaptationSet/Representation/SegmentTemplate").attrib
    assert template["media"] == "a%20$$5_$Number%03d$.m4s"
    assert template["initialization"] == "a%20$$5_init.mp4"
    assert template["startNumber"] == "7"
    assert find(text, "{*}Period/AdaptationSet/Representation/BaseURL").text == "sound.mp4"


@pytest.mark.parametrize(
    ("rate", "named"),
    [(24.0, "24"), (30000 / 1001, "30000/1001"), (24000 / 1001, "24000/1001"), (12.5, "25/2")],
)
def test_the_frame_rate_is_that_of_all_pictures(rate, named):
    """The packager goes by the first two, which are 41 ms apart in WebM at 24 pictures a second."""
    plain = packaging()
    shown = Rendition(width=320, height=180, frame_rate=rate)
    tracks = (plain.tracks[0].model_copy(update={"rendition": shown}), plain.tracks[1])
    mpd = MPD.replace('contentType="video"', 'contentType="video" maxFrameRate="1000/41"')
    mpd = mpd.replace('<Representation id="0"', '<Representation id="0" frameRate="1000/41"')
    text = dash.manifest(mpd, plain.model_copy(update={"tracks": tracks}), published)
    assert find(text, "{*}Period/AdaptationSet").attrib["maxFrameRate"] == named
    assert find(text, "{*}Period/AdaptationSet/Representation").attrib["frameRate"] == named


def test_sound_has_the_name_that_a_menu_shows():
    assert find(dash.manifest(MPD, packaging(), published), "{*}Period/AdaptationSet/Label").text == "Deutsch"


def test_thumbnails_are_tiles_of_so_many_seconds():
    text = dash.manifest(MPD, packaging(), published)
    images = find(text, "{*}Period/AdaptationSet[@contentType='image']/Representation")
    assert images.find("{*}EssentialProperty").attrib["value"] == "5x2"
    template = images.find("{*}SegmentTemplate").attrib
    assert (template["duration"], template["timescale"]) == ("20000", "1000")
    assert template["media"] == "thumbnails_$Number$.ts"
