"""Whether what a playlist declares is there, and true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .renditions import Declared, Rendition, rates
from .samples import Samples

TOLERANCE = 0.1
"""Measured and declared bit rates may differ by a tenth (Apple's authoring rules)."""


def declared_findings(rendition: Rendition, measured: Sequence[Samples], *, hls: bool) -> Iterator[str]:
    declared = rendition.declared
    if declared is None:
        return
    yield from bandwidth_findings(rendition, average=hls)
    yield from _codecs(rendition, measured)
    if measured[0].kind != "video":
        return
    if declared.resolution is None:
        yield "RESOLUTION is missing"
    elif declared.resolution != measured[0].size:
        yield f"RESOLUTION is {_size(declared.resolution)}, its pictures are {_size(measured[0].size)}"
    rate = sum(one.count for one in measured) / sum(one.end - one.start for one in measured)
    if declared.frame_rate is None:
        yield "FRAME-RATE is missing"
    elif abs(declared.frame_rate - rate) > 0.01 * rate:
        yield f"FRAME-RATE is {declared.frame_rate:g}, measured {rate:.3f}"


def bandwidth_findings(rendition: Rendition, *, average: bool = False) -> Iterator[str]:
    """`average`: whether one must be declared, too."""
    declared = rendition.declared or Declared()
    peak, mean = rates(rendition)
    yield from _rate("BANDWIDTH", declared.bandwidth, peak, "peak")
    if average:
        yield from _rate("AVERAGE-BANDWIDTH", declared.average, mean, "average")


def _rate(name: str, declared: int | None, measured: float, what: str) -> Iterator[str]:
    if declared is None:
        yield f"{name} is missing"
    elif not (1 - TOLERANCE) * measured <= declared <= (1 + TOLERANCE) * measured:
        yield f"{name} is {declared}, the {what} of its segments is {measured:.0f}"


def _codecs(rendition: Rendition, measured: Sequence[Samples]) -> Iterator[str]:
    if not rendition.declared or not rendition.declared.codecs:
        yield "CODECS is missing"
        return
    said = {codec.strip() for codec in rendition.declared.codecs.split(",")}
    there = {codec for one in measured for codec in one.codecs}
    for codec in sorted(there):
        if not any(one.lower().startswith(codec.lower()) for one in said):
            yield f"CODECS is {rendition.declared.codecs}, in its segments is {codec}"
    if not rendition.companions and rendition.kind in {"video", "audio"} and len(said) > len(there):
        yield f"CODECS is {rendition.declared.codecs}, its segments have but {', '.join(sorted(there))}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
