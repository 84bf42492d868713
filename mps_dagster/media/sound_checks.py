"""Faults of a sound track, from the readings of its windows of 0.1 s."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mps_dagster.media.info import AudioStream
from mps_dagster.media.inspection import Finding, Thresholds, confidence
from mps_dagster.media.readings import Part, Reading, parts

WINDOW_S = 0.1
LEAST_S = 3.0
"""A shorter track has no loudness: it is measured over windows of three seconds."""
FULL_SCALE_DB = -0.1
AUDIBLE_DB = -50.0
"""The phase of noise below this level says nothing."""
UNMEASURED_LUFS = -69.0
"""EBU R128 gives -70 if nothing is loud enough to be measured, which is silence."""


def silent_parts(sound: list[Reading], track: AudioStream, thresholds: Thresholds) -> Iterator[Finding]:
    """Silence at the very start and end may be a little longer."""
    for part in _parts(sound, track, lambda window: _peak_db(window) <= thresholds.silence_db):
        at_edge = part.start_s <= track.start_s + WINDOW_S or part.end_s >= track.end_s - WINDOW_S
        least_s = max(thresholds.silence_s, thresholds.edge_s if at_edge else 0.0)
        # A window that is silent in part is not silent.
        if part.length_s >= least_s - 2 * WINDOW_S:
            yield Finding(
                check="silence", start_s=part.start_s, end_s=part.end_s, stream=track.index,
                confidence=confidence(part.length_s / least_s - 1), message=f"silent for {part.length_s:.1f} s",
            )  # fmt: skip


def loudness(sound: list[Reading], track: AudioStream, thresholds: Thresholds) -> Iterator[Finding]:
    """Of the whole track: quiet and loud parts are normal."""
    # The last windows may be too short to be measured.
    measured = next((lufs for window in reversed(sound) if (lufs := window.get("r128.I")) == lufs), None)
    if measured is None or measured <= UNMEASURED_LUFS or track.duration_s < LEAST_S:
        return
    whole = {"start_s": track.start_s, "end_s": track.end_s, "stream": track.index}
    message = f"loudness {measured:.1f} LUFS"
    if measured < thresholds.quiet_lufs:
        yield Finding(
            check="quiet", confidence=confidence((thresholds.quiet_lufs - measured) / 10), message=message, **whole
        )
    if measured > thresholds.loud_lufs:
        yield Finding(
            check="loud", confidence=confidence((measured - thresholds.loud_lufs) / 5), message=message, **whole
        )


def clipped_parts(sound: list[Reading], track: AudioStream, thresholds: Thresholds) -> Iterator[Finding]:
    """Peaks at full scale that are flat."""

    def is_clipped(window: Reading) -> bool:
        return _peak_db(window) >= FULL_SCALE_DB and _flatness_db(window) >= thresholds.clipping_db

    for part in _parts(sound, track, is_clipped, may_miss=lambda _: True):
        if part.length_s >= thresholds.clipping_s - WINDOW_S / 2:
            flatness = part.mean("astats.Overall.Flat_factor")
            yield Finding(
                check="clipping", start_s=part.start_s, end_s=part.end_s, stream=track.index,
                confidence=confidence(flatness / max(1.0, thresholds.clipping_db) - 1),
                message=f"clipped for {part.length_s:.1f} s",
            )  # fmt: skip


def opposite_parts(sound: list[Reading], track: AudioStream, thresholds: Thresholds) -> Iterator[Finding]:
    """Left and right of opposite phase."""

    def is_opposite(window: Reading) -> bool:
        return window.get("aphasemeter.phase") <= thresholds.phase and _peak_db(window) >= AUDIBLE_DB

    for part in _parts(sound, track, is_opposite):
        if part.length_s >= thresholds.phase_s - WINDOW_S:
            phase = part.mean("aphasemeter.phase")
            yield Finding(
                check="phase", start_s=part.start_s, end_s=part.end_s, stream=track.index,
                confidence=confidence((thresholds.phase - phase) / (1 + thresholds.phase) if thresholds.phase > -1 else 1),
                message=f"left and right are opposite (correlation {phase:.2f})",
            )  # fmt: skip


def _parts(
    sound: list[Reading],
    track: AudioStream,
    holds: Callable[[Reading], bool],
    may_miss: Callable[[Reading], bool] = lambda _: False,
) -> Iterator[Part]:
    return parts(sound, holds, end_s=track.end_s, step_s=WINDOW_S, may_miss=may_miss)


def _peak_db(window: Reading) -> float:
    return window.get("astats.Overall.Peak_level")


def _flatness_db(window: Reading) -> float:
    return window.get("astats.Overall.Flat_factor")
