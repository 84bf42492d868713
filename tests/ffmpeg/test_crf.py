"""The search of a CRF, on curves like those of real encoders."""

from __future__ import annotations

import itertools
import math

import pytest

from mps_dagster.ffmpeg.crf import MAX_TRIES, best_crf, next_crf, sample_parts
from mps_dagster.ffmpeg.measures import CrfSearch
from mps_dagster.media.timerange import Span, TimeRange

CURVES = {
    "easy": lambda crf: 99 - math.exp((crf - 18) / 8),
    "steep": lambda crf: 99 - 3.5 * max(0, crf - 14),
    "flat": lambda crf: 98 - 0.2 * max(0, crf - 15),
    "noisy": lambda crf: 97 - 0.8 * (crf - 12) + 0.3 * math.sin(7 * crf),
}


def search(target: float = 93, step: float = 0.5) -> CrfSearch:
    return CrfSearch(target=target, first=23, lowest=12, highest=42, step=step, samples=())


def searched(curve, of: CrfSearch) -> dict[float, float]:
    tried: dict[float, float] = {}
    while (crf := next_crf(of, tried)) is not None:
        tried[crf] = curve(crf)
    return tried


@pytest.mark.parametrize("target", [80, 88, 93, 95])
@pytest.mark.parametrize("name", CURVES)
def test_few_tries_reach_the_target(name, target):
    of = search(target)
    tried = searched(CURVES[name], of)
    assert len(tried) <= MAX_TRIES
    reachable = CURVES[name](of.highest) <= target
    if reachable:
        assert tried[best_crf(of, tried)] == pytest.approx(target, abs=1)
    else:
        assert best_crf(of, tried) == of.highest


@pytest.mark.parametrize(("score", "crf"), [(60, 12), (97, 42)], ids=["never good enough", "always too good"])
def test_a_target_out_of_reach_ends_at_the_bounds(score, crf):
    of = search()
    tried = searched(lambda _: score, of)
    assert crf in tried
    assert len(tried) <= MAX_TRIES


def test_of_crfs_with_one_score_the_cheaper_is_taken():
    assert best_crf(search(), {20.0: 92.5, 21.0: 92.5, 19.0: 95.0}) == 21.0


@pytest.mark.parametrize(
    ("start_s", "end_s", "count", "sampled_s"),
    [(0, 20, 1, 20), (10, 75, 1, 65), (0, 120, 5, 40), (0, 600, 20, 160), (0, 7200, 25, 200)],
)
def test_short_videos_are_tried_whole_and_long_ones_at_many_places(start_s, end_s, count, sampled_s):
    part = TimeRange(start_s, end_s, Span(0, 10_000))
    parts = sample_parts(part)
    assert len(parts) == count
    assert sum(each.duration_s for each in parts) == pytest.approx(sampled_s)
    assert parts[0].start_s >= start_s
    assert parts[-1].end_s <= end_s
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(parts))
