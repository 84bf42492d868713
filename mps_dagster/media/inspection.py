"""What an inspection looks for (`Inspection`) and what it found (`Finding`, `Verdict`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from pydantic import Field

from mps_dagster.frozen import Facts
from mps_dagster.media.info import MediaInfo

Check = Literal[
    "black", "frozen", "blurred", "blocky", "black_borders", "dark", "bright", "silence", "quiet", "loud", "clipping",
    "phase", "doubled_frames", "dropped_frames", "gaps", "time_stamps", "format_changes", "unequal_lengths", "decode_errors",
]  # fmt: skip
CHECKS: tuple[Check, ...] = get_args(Check)
MAX_FINDINGS = 500
"""Of one report. A source with more is broken everywhere, and each run's record keeps its findings."""


class Thresholds(Facts):
    """Luma is that of 8-bit video, 16 (black) to 235 (white), whatever the source has. The defaults give no false alarm on
    the clips that they were tuned with, and find each fault of the tests."""

    edge_s: float = Field(
        3.0, ge=0, description="Black or silence of up to this length, in seconds, is usual at the start and the end."
    )
    black_s: float = Field(1.0, gt=0, description="Shortest black part, in seconds. A cut through black is shorter.")
    black_luma: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Share of the luma range up to which a pixel is black. Encoded black is not exact.",
    )
    frozen_s: float = Field(5.0, gt=0, description="Shortest frozen part, in seconds; a title card is shorter.")
    same_percent: float = Field(
        0.02, ge=0, description="Mean difference up to which two pictures are the same. An encoder adds less to a copy."
    )
    moving_percent: float = Field(
        0.8,
        gt=0,
        description="Mean difference from which there is movement: a doubled frame is between two such. A fade has less.",
    )
    blur_px: float = Field(
        13.0, gt=0, description="Mean width of edges in a picture at most 1280 wide. Sharp clips have 4 to 10."
    )
    blur_s: float = Field(2.0, gt=0, description="Shortest blurred part, in seconds; a change of focus is shorter.")
    block_ratio: float = Field(
        25.0, gt=1, description="Contrast at the borders of blocks to that inside. Natural pictures have 1 to 13."
    )
    block_s: float = Field(1.0, gt=0, description="Shortest blocky part, in seconds.")
    border_percent: float = Field(
        2.0, gt=0, le=50, description="Least width of a black border, in percent of the side. Encoders pad by less."
    )
    border_s: float = Field(3.0, gt=0, description="Shortest part with borders, in seconds.")
    dark_luma: float = Field(
        40.0, description="Mean luma below which a picture is too dark, if no part of it is brighter than 100."
    )
    bright_luma: float = Field(
        215.0, description="Mean luma above which a picture is too bright, if no part is darker than 80, as text is."
    )
    exposure_s: float = Field(2.0, gt=0, description="Shortest dark or bright part, in seconds.")
    silence_db: float = Field(-60.0, lt=0, description="Peak, in dBFS, up to which sound counts as silence.")
    silence_s: float = Field(2.0, gt=0, description="Shortest silence, in seconds; pauses in speech are shorter.")
    quiet_lufs: float = Field(-36.0, description="Loudness of a whole track below which it is too quiet (EBU: -23).")
    loud_lufs: float = Field(-8.0, description="Loudness of a whole track above which it is too loud.")
    clipping_db: float = Field(
        10.0,
        ge=0,
        description="Flatness of peaks at full scale. 10 is three equal samples; lossy codecs make one or two.",
    )
    clipping_s: float = Field(0.3, gt=0, description="Shortest clipped part, in seconds; a single peak is not heard.")
    phase: float = Field(
        -0.6, ge=-1, le=0, description="Correlation of left and right; -1 cancels out in mono. Wide music has -0.5."
    )
    phase_s: float = Field(2.0, gt=0, description="Shortest part out of phase, in seconds.")
    gap_s: float = Field(
        1.0,
        gt=0,
        description="A step of this length, in seconds, is a gap in the time stamps; a shorter one is dropped frames.",
    )
    length_s: float = Field(1.0, gt=0, description="By how much, in seconds, streams may begin or end apart.")


class Inspection(Facts):
    """One inspection as plain data."""

    checks: tuple[Check, ...]
    fail_on: tuple[Check, ...]
    required: bool
    thresholds: Thresholds


class Finding(Facts):
    """One fault, from when to when."""

    check: Check
    start_s: float
    end_s: float
    confidence: int
    """Percent: 50 at the threshold, 100 from twice as far."""
    message: str
    stream: int | None = None
    """Index in the source; None for the file as a whole."""
    area: tuple[int, int, int, int] | None = None
    """Of the picture inside black borders: left, top, right, bottom."""

    @property
    def times(self) -> str:
        return f"{self.start_s:.2f}–{self.end_s:.2f} s"


class Verdict(Facts):
    """The content of the report."""

    passed: bool
    checks: tuple[Check, ...]
    failed_checks: tuple[Check, ...]
    video_stream: int | None
    """Indexes of what was inspected, in the source."""
    audio_streams: tuple[int, ...]
    findings: tuple[Finding, ...]
    left_out: int = 0
    """Findings above `MAX_FINDINGS`."""

    @classmethod
    def of(cls, inspection: Inspection, findings: Iterable[Finding], media: MediaInfo) -> Verdict:
        kept = sorted((item for item in findings if item.check in inspection.checks), key=lambda item: item.start_s)
        found = {item.check for item in kept}
        failed = tuple(check for check in inspection.fail_on if check in found)
        return cls(
            passed=not failed, checks=inspection.checks, failed_checks=failed,
            video_stream=media.video.index if media.video else None,
            audio_streams=tuple(track.index for track in media.audio),
            findings=tuple(kept[:MAX_FINDINGS]), left_out=max(0, len(kept) - MAX_FINDINGS),
        )  # fmt: skip

    @property
    def summary(self) -> str:
        """One line: what was found, and when it was first."""
        if not self.findings:
            return "nothing found"
        parts = []
        for check in dict.fromkeys(item.check for item in self.findings):
            own = [item for item in self.findings if item.check == check]
            parts.append(f"{check} {own[0].times}" + (f" and {len(own) - 1} more" if len(own) > 1 else ""))
        return ("passed; " if self.passed else "") + ", ".join(parts)


def confidence(excess: float) -> int:
    """`excess` is by how much of the threshold the measure is past it: 0 at the threshold, 1 at twice as far."""
    return round(50 + 50 * min(1.0, max(0.0, excess)))
