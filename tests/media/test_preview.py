"""Thumbnails of outputs."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from mps_dagster.media import preview


@pytest.mark.parametrize("at_s", [0.0, 1.0, 3.0])
def test_a_transport_stream_with_one_key_frame_has_a_thumbnail(clips, at_s):
    """A seek lands behind it."""
    clip = clips._ffmpeg("one_key_frame.ts", "-i", str(clips.long_gop()), "-c", "copy")
    with Image.open(io.BytesIO(preview.of_video(clip, at_s))) as image:
        assert image.size == (320, 180)
