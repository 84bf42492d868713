"""Sampling times and decoding methods."""

from __future__ import annotations

import pytest

from mps_dagster.media.info import VideoStream
from mps_dagster.media.sampling import clamp_time, decode_method, interval_times, percent_times


def stream(*, seconds: float = 60.0, key_gap: float = 2.0, start: float = 0.0, rate: int = 25) -> VideoStream:
    frames = max(1, round(seconds * rate))
    return VideoStream(
        index=0, codec="h264", width=1280, height=720, pixel_format="yuv420p", start_s=start,
        last_s=start + seconds - 1 / rate, duration_s=seconds, frames=frames, longest_key_gap_s=key_gap,
    )  # fmt: skip


def test_five_percent_gives_twenty_pictures():
    """Reference I.6; the first one is the first frame."""
    times = percent_times(stream(), 5)
    assert len(times) == 20
    assert times[0] == 0


def test_intervals_start_with_the_first_frame_and_end_with_the_video():
    """A video of 60 s has frames up to 59.96 s, so one every 10 s gives six pictures, not seven."""
    assert interval_times(stream(), 10) == (0, 10, 20, 30, 40, 50)


def test_a_video_shorter_than_the_interval_gives_one_picture():
    """There is always the first frame."""
    assert interval_times(stream(seconds=0.04), 10) == (0.0,)


@pytest.mark.parametrize(
    ("at", "expected"), [(-1.0, 0.5), (3.0, 3.0), (99.0, 60.46)], ids=["before", "inside", "after"]
)
def test_a_time_without_a_picture_becomes_the_nearest_one(at, expected):
    """Past the last frame, ffmpeg writes no picture but exits with 0."""
    assert clamp_time(stream(start=0.5), at) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("video", "times", "expected"),
    [
        pytest.param(stream(), (3.0,), "seek", id="one picture"),
        pytest.param(
            stream(seconds=300), tuple(range(0, 300, 10)), "keyframes", id="key frames much denser than samples"
        ),
        pytest.param(stream(key_gap=10), tuple(range(0, 60, 10)), "decode", id="too few key frames"),
        pytest.param(stream(seconds=3600, key_gap=10), (0.0, 5.0, 10.0), "seek", id="few samples of a long video"),
        pytest.param(stream(seconds=0.04), (0.0, 0.0), "seek", id="a clip of one frame"),
    ],
)
def test_the_cheapest_method_is_chosen(video, times, expected):
    """Key frames are enough only if they are at most half a step apart."""
    assert decode_method(video, times) == expected
