"""What is measured for an output, as plain data: before it is encoded (loudness, CRF search) and afterwards (scores).

Commands may contain slots: `{crf}`, `{loudness0}`. What is measured fills them in. They are in our own arguments only, never
in a user's text.
"""

from __future__ import annotations

from typing import Literal

from mps_dagster.frozen import Facts

Argv = tuple[str, ...]
Metric = Literal["vmaf", "xpsnr"]

CRF = "{crf}"
THREADS = "{threads}"
"""A host's cores; not in the plan, as an output is the same on every host."""
GAIN = "{gain}"
"""Of a loudness trial."""
SCORES, TIMES = "scores.txt", "times.txt"
"""Work-folder files of a scoring: a score per picture, and each picture's time."""
BEFORE, AFTER = "before.jpg", "after.jpg"
"""Work-folder files of a comparison."""
TRIAL = "loudness.mka"
"""Work-folder file of a loudness trial."""


class Scoring(Facts):
    """Compares an encoded file with the picture that its encoder was given, or with the source's."""

    command: Argv
    metric: Metric
    against: Literal["output", "source"]
    size: tuple[int, int]
    """Of the compared pictures."""
    duration_s: float


class Sample(Facts):
    """A part of the source, encoded with a CRF and scored."""

    encode: Argv
    scoring: Scoring


class CrfSearch(Facts):
    """Finds the CRF with which an encoder reaches a VMAF score."""

    target: float
    first: float
    lowest: float
    highest: float
    step: float
    """CRFs are multiples of it."""
    samples: tuple[Sample, ...]


class LoudnessSearch(Facts):
    """Finds the gain with which an encoded audio track has a loudness."""

    target_lufs: float
    true_peak_db: float
    sample_rate_hz: int
    slot: str
    """Where the filters go in the plan's commands."""
    measure: Argv
    """Of the source's track, as it is before the gain."""
    trial: Argv
    """Encodes the track alone, with the filters at `GAIN`."""
    measure_trial: Argv
    measure_output: Argv
    duration_s: float


def fill(argv: Argv, values: dict[str, str]) -> Argv:
    """The command with the slots filled in."""

    def filled(part: str) -> str:
        for slot, value in values.items():
            part = part.replace(slot, value)
        return part

    return tuple(filled(part) for part in argv)
