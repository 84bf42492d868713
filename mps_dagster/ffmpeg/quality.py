"""Scores of encoded video against the picture that its encoder was given, and what is reported of them.

Both are scaled to one size, as VMAF's model knows pictures of 1080 lines only: a small picture is judged as on a large screen.
Pictures are matched by their times from the first one, so the container's own clock and its rounding do not matter.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import ffmpeg
from pydantic import Field, model_validator

from mps_dagster.ffmpeg.colour import SCALER
from mps_dagster.ffmpeg.measures import SCORES, THREADS, TIMES, Metric, Scoring
from mps_dagster.ffmpeg.picture import Stream, arguments
from mps_dagster.frozen import Facts
from mps_dagster.media.geometry import Size

MODEL, MODEL_4K = "vmaf_v0.6.1", "vmaf_4k_v0.6.1"
BEST_DB = 100.0
"""XPSNR of equal pictures is infinite, which JSON cannot hold."""
_XPSNR = re.compile(r"XPSNR y:\s*(\S+)\s+XPSNR u:\s*(\S+)\s+XPSNR v:\s*(\S+)")


class Quality(Facts):
    """How the picture is scored after it was encoded."""

    metric: Metric = Field("vmaf", description="`vmaf` (0 to 100) or `xpsnr` (dB, much faster).")
    short_side: Annotated[int, Field(ge=360, le=2160)] = Field(
        1080, description="Size at which pictures are compared; more than 1440 uses VMAF's model for 4K screens."
    )
    against: Literal["output", "source"] = Field(
        "output",
        description="`output`: the picture that the encoder was given, so that only its own losses count; `source`: the picture "
        "before it was made smaller, so that outputs of several sizes can be compared.",
    )
    subsample: int = Field(1, ge=1, le=10, description="vmaf only: every n-th picture is scored.")

    @model_validator(mode="after")
    def _is_consistent(self) -> Quality:
        if self.metric == "xpsnr" and self.subsample > 1:
            raise ValueError("subsample is for vmaf only; xpsnr needs every picture")
        return self


@dataclass(frozen=True, slots=True)
class Picture:
    """A stream of pictures of one size."""

    stream: Stream
    size: Size


@dataclass(frozen=True, slots=True)
class Scores:
    """One score per compared picture, with its time from the first picture on."""

    times_s: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def read(cls, metric: Metric, folder: Path) -> Scores:
        """The scores that a command of `scoring` left in its work folder."""
        with (folder / SCORES).open() as file:
            numbered = list(_vmaf(file) if metric == "vmaf" else _xpsnr(file))
        with (folder / TIMES).open() as file:
            times = [float(line) for line in file]
        start = times[0] if times else 0.0
        kept = [(times[number] - start, value) for number, value in numbered if number < len(times)]
        return cls(tuple(at for at, _ in kept), tuple(value for _, value in kept))

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values) if self.values else math.nan

    @property
    def harmonic_mean(self) -> float:
        """libvmaf's: of the scores plus 1, as a score may be 0."""
        return len(self.values) / math.fsum(1 / (value + 1) for value in self.values) - 1

    @property
    def p1(self) -> float:
        """99 of 100 pictures are at least as good."""
        return sorted(self.values)[max(0, math.ceil(len(self.values) / 100) - 1)]

    @property
    def worst_second(self) -> tuple[int, float]:
        """Its start and its mean. Less than half a second at the end counts to the second before."""
        end_s = self.times_s[-1] * len(self.times_s) / max(1, len(self.times_s) - 1)
        last = max(0, round(end_s) - 1)
        seconds: dict[int, list[float]] = {}
        for at, value in zip(self.times_s, self.values, strict=True):
            seconds.setdefault(min(int(at), last), []).append(value)
        means = {second: math.fsum(values) / len(values) for second, values in seconds.items()}
        worst = min(means, key=lambda second: means[second])
        return worst, means[worst]


def reference_size(canvas: Size, short_side: int) -> Size:
    """The canvas's shape, as large as fits a 16:9 screen of so many lines (or columns, if upright)."""
    short, long = sorted(canvas)
    zoom = min(short_side / short, short_side * 16 / 9 / long)
    width, height = (max(2, 2 * round(side * zoom / 2)) for side in canvas)
    return width, height


def scoring(
    quality: Quality, reference: Picture, encoded: Picture, *, pixel_format: str, space: str, duration_s: float
) -> Scoring:
    """The command that compares the encoded picture with its reference."""
    size = reference_size(encoded.size, quality.short_side)
    # Some containers lose the tags, and an untagged picture would be taken for one with other colours.
    tagged = Picture(encoded.stream.filter("setparams", colorspace=space, range="tv"), encoded.size)
    compared = _compare([_aligned(picture, size, pixel_format) for picture in (tagged, reference)], quality)
    output = ffmpeg.output(
        compared, "-", f="null", fps_mode="passthrough", stats_enc_pre=TIMES, stats_enc_pre_fmt="{t}"
    )
    return Scoring(
        command=arguments(output), metric=quality.metric, against=quality.against, size=size, duration_s=duration_s
    )


def quality_facts(scored: Scoring, scores: Scores) -> dict[str, Any]:
    """`facts["quality"]` of a result. dB are logarithms already, so XPSNR has no harmonic mean."""
    second, score = scores.worst_second
    harmonic = {"harmonic_mean": round(scores.harmonic_mean, 2)} if scored.metric == "vmaf" else {}
    return {
        "metric": scored.metric, "mean": round(scores.mean, 2), **harmonic, "p1": round(scores.p1, 2),
        "worst_second": {"at_s": second, "score": round(score, 2)}, "pictures": len(scores.values),
        "compared_at": "{}x{}".format(*scored.size), "against": scored.against,
    }  # fmt: skip


def pooled(scores: Sequence[Scores]) -> float:
    """The mean of all pictures of several samples."""
    values = [value for each in scores for value in each.values]
    return math.fsum(values) / len(values) if values else math.nan


def _aligned(picture: Picture, size: Size, pixel_format: str) -> Stream:
    stream = picture.stream.filter("settb", "AVTB").filter("setpts", "PTS-STARTPTS")
    if size != picture.size:
        stream = stream.filter("scale", *size, flags=SCALER)
    return stream.filter("format", pixel_format)


def _compare(pictures: list[Stream], quality: Quality) -> Stream:
    # `nearest`: Matroska rounds times to 1 ms, so a picture's own partner may be a little later.
    if quality.metric == "xpsnr":
        return ffmpeg.filter(pictures, "xpsnr", stats_file=SCORES, ts_sync_mode="nearest")
    model = MODEL_4K if quality.short_side > 1440 else MODEL
    return ffmpeg.filter(
        pictures, "libvmaf", model=f"version={model}", n_subsample=quality.subsample, n_threads=THREADS,
        log_fmt="csv", log_path=SCORES, ts_sync_mode="nearest",
    )  # fmt: skip


def _vmaf(lines: Iterable[str]) -> Iterable[tuple[int, float]]:
    for row in csv.DictReader(lines):
        yield int(row["Frame"]), float(row["vmaf"])


def _xpsnr(lines: Iterable[str]) -> Iterable[tuple[int, float]]:
    """The worst of a picture's three planes, as ffmpeg's own summary has it."""
    found = (_XPSNR.search(line) for line in lines if line.startswith("n:"))
    for number, match in enumerate(match for match in found if match):
        yield number, min(BEST_DB, *(float(value) for value in match.groups()))
