"""Playlists as text: what a master tells of its variants, byte ranges of joined files, and the image playlist."""

from __future__ import annotations

import m3u8
import pytest

from mps_dagster.streaming import hls
from mps_dagster.streaming.packaging import Packaging, Rendition, Thumbnails, Track
from mps_dagster.streaming.segments import Segments


def segments(name: str, pattern: str = "", **more) -> Segments:
    return Segments(
        pattern=pattern or f"{name}_%05d.ts", playlist=f"{name}.m3u8",
        **{"key_pattern": f"{name}_{{number}}.ts", "first": 0, "step": 1, "width": 1, "placeholder": "0", **more},
    )  # fmt: skip


def picture(number: int, width: int, height: int, **more) -> Track:
    shown = Rendition(width=width, height=height, frame_rate=30000 / 1001)
    name = f"s{number}"
    return Track(
        kind="video", files="ts", file=f"picture_{number}/out.mp4", segments=segments(name), playlist_key=f"out/{name}.m3u8",
        rendition=shown, **{"group": "audio", **more},
    )  # fmt: skip


def sound(number: int, group: str = "audio", **more) -> Track:
    name = f"s{number}"
    return Track(
        kind="audio", files="ts", file=f"sound_{number}/out.mp4", segments=segments(name), playlist_key=f"out/{name}.m3u8",
        group=group, **more,
    )  # fmt: skip


def subtitles(number: int, **more) -> Track:
    name = f"s{number}"
    return Track(
        kind="text", files="vtt", file="t/out.vtt", segments=segments(name, f"{name}_%05d.vtt"), playlist_key="", **more
    )


def measured(**rates: hls.MediaPlaylist) -> hls.Measured:
    codecs = {"s0.m3u8": "avc1.64001f,mp4a.40.2", "s1.m3u8": "avc1.640015,mp4a.40.2"}
    playlists = {f"{name}.m3u8": rate for name, rate in rates.items()}
    return hls.Measured(playlists, codecs, {"s2.m3u8": "2"}, playlists)


LARGE = hls.MediaPlaylist((4.0, 4.0, 1.0), (500_000, 300_000, 200_000))
SMALL = hls.MediaPlaylist((4.0, 4.0, 1.0), (100_000, 50_000, 10_000))
SOUND = hls.MediaPlaylist((4.0, 4.0, 1.0), (32_000, 32_000, 8_000))


def test_rates_are_of_the_longest_segments_and_of_the_whole():
    """A short last segment, which may have any rate, does not count for the peak."""
    assert LARGE.peak_bps == 1_000_000
    assert LARGE.average_bps == pytest.approx(8_000_000 / 9)
    assert hls.MediaPlaylist((), ()).peak_bps == 0


def test_a_variant_tells_all_that_a_player_chooses_by():
    packaging = Packaging(
        segment_s=4,
        duration_s=9,
        tracks=(picture(0, 1280, 720), picture(1, 640, 360), sound(2, name='say "hi"', language="de", default=True)),
    )
    text = hls.master_playlist(packaging, measured(s0=LARGE, s1=SMALL, s2=SOUND))
    parsed = m3u8.loads(text)
    first = parsed.playlists[0].stream_info
    assert (first.bandwidth, first.average_bandwidth) == (1_064_000, round(8_000_000 / 9 + 64_000))
    assert (first.resolution, first.frame_rate, first.codecs) == ((1280, 720), 29.97, "avc1.64001f,mp4a.40.2")
    assert (first.video_range, first.audio, first.closed_captions) == ("SDR", "audio", "NONE")
    [track] = parsed.media
    assert (track.type, track.name, track.language, track.default, track.channels) == (
        "AUDIO",
        "say 'hi'",
        "de",
        "YES",
        "2",
    )
    assert parsed.is_independent_segments
    assert "SUBTITLES" not in text


def test_the_rate_of_a_variant_has_the_largest_of_its_sounds_and_no_other_group():
    tracks = (picture(0, 1280, 720, group="audio_1"), sound(1, "audio_0"), sound(2, "audio_1"))
    packaging = Packaging(segment_s=4, duration_s=9, tracks=tracks)
    text = hls.master_playlist(packaging, measured(s0=SMALL, s1=LARGE, s2=SOUND))
    assert m3u8.loads(text).playlists[0].stream_info.bandwidth == 264_000


def test_sound_alone_is_a_variant_itself():
    packaging = Packaging(segment_s=6, duration_s=9, tracks=(sound(0),))
    text = hls.master_playlist(packaging, measured(s0=SOUND))
    [variant] = m3u8.loads(text).playlists
    assert (variant.uri, variant.stream_info.bandwidth, variant.stream_info.resolution) == ("s0.m3u8", 64_000, None)
    assert "EXT-X-MEDIA" not in text


def test_subtitles_are_a_group_of_every_variant():
    packaging = Packaging(
        segment_s=4, duration_s=9, tracks=(picture(0, 640, 360), sound(1), subtitles(2, name="Deutsch", language="de"))
    )
    parsed = m3u8.loads(hls.master_playlist(packaging, measured(s0=SMALL, s1=SOUND)))
    assert parsed.playlists[0].stream_info.subtitles == "text"
    assert [(item.type, item.language, item.name) for item in parsed.media][1] == ("SUBTITLES", "de", "Deutsch")


SEGMENTED = """#EXTM3U
#EXT-X-MAP:URI="s0_init.mp4"
#EXTINF:2.000,
s0_00001.m4s
#EXTINF:1.000,
s0_00002.m4s
#EXT-X-ENDLIST
"""


def test_joined_files_are_named_by_byte_ranges():
    places = {"s0_init.mp4": (0, 100), "s0_00001.m4s": (100, 500), "s0_00002.m4s": (600, 50)}
    parsed = m3u8.loads(hls.in_one_file(SEGMENTED, places, "s0.mp4"))
    assert [(item.uri, item.byterange) for item in parsed.segments] == [("s0.mp4", "500@100"), ("s0.mp4", "50@600")]
    assert (parsed.segments[0].init_section.uri, parsed.segments[0].init_section.byterange) == ("s0.mp4", "100@0")


def test_ranges_inside_of_joined_files_move_with_them():
    """An I-frame playlist names a part of each segment."""
    text = "#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:2.0,\n#EXT-X-BYTERANGE:80@24\ns0_00001.ts\n#EXTINF:2.0,\n#EXT-X-BYTERANGE:70@12\ns0_00002.ts\n"
    moved = hls.in_one_file(text, {"s0_00001.ts": (0, 500), "s0_00002.ts": (500, 50)}, "s0.ts")
    assert [item.byterange for item in m3u8.loads(moved).segments] == ["80@24", "70@512"]


def test_names_are_replaced_wherever_they_stand():
    renamed = hls.renamed(SEGMENTED, lambda name: f"x/{name}")
    assert 'URI="x/s0_init.mp4"' in renamed
    assert "\nx/s0_00002.m4s\n" in renamed
    assert renamed.count("#EXTINF") == 2


THUMBNAILS = Thumbnails(
    sheets=segments("thumbnails", "thumbnails/sheet_%04d.jpg"), columns=5, rows=2, width=160, height=90, interval_s=2,
    playlist_key="out/t.m3u8",
)  # fmt: skip


@pytest.mark.parametrize(
    ("duration_s", "lengths"),
    [(20.0, [20.0]), (20.5, [20.0, 0.5]), (5.0, [5.0]), (61.0, [20.0, 20.0, 20.0, 1.0])],
)
def test_an_image_playlist_has_a_sheet_for_each_part_of_the_time(duration_s, lengths):
    text = hls.image_playlist(THUMBNAILS, duration_s)
    found = [float(line.split(":")[1].rstrip(",")) for line in text.splitlines() if line.startswith("#EXTINF")]
    assert found == lengths
    assert text.count("#EXT-X-TILES:RESOLUTION=160x90,LAYOUT=5x2,DURATION=2") == len(lengths)
    assert "#EXT-X-IMAGES-ONLY" in text


LADDER = (picture(0, 1280, 720), picture(1, 640, 360), picture(2, 426, 240), sound(3))


@pytest.mark.parametrize(
    ("gain", "scores", "kept"),
    [
        (0.0, (60, 60, 60), ["s0", "s1", "s2"]),
        (2.0, (95, 80, 60), ["s0", "s1", "s2"]),
        (2.0, (81.5, 80, 60), ["s1", "s2"]),
        (2.0, (82, 80, 79), ["s0", "s2"]),
        (2.0, (61, 60.5, 60), ["s2"]),
    ],
    ids=["all are wanted", "all are worth it", "the largest is not", "the middle one is not", "the smallest stays"],
)
def test_a_ladder_is_fitted_to_its_title(gain, scores, kept):
    """Each rendition is compared with the next smaller one that stays."""
    packaging = Packaging(segment_s=4, duration_s=9, tracks=LADDER, least_gain=gain)
    named = {f"picture_{number}": score for number, score in enumerate(scores)}
    assert [track.number for track in packaging.fitted(named).tracks] == [*kept, "s3"]
