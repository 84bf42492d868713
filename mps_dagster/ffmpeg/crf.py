"""The search for the CRF with which an encoder reaches a VMAF score, as ab-av1 does it: on samples, by interpolation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from mps_dagster.ffmpeg.measures import CrfSearch
from mps_dagster.media.timerange import TimeRange

SAMPLE_S = 8.0
SAMPLE_EVERY_S = 30.0
MIN_SAMPLES, MAX_SAMPLES = 5, 25
WHOLE_SHARE = 0.6
"""Samples of more than this share of a video cost as much as all of it."""
SUBSAMPLE, SUBSAMPLED_S = 5, 6.0
"""In samples of this length and more, every fifth picture is scored, which is much faster. Not every fourth: encoders
repeat a pattern of good and bad pictures, often every 4, 8 or 16."""
CLOSE = 0.3
"""A score that is this close to the target ends the search."""
TOLERANCE = 1.0
"""A score within this of the target has reached it."""
MAX_TRIES = 8
POINTS_PER_CRF = 1.5
"""How much a score falls per CRF, at first; measured on the samples from the second try on."""


def sample_parts(part: TimeRange) -> tuple[TimeRange, ...]:
    """The parts of a video that are tried: evenly spread, or all of a short one."""
    count = min(MAX_SAMPLES, max(MIN_SAMPLES, math.ceil(part.duration_s / SAMPLE_EVERY_S)))
    if count * SAMPLE_S >= WHOLE_SHARE * part.duration_s:
        return (part,)
    each = part.duration_s / count
    starts = (part.start_s + each * (number + 0.5) - SAMPLE_S / 2 for number in range(count))
    return tuple(TimeRange(start, start + SAMPLE_S, part.span) for start in starts)


def subsample(part: TimeRange) -> int:
    """Every how many pictures of a sample one is scored; a very short video has none to spare."""
    return SUBSAMPLE if part.duration_s >= SUBSAMPLED_S else 1


def next_crf(search: CrfSearch, tried: Mapping[float, float]) -> float | None:
    """The CRF to try next, by what was reached so far; None = the search is over."""
    if not tried:
        return search.first
    if abs(tried[best_crf(search, tried)] - search.target) <= CLOSE or len(tried) >= MAX_TRIES:
        return None
    candidates = (_rounded(search, crf) for crf in _estimates(search, tried))
    return next((crf for crf in candidates if crf not in tried), None)


def best_crf(search: CrfSearch, tried: Mapping[float, float]) -> float:
    """The tried CRF whose score is nearest to the target; of equal ones the cheaper."""
    return min(tried, key=lambda crf: (abs(tried[crf] - search.target), -crf))


def _estimates(search: CrfSearch, tried: Mapping[float, float]) -> Iterator[float]:
    """On the line through the two scores nearest to the target, as curves bend; then halfway between its two neighbours."""
    near, *others = sorted(tried, key=lambda crf: abs(tried[crf] - search.target))[:2]
    slope = (tried[others[0]] - tried[near]) / (others[0] - near) if others else -POINTS_PER_CRF
    # A flat or rising line leads nowhere, and a steep one hardly further.
    estimate = near + (search.target - tried[near]) / min(-0.2, max(-4.0, slope))
    above = max((crf for crf, score in tried.items() if score >= search.target), default=-math.inf)
    below = min((crf for crf, score in tried.items() if score < search.target), default=math.inf)
    if above < estimate < below:
        yield estimate
    if math.isfinite(below - above) and below - above > search.step:
        yield (above + below) / 2


def _rounded(search: CrfSearch, crf: float) -> float:
    return min(search.highest, max(search.lowest, round(crf / search.step) * search.step))
