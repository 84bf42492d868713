"""Loudness by EBU R 128: an output's track gets the gain that brings it to the target, and a limiter where peaks need one.

One gain for the whole track keeps its dynamics; that is loudnorm's linear mode. Where peaks would be higher than allowed,
loudnorm changes the gain all the time, and misses the target nevertheless. A limiter touches only the peaks, and its loss of
loudness is measured and given back. The trials are encoded as the output is, because lossy codecs move peaks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ffmpeg
from pydantic import Field

from mps_dagster.ffmpeg.codecs import Options
from mps_dagster.ffmpeg.measures import GAIN, TRIAL, Argv, LoudnessSearch
from mps_dagster.ffmpeg.picture import Section, Stream, arguments
from mps_dagster.frozen import Facts
from mps_dagster.media.info import AudioStream

CLOSE_LU = 0.15
TOLERANCE_LU = 0.5
MAX_TRIALS = 6
MOST_LIMITED_DB = 20.0
"""A track whose peaks would have to be lowered by more stays quieter than the target: it would be distorted."""
MARGIN_DB = 0.1
SILENT_LUFS = -70.0
"""The gate of R 128: what is quieter does not count."""
OVERSAMPLED_HZ = 192_000
"""The limiter sees samples; at this rate, they are as high as the peaks between them."""
_METER = "ebur128=peak=true:framelog=quiet"
_SUMMARY = re.compile(r"I:\s+(\S+) LUFS.*?LRA:\s+(\S+) LU\b.*?Peak:\s+(\S+) dBFS", re.DOTALL)


class Loudness(Facts):
    """The loudness to bring every track to."""

    target_lufs: float = Field(
        -23.0, ge=-50, le=-5, description="Integrated loudness; -23 in European broadcasts, -14 to -16 on the web."
    )
    true_peak_db: float = Field(-1.0, ge=-9, le=0, description="Highest true peak of the output, dBTP.")


class Level(Facts):
    """What a meter says of a track."""

    lufs: float | None
    """Integrated loudness; None = silent, or shorter than 0.4 s."""
    true_peak_db: float | None
    range_lu: float


@dataclass(frozen=True, slots=True)
class Gain:
    """The filters between a track and its encoder."""

    gain_db: float = 0.0
    ceiling_db: float | None = None
    """Of the limiter; None without."""

    def filters(self, sample_rate_hz: int) -> str:
        if not self.gain_db and self.ceiling_db is None:
            return "anull"
        volume = f"volume={self.gain_db:.2f}dB"
        if self.ceiling_db is None:
            return volume
        # level=0: no automatic gain. latency=1: the sound stays where it was.
        limiter = f"alimiter=limit={10 ** (self.ceiling_db / 20):.5f}:attack=5:release=100:level=0:latency=1"
        return f"{volume},aresample={OVERSAMPLED_HZ},{limiter},aresample={sample_rate_hz}"


@dataclass(frozen=True, slots=True)
class Trial:
    gain: Gain
    level: Level

    def error_lu(self, search: LoudnessSearch) -> float:
        """How far it is from the target; positive if it is too quiet."""
        return search.target_lufs - (self.level.lufs if self.level.lufs is not None else SILENT_LUFS)

    def overshoot_db(self, search: LoudnessSearch) -> float:
        peak = self.level.true_peak_db
        return max(0.0, peak - search.true_peak_db) if peak is not None else 0.0


def loudness_search(
    loudness: Loudness, source: Section, track: AudioStream, number: int, *,
    filters: Sequence[str], options: Options, output: Stream, duration_s: float,
) -> LoudnessSearch:  # fmt: skip
    """For one track: `filters` come before the gain, `options` are its encoder's, `output` is the file with all tracks."""
    origin, slot = source.origin[str(track.index)], f"{{loudness{number}}}"
    trial = ffmpeg.output(
        origin, f"file:{TRIAL}", f="matroska", map_metadata=-1, **{**options, "filter:a:0": ",".join((*filters, GAIN))}
    )
    encoded = ffmpeg.input(f"file:{TRIAL}", f="matroska", protocol_whitelist="file,pipe")["a:0"]
    return LoudnessSearch(
        target_lufs=loudness.target_lufs, true_peak_db=loudness.true_peak_db, slot=slot,
        sample_rate_hz=int(options.get("ar") or track.sample_rate_hz),
        measure=_metered(origin, *filters), trial=arguments(trial), measure_trial=_metered(encoded),
        measure_output=_metered(output[f"a:{number}"]), duration_s=duration_s,
    )  # fmt: skip


def summaries(stderr: str) -> list[Level]:
    """What each meter of a process says at its end. Where nothing was to be heard, there was no meter."""
    found = _SUMMARY.findall(stderr) or [("-inf", "0", "-inf")]
    return [
        Level(
            lufs=float(lufs) if float(lufs) > SILENT_LUFS else None,
            true_peak_db=float(peak) if peak != "-inf" else None,
            range_lu=float(range_lu),
        )
        for lufs, range_lu, peak in found
    ]


def next_gain(search: LoudnessSearch, source: Level, trials: Sequence[Trial]) -> Gain | None:
    """The filters to try next; None = the last trial, or an earlier one, is as good as it gets."""
    if source.lufs is None or source.true_peak_db is None:
        return None
    if not trials:
        gain_db = round(search.target_lufs - source.lufs, 2)
        is_linear = source.true_peak_db + gain_db <= search.true_peak_db
        return _within(source, Gain(gain_db, None if is_linear else search.true_peak_db))
    last = trials[-1]
    error, overshoot = last.error_lu(search), last.overshoot_db(search)
    if (abs(error) <= CLOSE_LU and not overshoot) or len(trials) >= MAX_TRIALS:
        return None
    ceiling = last.gain.ceiling_db
    if overshoot:
        ceiling = (search.true_peak_db if ceiling is None else ceiling) - overshoot - MARGIN_DB
    gain = _within(source, Gain(round(last.gain.gain_db + error / _slope(trials), 2), ceiling))
    return gain if gain != last.gain else None


def best_trial(search: LoudnessSearch, trials: Sequence[Trial]) -> Trial:
    """The nearest to the target of those whose peak is as asked for; without such a one, that with the lowest peak."""
    return min(trials, key=lambda trial: (trial.overshoot_db(search), abs(trial.error_lu(search))))


def track_facts(source: Level, gain: Gain) -> dict[str, Any]:
    """A track in `facts["loudness"]` of a result, before it is encoded."""
    ceiling, peak = gain.ceiling_db, source.true_peak_db
    limited = 0.0 if ceiling is None or peak is None else max(0.0, peak + gain.gain_db - ceiling)
    return {"input": source.model_dump(), "gain_db": gain.gain_db, "limited_db": round(limited, 1)}


def output_facts(search: LoudnessSearch, output: Level) -> dict[str, Any]:
    """What is added once it is encoded."""
    trial = Trial(Gain(), output)
    reached = abs(trial.error_lu(search)) <= TOLERANCE_LU and trial.overshoot_db(search) <= MARGIN_DB
    return {"output": output.model_dump(), "reached": reached}


def _metered(track: Stream, *filters: str) -> Argv:
    # The meter's summary is a message of level info.
    chain = ",".join((*filters, _METER))
    return arguments(ffmpeg.output(track, "-", f="null", loglevel="info", **{"filter:a:0": chain}))


def _within(source: Level, gain: Gain) -> Gain:
    """With a gain that lowers no peak by too much."""
    if gain.ceiling_db is None or source.true_peak_db is None:
        return gain
    return Gain(min(gain.gain_db, round(gain.ceiling_db + MOST_LIMITED_DB - source.true_peak_db, 2)), gain.ceiling_db)


def _slope(trials: Sequence[Trial]) -> float:
    """LU of loudness per dB of gain: 1 without a limiter, less with one."""
    if len(trials) < 2:
        return 1.0
    (before, after) = trials[-2:]
    steps = after.gain.gain_db - before.gain.gain_db
    if (
        not steps
        or before.level.lufs is None
        or after.level.lufs is None
        or before.gain.ceiling_db != after.gain.ceiling_db
    ):
        return 1.0
    return min(1.0, max(0.25, (after.level.lufs - before.level.lufs) / steps))
