"""Where chunks begin and end: always on the output's frames and key frames."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from mps_dagster.ffmpeg.chunks import Chunking, Grid, chunks

NTSC = Fraction(30_000, 1001)
SECONDS = Grid(Fraction(1))
BY_60 = Chunking(600, 60)


def starts(end_s: float, grid: Grid = SECONDS, chunking: Chunking = BY_60, start_s: float = 0) -> list[float]:
    return [float(chunk.start) for chunk in chunks(start_s, end_s, grid, chunking)]


@pytest.mark.parametrize(
    ("end_s", "chunking", "expected"),
    [
        pytest.param(599, BY_60, [], id="short"),
        pytest.param(3600, Chunking(0, 60), [], id="switched off"),
        pytest.param(600, BY_60, [60.0 * n for n in range(10)], id="even"),
        pytest.param(640, Chunking(600, 120), [0, 128, 256, 384, 512], id="no short last chunk"),
        pytest.param(700, Chunking(600, 3600), [], id="shorter than a chunk"),
    ],
)
def test_chunks_are_about_equally_long(end_s, chunking, expected):
    assert starts(end_s, chunking=chunking) == expected


@pytest.mark.parametrize(
    ("grid", "frames"),
    [
        pytest.param(Grid(Fraction(6), True, rate=Fraction(25), converted=True), Fraction(25), id="25"),
        pytest.param(Grid(Fraction(6), True, rate=NTSC, converted=True), NTSC, id="29.97"),
        pytest.param(
            Grid(Fraction(250, 24), rate=Fraction(24), converted=True), Fraction(24), id="a GOP of 250 frames"
        ),
        pytest.param(Grid(Fraction(6), True, rate=NTSC), NTSC, id="rounded times"),
    ],
)
def test_every_border_is_the_first_frame_at_a_key_time(grid, frames):
    pieces = chunks(0, 3600, grid, BY_60)
    for chunk in pieces[1:]:
        number = chunk.start * frames
        assert number.denominator == 1
        key = round(chunk.start / grid.key_every_s) * grid.key_every_s
        assert (number - 1) / frames < key <= chunk.start
    for before, after in pairwise(pieces):
        assert before.end == after.start


def test_trim_takes_every_frame_once():
    """By numbers of frames where a filter makes them; between two frames where times are rounded to them."""
    converted = chunks(0, 1200, Grid(Fraction(6), True, rate=Fraction(25), converted=True), Chunking(600, 400))
    assert [dict(chunk.bounds) for chunk in converted] == [
        {"end_pts": 10_050},
        {"start_pts": 10_050, "end_pts": 19_950},
        {"start_pts": 19_950},
    ]
    assert [chunk.frames for chunk in converted] == [0, 9900, 0]
    rounded = chunks(0, 1200, Grid(Fraction(1), rate=Fraction(24)), Chunking(600, 600))
    assert [dict(chunk.bounds) for chunk in rounded] == [{"end": "599.979167"}, {"start": "599.979167"}]
    kept = chunks(0, 1200, SECONDS, Chunking(600, 600))
    assert [dict(chunk.bounds) for chunk in kept] == [{"end": "600.000000"}, {"start": "600.000000"}]


def test_key_times_count_from_the_first_frame():
    grid = Grid(Fraction(6), True, zero=Fraction(1, 25), rate=Fraction(25), converted=True)
    [first, second] = chunks(0.04, 24, grid, Chunking(10, 12))
    assert (float(second.start), float(first.end)) == (12.04, 12.04)
    assert second.key_times == ("12.020000", "18.020000")


def test_an_encoder_with_a_bitrate_to_keep_begins_before():
    grid = Grid(Fraction(6), True, rate=NTSC, converted=True, warm_up=True)
    [first, second] = chunks(0, 1200, grid, Chunking(600, 600))
    assert (first.begins, first.dropped_before) == (0, "")
    assert second.bounds["start_pts"] == second.start * NTSC - 120
    assert float(second.dropped_before) == pytest.approx(float(second.start - 1 / (2 * NTSC)), abs=1e-6)


def test_a_picture_that_comes_late_is_cut_only_where_it_is():
    assert starts(1200, chunking=Chunking(600, 300), start_s=600) == [0, 900]
