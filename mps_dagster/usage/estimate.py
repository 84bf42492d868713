"""What outputs will cost, from what those took that were made alike: the median of the earlier ratios, and its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mps_dagster.media.info import MediaInfo
from mps_dagster.usage.rows import settings_of, source_facts
from mps_dagster.workflow.model import Task

HISTORY_DAYS = 90
SAMPLES = 200
"""Of the newest outputs that were made alike."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimated number."""

    value: float
    low: float
    high: float
    """Between the 10th and the 90th percentile of what the earlier ones took."""
    error: float | None
    """The median error of the same estimate for each of the earlier ones, from the others, as a share of its true value; None
    with fewer than two."""
    scale: str
    """What it grows with, of the source."""
    beyond: bool
    """Whether the source is larger or smaller than all of theirs, so that the error may be larger, too."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one output. Without samples there is nothing to estimate it from."""

    task: str
    output: str
    samples: int
    cpu_s: Figure | None = None
    size_bytes: Figure | None = None


def estimates(table: pd.DataFrame, tasks: Sequence[Task], media: MediaInfo) -> list[Estimate]:
    """An estimate for each output of the tasks on this source. `table` has the rows of earlier runs."""
    history = _outputs(table)
    source = _scales(pd.DataFrame([source_facts(media)]))
    return [
        _estimate(history, source, task.name, spec.label, settings_of(task.type, spec.model_dump(mode="json")))
        for task in tasks
        for spec in task.specs
    ]


def _outputs(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each output that was made, with all of its renditions."""
    made = table[(table["outcome"] == "made") & (table["source_bytes"] > 0)]
    facts = dict.fromkeys(("settings", "source_s", "source_pixels", "source_fps"), "first")
    sums = dict.fromkeys(("cpu_s", "output_bytes"), "sum")
    return made.groupby(["ended", "task_id", "task", "output"], as_index=False).agg({**facts, **sums})


def _scales(sources: pd.DataFrame) -> Mapping[str, pd.Series]:
    """What a figure may be in proportion to."""
    return {
        "seconds × pixels": sources["source_s"] * sources["source_pixels"] * sources["source_fps"],
        "seconds": sources["source_s"],
        "constant": pd.Series(1.0, index=sources.index),
    }


def _estimate(history: pd.DataFrame, source: Mapping[str, Any], task: str, output: str, settings: str) -> Estimate:
    alike = history[history["settings"] == settings].tail(SAMPLES)
    if alike.empty:
        return Estimate(task, output, 0)
    figures = [_figure(alike, source, column) for column in ("cpu_s", "output_bytes")]
    return Estimate(task, output, len(alike), *figures)


def _figure(alike: pd.DataFrame, source: Mapping[str, Any], column: str) -> Figure:
    """By length and size of the picture, unless another scale halves the error: a sprite need not cost more of a long film."""
    true, best = alike[column].to_numpy(float), None
    for name, sizes in _scales(alike).items():
        size = float(source[name].iloc[0])
        if size <= 0 or (sizes <= 0).any():
            continue
        ratios = true / sizes.to_numpy(float)
        low, value, high = np.quantile(ratios, (0.1, 0.5, 0.9)) * size
        beyond = not sizes.min() <= size <= sizes.max()
        figure = Figure(float(value), float(low), float(high), _error(ratios), name, beyond)
        if best is None or (figure.error is not None and best.error and figure.error < best.error / 2):
            best = figure
    assert best is not None  # noqa: S101  (the last scale is never zero)
    return best


def _error(ratios: np.ndarray) -> float | None:
    if len(ratios) < 2:
        return None
    others = np.array([np.median(np.delete(ratios, number)) for number in range(len(ratios))])
    known = ratios > 0
    # The estimate over the true value, which is the same whatever the scale.
    return float(np.median(np.abs(others[known] / ratios[known] - 1))) if known.any() else 0.0
