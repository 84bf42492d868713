"""Gains and limiters, from what the meter says."""

from __future__ import annotations

import pytest

from mps_dagster.ffmpeg.loudness import Gain, Level, Trial, best_trial, next_gain, summaries
from mps_dagster.ffmpeg.measures import LoudnessSearch

SEARCH = LoudnessSearch(
    target_lufs=-23, true_peak_db=-1, sample_rate_hz=48_000, slot="{loudness0}", measure=(), trial=(), measure_trial=(),
    measure_output=(), duration_s=1,
)  # fmt: skip
SUMMARY = """[Parsed_ebur128_0 @ 0x7f] Summary:

  Integrated loudness:
    I:         {0} LUFS
    Threshold: -35.1 LUFS

  Loudness range:
    LRA:        15.8 LU
    Threshold: -44.7 LUFS
    LRA low:   -36.5 LUFS
    LRA high:  -20.7 LUFS

  True peak:
    Peak:       {1} dBFS
"""


def sound(lufs: float | None, peak: float | None) -> Level:
    return Level(lufs=lufs, true_peak_db=peak, range_lu=0)


@pytest.mark.parametrize(
    ("lufs", "peak", "meant"),
    [("-23.3", "-2.7", (-23.3, -2.7)), ("-70.0", "-inf", (None, None)), ("-70.0", "-80.1", (None, -80.1))],
)
def test_the_meter_is_read(lufs, peak, meant):
    [read] = summaries(SUMMARY.format(lufs, peak))
    assert (read.lufs, read.true_peak_db) == meant
    assert read.range_lu == 15.8


def test_a_track_without_samples_is_silent():
    assert summaries("Output file is empty, nothing was encoded") == [Level(lufs=None, true_peak_db=None, range_lu=0)]


@pytest.mark.parametrize(
    ("source", "trials", "expected"),
    [
        pytest.param(sound(-30, -10), [], Gain(7), id="one gain, if its peaks are low enough"),
        pytest.param(sound(-14, 0), [], Gain(-9), id="louder ones are lowered"),
        pytest.param(sound(-30, -3), [], Gain(7, -1), id="peaks that would be too high are limited"),
        pytest.param(sound(-60, -3), [], Gain(22, -1), id="but not by more than 20 dB"),
        pytest.param(sound(None, None), [], None, id="silence is left alone"),
        pytest.param(sound(-30, -10), [(Gain(7), sound(-23.1, -3))], None, id="near enough"),
        pytest.param(sound(-30, -10), [(Gain(7), sound(-24, -3))], Gain(8), id="what an encoder takes is given back"),
        pytest.param(sound(-30, -8), [(Gain(7), sound(-23, -0.5))], Gain(7, -1.6), id="peaks of the encoder count"),
        pytest.param(sound(-30, -3), [(Gain(7, -1), sound(-25, -1))], Gain(9, -1), id="what a limiter takes is given back"),
        pytest.param(
            sound(-30, -3), [(Gain(7, -1), sound(-25, -1)), (Gain(9, -1), sound(-24, -1))], Gain(11, -1),
            id="by its own slope",
        ),
    ],
)  # fmt: skip
def test_the_next_gain(source, trials, expected):
    gain = next_gain(SEARCH, source, [Trial(*trial) for trial in trials])
    assert gain == expected


def test_a_peak_counts_more_than_the_loudness():
    near, safe = Trial(Gain(7), sound(-23, 0.5)), Trial(Gain(6, -1), sound(-23.6, -1))
    assert best_trial(SEARCH, [near, safe]) == safe


def test_filters():
    assert Gain().filters(48_000) == "anull"
    assert Gain(-4.5).filters(48_000) == "volume=-4.50dB"
    limited = (
        "volume=3.00dB,aresample=192000,alimiter=limit=0.89125:attack=5:release=100:level=0:latency=1,aresample=44100"
    )
    assert Gain(3, -1).filters(44_100) == limited
