"""Picture sizes by MPS's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mps_dagster.media.geometry import fit

HD, UPRIGHT, ODD = (1280, 720), (720, 1280), (319, 179)


@pytest.mark.parametrize(
    ("source", "options", "canvas", "inner"),
    [
        pytest.param(HD, {}, HD, HD, id="both sides 0 keep the source's size"),
        pytest.param(ODD, {"step": 2}, (320, 180), (320, 180), id="odd sides become even for video"),
        pytest.param(ODD, {}, ODD, ODD, id="a still keeps its odd sides"),
        pytest.param(HD, {"height": 360}, (640, 360), (640, 360), id="height alone is the short side"),
        pytest.param(UPRIGHT, {"height": 360}, (360, 640), (360, 640), id="and for upright video that is its width"),
        pytest.param(
            UPRIGHT, {"height": 360, "adaptive": "close"}, (202, 360), (202, 360), id="close takes height literally"
        ),
        pytest.param(HD, {"width": 640}, (640, 360), (640, 360), id="width alone is the long side"),
        pytest.param(
            HD, {"width": 640, "height": 640, "fill": "stretch"}, (640, 640), (640, 640), id="stretch distorts"
        ),
        pytest.param(HD, {"width": 640, "height": 640}, (640, 640), (640, 360), id="black pads"),
        pytest.param(HD, {"width": 640, "height": 640, "fill": "gauss"}, (640, 640), (640, 360), id="gauss pads, too"),
        pytest.param(
            HD, {"width": 640, "height": 640, "fill": "smarttailor"}, (640, 640), (1138, 640), id="smarttailor crops"
        ),
    ],
)
def test_sizes_follow_mps(source, options, canvas, inner):
    """Reference A.5: one 0 is proportional, two values are exact, `open` means long and short side."""
    geometry = fit(source, **options)
    assert (geometry.canvas, geometry.inner) == (canvas, inner)


side = st.integers(2, 5000)


@given(st.tuples(side, side), st.integers(0, 4096), st.integers(0, 4096), st.sampled_from(["black", "smarttailor"]))
def test_pad_and_crop_always_have_room(source, width, height, fill):
    """ffmpeg refuses to pad into a smaller canvas or to crop out of a smaller picture."""
    geometry = fit(source, width=width, height=height, adaptive="close", fill=fill, step=2)
    assert all(value >= 2 and value % 2 == 0 for value in (*geometry.canvas, *geometry.inner))
    inner_fits = [inner <= canvas for inner, canvas in zip(geometry.inner, geometry.canvas, strict=True)]
    assert all(inner_fits) or fill == "smarttailor"
    assert fill != "smarttailor" or not (width and height) or not geometry.padded
