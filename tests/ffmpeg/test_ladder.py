"""Which renditions of a template a source gets, and when their key frames come."""

from __future__ import annotations

from fractions import Fraction

import pytest

from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate
from mps_dagster.ffmpeg.encoding import rendition
from mps_dagster.ffmpeg.ladder import Caps, Rhythm, Rung, rungs
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream

SOUND = AudioTemplate(codec="aac", bitrate=48)
PRESET = tuple(
    Rung(VideoTemplate(fps=24, bitrate=kbps, height=height), SOUND)
    for height, kbps in ((240, 256), (480, 512), (720, 512), (1080, 1024), (1440, 3072), (2160, 6144))
)
"""MPS's preset 10."""
NO_LARGER = Caps(resolution=True, bitrate=False)


def video(width: int = 1920, height: int = 1080, rate: str = "25", **more) -> VideoStream:
    return VideoStream(
        index=0, codec="h264", width=width, height=height, pixel_format="yuv420p", frame_rate=Fraction(rate), **more
    )  # fmt: skip


def source(picture: VideoStream | None, *, sounds: int = 1) -> MediaInfo:
    audio = tuple(AudioStream(index=1 + n, codec="aac", sample_rate_hz=48000, channels=2) for n in range(sounds))
    return MediaInfo(container="mov,mp4", size_bytes=1, duration_s=10, video=picture, audio=audio)


def sizes(ladder: tuple[Rung, ...], picture: VideoStream) -> list[tuple[int, int]]:
    return [rendition(rung.video, picture).canvas for rung in ladder if rung.video]


SIZES = [
    pytest.param(video(), [(426, 240), (854, 480), (1280, 720), (1920, 1080)], id="1080p"),
    pytest.param(video(1080, 1920), [(240, 426), (480, 854), (720, 1280), (1080, 1920)], id="portrait"),
    pytest.param(video(1920, 1080, rotation=90), [(240, 426), (480, 854), (720, 1280), (1080, 1920)], id="turned"),
    pytest.param(video(1600, 900), [(426, 240), (854, 480), (1280, 720)], id="between two rungs"),
    pytest.param(video(720, 576, sample_aspect=Fraction(16, 15)), [(320, 240), (640, 480)], id="wide pixels"),
    pytest.param(video(319, 179), [(320, 180)], id="below all: at its own size"),
    pytest.param(video(7680, 4320), [(426, 240), (854, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)], id="8K"),
]  # fmt: skip


@pytest.mark.parametrize(("picture", "expected"), SIZES)
def test_renditions_are_not_larger_than_the_source(picture, expected):
    assert sizes(rungs(PRESET, source(picture), NO_LARGER), picture) == expected


def test_they_are_where_the_template_allows():
    assert len(rungs(PRESET, source(video(320, 180)), Caps(resolution=False, bitrate=False))) == 6


def test_they_have_no_more_bits_than_the_source_if_the_template_says_so():
    picture = video(bitrate_bps=600_000)
    ladder = rungs(PRESET, source(picture), Caps(resolution=True, bitrate=True))
    assert [rung.video.bitrate for rung in ladder] == [256, 512, 512, 600]


def test_all_have_the_frame_rate_of_the_first():
    """As MPS does; else their segments could not begin at the same times."""
    streams = (
        Rung(VideoTemplate(fps=59, fps_denominator=2, height=240), None),
        Rung(VideoTemplate(fps=25, height=360), None),
    )
    ladder = rungs(streams, source(video()), NO_LARGER)
    assert {(rung.video.fps, rung.video.fps_denominator) for rung in ladder} == {(59, 2)}


def test_a_silent_source_has_no_sound():
    assert {rung.audio for rung in rungs(PRESET, source(video(), sounds=0), NO_LARGER)} == {None}


def test_sound_alone_is_encoded_once_for_each_setting():
    streams = (*PRESET, Rung(VideoTemplate(height=240), AudioTemplate(codec="aac", bitrate=128)))
    ladder = rungs(streams, source(None), NO_LARGER)
    assert [(rung.video, rung.audio.bitrate) for rung in ladder] == [(None, 48), (None, 128)]


def test_equal_renditions_are_made_once():
    ladder = rungs((PRESET[0], PRESET[0], PRESET[1]), source(video()), NO_LARGER)
    assert len(ladder) == 2


RHYTHMS = [
    # fps, source's rate, gop, unit, hls_time -> key frames, segments; as fractions
    pytest.param((24, 1), "25", 0, "frame", 6, Fraction(2), Fraction(6), id="24"),
    pytest.param((59, 2), "25", 0, "frame", 6, Fraction(118, 59), Fraction(354, 59), id="29.5"),
    pytest.param(
        (0, 1), "24000/1001", 0, "frame", 6, Fraction(2), Fraction(6), id="as the source, whose rate may vary"
    ),
    pytest.param((25, 1), "25", 100, "frame", 10, Fraction(4), Fraction(8), id="a GOP in frames"),
    pytest.param((25, 1), "25", 5, "second", 4, Fraction(4), Fraction(4), id="a GOP longer than segments"),
    pytest.param((25, 1), "25", 1, "second", 5, Fraction(1), Fraction(5), id="a GOP in seconds"),
]


@pytest.mark.parametrize(("fps", "rate", "gop", "unit", "hls_time", "key_s", "segment_s"), RHYTHMS)
def test_segments_are_whole_numbers_of_gops(fps, rate, gop, unit, hls_time, key_s, segment_s):
    """Never later than the picture that they begin with, and at most two microseconds earlier."""
    template = VideoTemplate(fps=fps[0], fps_denominator=fps[1], gop=gop, gop_unit=unit, hls_time=hls_time)
    rhythm = Rhythm.of(template, video(rate=rate))
    for found, exact in ((rhythm.key_every_s, key_s), (rhythm.segment_s, segment_s)):
        assert 0 <= exact - Fraction(found) < Fraction(2, 1_000_000)


def test_segments_of_sound_have_the_length_of_the_template():
    assert Rhythm.of(None, None) == Rhythm(0.0, 6.0)
