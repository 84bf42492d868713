"""Estimates of what an output takes on disk."""

from __future__ import annotations

import pytest

from mps_dagster.ffmpeg.size import audio_bytes, pictures_bytes, video_bytes
from mps_dagster.media.info import AudioStream

HD = (1920, 1080)
STEREO = AudioStream(index=1, codec="aac", sample_rate_hz=48_000, channels=2)


@pytest.mark.parametrize(
    ("options", "megabytes"),
    [
        pytest.param({"b:v": "4000k", "maxrate": "6000k"}, 30, id="the bitrate, not its ceiling"),
        pytest.param({"crf": 23}, 38.9, id="by quality"),
        pytest.param({"crf": 29}, 19.4, id="six more halve it"),
        pytest.param({"crf": 23, "maxrate": "1000k"}, 7.5, id="at most the ceiling"),
        pytest.param({"crf": 23, "b:v": "2000k"}, 15, id="vp9's ceiling"),
        pytest.param({"crf": 23, "b:v": 0}, 38.9, id="vp9 without a ceiling"),
    ],
)
def test_video_by_bitrate_or_quality(options, megabytes):
    """A minute of 1080p with 25 frames per second."""
    assert video_bytes(options, HD, 1500, 60, default_crf=23) / 1e6 == pytest.approx(megabytes, rel=0.01)


@pytest.mark.parametrize(
    ("options", "megabytes"),
    [
        pytest.param({"c:a": "aac", "b:a": "128k"}, 0.96, id="aac"),
        pytest.param({"c:a": "pcm_s24le"}, 17.28, id="as the source has it"),
        pytest.param({"c:a": "pcm_s16le", "ac": 1, "ar": 8000}, 0.96, id="resampled"),
        pytest.param({"c:a": "flac"}, 8.06, id="flac"),
    ],
)
def test_audio_by_bitrate_or_samples(options, megabytes):
    """A minute."""
    assert audio_bytes(options, STEREO, 60) / 1e6 == pytest.approx(megabytes, rel=0.01)


def test_pictures_by_pixels():
    """Ten of 1080p as JPEG."""
    assert pictures_bytes("jpg", HD, 10) / 1e6 == pytest.approx(6.2, abs=0.1)
