"""The pictures that show a watermark: the same one of the video, without it and with it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image, ImageChops

from mps_dagster.errors import OutputRejected
from mps_dagster.execution.measure import Meter
from mps_dagster.tasks.result import SubtaskResult

pytestmark = pytest.mark.slow

RED = {
    "type": "text", "coordinate_origin": "TopLeft", "x_pos": "0px", "y_pos": "0px", "text_content": "MMM",
    "text_template": {"font_size": "40px", "font_color": "0xFF0000"},
}  # fmt: skip
MARKED = {"name": "w", "video_template": {"effort": "fast"}, "watermark_set": [RED]}


@pytest.fixture
def picture(worker) -> Callable[[SubtaskResult, str], Image.Image]:
    def picture(result: SubtaskResult, key: str) -> Image.Image:
        return Image.open(io.BytesIO(worker.buckets.get(result.bucket).read(key))).convert("RGB")

    return picture


def difference(one: Image.Image, other: Image.Image, threshold: int = 60) -> tuple[int, int, int, int] | None:
    """Where they differ."""
    return ImageChops.difference(one, other).convert("L").point(lambda value: 255 * (value > threshold)).getbbox()


def test_only_the_watermark_differs(upload, made, clips, picture):
    [result] = made(upload(clips.video()), "transcode", MARKED)
    before, after = (picture(result, key) for key in result.facts["comparison"].values())
    assert before.size == after.size == (320, 180)
    left, top, right, bottom = difference(before, after)
    assert right < 160
    assert bottom < 60
    assert (
        max(red - max(green, blue) for red, green, blue in after.crop((left, top, right, bottom)).get_flattened_data())
        > 150
    )


def test_it_is_a_quarter_into_the_part_that_was_taken(upload, made, clips, picture):
    source = upload(clips.video(4))
    [result] = made(source, "transcode", {**MARKED, "start_time_offset": 1, "end_time_offset": 3})
    stills = {"definition": 10, "ext_time_offset_set": ["1.5s", "1.7s"], "format": "png"}
    [taken] = made(source, "snapshot_by_time_offset", stills)
    before = picture(result, result.facts["comparison"]["before"])
    same, later = (picture(taken, output.key).resize(before.size) for output in taken.main)
    assert difference(before, same) is None
    assert difference(before, later)


def test_it_is_small_and_keeps_its_shape(upload, made, clips, picture):
    large = {"name": "w", "video_template": {"effort": "fast", "width": 1280, "height": 720}, "watermark_set": [RED]}
    [result] = made(upload(clips.video()), "transcode", large)
    assert [picture(result, key).size for key in result.facts["comparison"].values()] == [(960, 540)] * 2


def test_an_output_without_watermarks_has_none(upload, made, clips):
    [result] = made(upload(clips.video()), "transcode", {**MARKED, "watermark_set": []})
    assert "comparison" not in result.facts


def test_an_output_is_published_without_them_if_they_cannot_be_made(upload, made, clips, monkeypatch):
    run = Meter._run

    def fails(meter, argv, *rest, **more):
        if "file:before.jpg" in argv:
            raise OutputRejected("no such picture")
        return run(meter, argv, *rest, **more)

    monkeypatch.setattr(Meter, "_run", fails)
    [result] = made(upload(clips.video()), "transcode", MARKED)
    assert (len(result.main), "comparison" in result.facts) == (1, False)
