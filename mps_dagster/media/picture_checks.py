"""Faults of the picture, from the readings of frames and looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median

from mps_dagster.media.info import VideoStream
from mps_dagster.media.inspection import Check, Finding, Thresholds, confidence
from mps_dagster.media.readings import Reading, parts, together

LIT_LUMA = 100
"""A picture that is meant to be dark (space, titles) has something brighter in it."""
INK_LUMA = 80
"""A picture that is meant to be bright (a page of text) has something darker in it."""
ENTROPY = 5.6
"""Bits of luma: drawn pictures (test cards, slides) have fewer, and all their edges may lie on a grid like that of blocks."""
REFRESH_PERCENT = 1.0
"""How much a key frame may change a frozen picture, for one frame."""
EDGE_PX = 4
"""Edges of soft pictures are found within so many pixels."""


def black_parts(
    starts: list[Reading], ends: list[Reading], video: VideoStream, thresholds: Thresholds
) -> Iterator[Finding]:
    """Black at the very start and end may be a little longer: films begin and end so."""
    ended = [reading.get("black_end") for reading in ends]
    for reading in starts:
        start_s = reading.get("black_start")
        end_s = next((at_s for at_s in ended if at_s > start_s), video.end_s)
        at_edge = start_s <= video.start_s + 0.1 or end_s >= video.end_s - 0.1
        least_s = max(thresholds.black_s, thresholds.edge_s if at_edge else 0.0)
        # Half a frame less: the end of a black part is the time of the next frame.
        if end_s - start_s >= least_s - 0.02:
            yield Finding(
                check="black", start_s=start_s, end_s=end_s, stream=video.index,
                confidence=confidence((end_s - start_s) / least_s - 1), message=f"black for {end_s - start_s:.2f} s",
            )  # fmt: skip


def frozen_parts(frames: list[Reading], video: VideoStream, thresholds: Thresholds) -> Iterator[Finding]:
    """The first frame of a frozen part still differs from the one before it."""
    same = thresholds.same_percent
    step_s = frame_step_s(frames)
    # The first frame has nothing to be compared with.
    rest = frames[1:]
    before = {after.at_s: frame.at_s for frame, after in pairwise(frames)}
    still = parts(
        rest, lambda frame: _difference(frame) <= same, end_s=video.end_s, step_s=step_s,
        may_miss=lambda frame: _difference(frame) <= REFRESH_PERCENT,
    )  # fmt: skip
    for part in still:
        start_s = before[part.start_s]
        length_s = part.end_s - start_s
        if length_s >= thresholds.frozen_s:
            yield Finding(
                check="frozen", start_s=start_s, end_s=part.end_s, stream=video.index,
                confidence=confidence(length_s / thresholds.frozen_s - 1), message=f"frozen for {length_s:.2f} s",
            )  # fmt: skip


def doubled_frames(frames: list[Reading], video: VideoStream, thresholds: Thresholds) -> Iterator[Finding]:
    """Single frames that are equal to the one before, in the middle of movement."""
    doubled = [
        index
        for index in range(2, len(frames) - 1)
        if _difference(frames[index]) <= thresholds.same_percent
        and min(_difference(frames[index - 1]), _difference(frames[index + 1])) >= thresholds.moving_percent
    ]
    for group in together([frames[index].at_s for index in doubled]):
        yield Finding(
            check="doubled_frames", start_s=group[0], end_s=group[-1] + frame_step_s(frames), stream=video.index,
            confidence=90, message=f"{len(group)} doubled frame{'s' if len(group) > 1 else ''}",
        )  # fmt: skip


def looks_bad(looks: list[Reading], video: VideoStream, thresholds: Thresholds, step_s: float) -> Iterator[Finding]:
    """Blurred, blocky, dark and bright parts."""
    t = thresholds
    rules: tuple[tuple[Check, Callable[[Reading], bool], float, str, Callable[[float], float]], ...] = (
        ("blurred", lambda look: look.get("blur") >= t.blur_px, t.blur_s, "blur", lambda blur: blur / t.blur_px - 1),
        ("blocky", lambda look: _is_blocky(look, t), t.block_s, "block", lambda ratio: ratio / t.block_ratio - 1),
        ("dark", lambda look: _is_dark(look, t), t.exposure_s, "signalstats.YAVG",
         lambda luma: (t.dark_luma - luma) / max(1.0, t.dark_luma - 16)),
        ("bright", lambda look: _is_bright(look, t), t.exposure_s, "signalstats.YAVG",
         lambda luma: (luma - t.bright_luma) / max(1.0, 235 - t.bright_luma)),
    )  # fmt: skip
    for check, holds, least_s, name, excess in rules:
        for part in parts(looks, holds, end_s=video.end_s, step_s=step_s, may_miss=lambda _: True):
            if part.length_s >= least_s:
                value = part.mean(name)
                yield Finding(
                    check=check, start_s=part.start_s, end_s=part.end_s, stream=video.index,
                    confidence=confidence(excess(value)), message=f"{check} for {part.length_s:.1f} s ({value:.0f})",
                )  # fmt: skip


def black_borders(looks: list[Reading], video: VideoStream, thresholds: Thresholds, step_s: float) -> Iterator[Finding]:
    """Parts of which at least half the looks have the same borders; the others, which are darker, may have wider ones."""
    width, height = video.display_size if video.turned else (video.width, video.height)

    def has_border(look: Reading) -> bool:
        return _border(_box(look), (width, height)) >= thresholds.border_percent

    for part in parts(looks, has_border, end_s=video.end_s, step_s=step_s):
        boxes = [_box(look) for look in part.readings]
        outer = (
            min(box[0] for box in boxes), min(box[1] for box in boxes),
            max(box[2] for box in boxes), max(box[3] for box in boxes),
        )  # fmt: skip
        agree = sum(all(abs(a - b) <= EDGE_PX for a, b in zip(box, outer, strict=True)) for box in boxes) / len(boxes)
        border = _border(outer, (width, height))
        if part.length_s >= thresholds.border_s and agree >= 0.5 and border >= thresholds.border_percent:
            yield Finding(
                check="black_borders", start_s=part.start_s, end_s=part.end_s, stream=video.index, area=outer,
                confidence=confidence(2 * agree - 1),
                message=f"black borders: the picture is {outer[2] - outer[0]} x {outer[3] - outer[1]}"
                f" of {width} x {height}",
            )  # fmt: skip


def frame_step_s(frames: list[Reading]) -> float:
    """The usual time from one frame to the next."""
    return median(after.at_s - frame.at_s for frame, after in pairwise(frames)) if frames[1:] else 0


def _difference(frame: Reading) -> float:
    return frame.get("scd.mafd")


def _is_blocky(look: Reading, thresholds: Thresholds) -> bool:
    return look.get("block") >= thresholds.block_ratio and look.get("entropy.entropy.normal.Y") >= ENTROPY


def _is_dark(look: Reading, thresholds: Thresholds) -> bool:
    """Black is a fault of its own."""
    lightest = look.get("signalstats.YMAX")
    black = 16 + 219 * thresholds.black_luma
    return look.get("signalstats.YAVG") < thresholds.dark_luma and black < lightest < LIT_LUMA


def _is_bright(look: Reading, thresholds: Thresholds) -> bool:
    return look.get("signalstats.YAVG") > thresholds.bright_luma and look.get("signalstats.YMIN") > INK_LUMA


def _box(look: Reading) -> tuple[int, int, int, int]:
    """The picture inside the borders; (0, 0, 0, 0) of a black one."""
    left, right = look.get("cropdetect.x1"), look.get("cropdetect.x2")
    top, bottom = look.get("cropdetect.y1"), look.get("cropdetect.y2")
    return (int(left), int(top), int(right) + 1, int(bottom) + 1) if left < right and top < bottom else (0, 0, 0, 0)


def _border(box: tuple[int, int, int, int], size: tuple[int, int]) -> float:
    """The borders in percent of the side. One side alone is mostly a dark part of the picture."""
    left, top, right, bottom = box
    width, height = size
    if not right:
        return 0.0
    return 100 * max(min(left, width - right) / width, min(top, height - bottom) / height)
