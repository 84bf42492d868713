"""Picture sizes by MPS's rules (reference A.5): `width`, `height`, `resolution_adaptive`, `fill_type`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

FillType = Annotated[
    Literal["stretch", "black", "white", "gauss", "smarttailor"],
    Field(
        description="For a picture of another shape: stretched, with bars, over a blurred copy, or cropped (smarttailor)."
    ),
]
Adaptive = Annotated[
    Literal["open", "close"],
    Field(description="open: `width` is the long side, `height` the short one; close: as they are called."),
]

Size = tuple[int, int]
"""Width, height; pixels."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """A picture scaled to `inner` and then padded (inner smaller) or cropped (inner larger) to `canvas`."""

    canvas: Size
    inner: Size
    fill: FillType = "black"
    """How the canvas is filled where the shapes differ; `stretch` distorts the picture."""

    @property
    def padded(self) -> bool:
        return self.inner != self.canvas and not self.cropped

    @property
    def cropped(self) -> bool:
        return self.inner[0] > self.canvas[0] or self.inner[1] > self.canvas[1]


def fit(
    source: Size,
    *,
    width: int = 0,
    height: int = 0,
    adaptive: Adaptive = "open",
    fill: FillType = "black",
    step: int = 1,
) -> Geometry:
    """How a picture of size `source` (upright, square pixels) is scaled to `width` x `height`.

    A side of 0 follows from the other one; both 0 keep the source's size. With `adaptive="open"`, `width` is the long side
    and `height` the short one, in landscape and in portrait. Sides are multiples of `step` (2 for 4:2:0 video).
    """
    if adaptive == "open" and source[1] > source[0]:
        width, height = height, width
    if not width or not height:
        canvas = _round(_proportional(source, width, height), step)
        return Geometry(canvas, canvas)
    canvas = _round((width, height), step)
    if fill == "stretch":
        return Geometry(canvas, canvas, fill)
    ratios = (canvas[0] / source[0], canvas[1] / source[1])
    ratio = max(ratios) if fill == "smarttailor" else min(ratios)
    inner = _round((source[0] * ratio, source[1] * ratio), step)
    return Geometry(canvas, _clamp(inner, canvas, cover=fill == "smarttailor"), fill)


def _proportional(source: Size, width: int, height: int) -> tuple[float, float]:
    if width:
        return width, source[1] * width / source[0]
    if height:
        return source[0] * height / source[1], height
    return source


def _round(size: tuple[float, float], step: int) -> Size:
    width, height = (max(step, round(side / step) * step) for side in size)
    return width, height


def _clamp(inner: Size, canvas: Size, *, cover: bool) -> Size:
    """Rounding may move a side one step past the canvas, which ffmpeg's pad and crop would refuse."""
    limit = max if cover else min
    return limit(inner[0], canvas[0]), limit(inner[1], canvas[1])
