"""What is reported of scores, from the files that ffmpeg's filters write."""

from __future__ import annotations

import pytest

from mps_dagster.ffmpeg.measures import SCORES, TIMES
from mps_dagster.ffmpeg.quality import Scores, pooled, reference_size

VMAF = "Frame,integer_motion2,vmaf,\n0,0.0,97.5,\n5,1.0,80.0,\n10,1.2,60.0,\n"
XPSNR = """n:    1  XPSNR y: inf  XPSNR u: inf  XPSNR v: inf
n:    2  XPSNR y: 35.5  XPSNR u: 37.0  XPSNR v: 33.25

XPSNR average, 2 frames  y: 35.5  u: 37.0  v: 33.25  (minimum: 33.25)
"""


@pytest.mark.parametrize(
    ("canvas", "short_side", "size"),
    [
        ((1280, 720), 1080, (1920, 1080)),
        ((3840, 2160), 1080, (1920, 1080)),
        ((720, 1280), 1080, (1080, 1920)),
        ((640, 480), 1080, (1440, 1080)),
        ((480, 480), 1080, (1080, 1080)),
        ((1920, 800), 1080, (1920, 800)),
        ((320, 180), 2160, (3840, 2160)),
        ((4096, 2), 1080, (1920, 2)),
    ],
)
def test_pictures_are_compared_as_on_a_screen_of_1080_lines(canvas, short_side, size):
    assert reference_size(canvas, short_side) == size


def test_scores_of_every_fifth_picture_have_its_time(tmp_path):
    (tmp_path / SCORES).write_text(VMAF)
    (tmp_path / TIMES).write_text("".join(f"{1.4 + number / 5}\n" for number in range(11)))
    scores = Scores.read("vmaf", tmp_path)
    assert scores.values == (97.5, 80.0, 60.0)
    assert scores.times_s == pytest.approx((0, 1, 2))
    assert scores.worst_second == (2, 60.0)
    assert scores.mean == pytest.approx(79.1667, abs=1e-3)
    assert scores.harmonic_mean == pytest.approx(3 / (1 / 98.5 + 1 / 81 + 1 / 61) - 1)


def test_equal_pictures_have_100_decibels_and_others_those_of_their_worst_plane(tmp_path):
    (tmp_path / SCORES).write_text(XPSNR)
    (tmp_path / TIMES).write_text("0\n0.04\n")
    assert Scores.read("xpsnr", tmp_path).values == (100.0, 33.25)


def test_one_picture_of_a_hundred_may_be_worse_than_p1():
    scores = Scores(tuple(number / 25 for number in range(200)), tuple(float(number) for number in range(200)))
    assert scores.p1 == 1.0


@pytest.mark.parametrize(
    ("rate", "pictures", "worst"),
    [(25, 50, (1, 20.0)), (25, 60, (1, 20.0)), (25, 70, (2, 20.0)), (25, 10, (0, 20.0)), (1, 1, (0, 20.0))],
    ids=["2 s", "2.4 s", "2.8 s", "0.4 s", "one picture"],
)
def test_a_second_that_has_less_than_half_counts_to_the_one_before(rate, pictures, worst):
    times = tuple(number / rate for number in range(pictures))
    values = tuple(90.0 if at < worst[0] else 20.0 for at in times)
    assert Scores(times, values).worst_second == worst


def test_samples_count_by_their_pictures():
    assert pooled([Scores((0.0,), (90.0,)), Scores((0.0, 1.0, 2.0), (50.0, 50.0, 50.0))]) == 60
