"""A small picture of an output, for people who look at results. For files that we made ourselves."""

from __future__ import annotations

import io
from pathlib import Path

import av
from PIL import Image

MAX_SIDE = 360


def of_video(path: Path, at_s: float) -> bytes:
    """A JPEG of the last key frame before `at_s`."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        if stream.duration and stream.time_base and at_s > 0:
            container.seek(int(at_s / stream.time_base), stream=stream, backward=True)
        image: Image.Image = next(container.decode(stream)).to_image()
    return _small(image)


def of_picture(path: Path) -> bytes:
    """A JPEG of a picture, or of an animation's first frame."""
    with Image.open(path) as image:
        return _small(image)


def _small(image: Image.Image) -> bytes:
    small = image.convert("RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
