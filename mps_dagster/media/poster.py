"""A small picture of a video, for people who look at results."""

from __future__ import annotations

import io
from pathlib import Path

import av
from PIL import Image

MAX_SIDE = 480


def poster(path: Path, at_s: float) -> bytes:
    """A JPEG of the first key frame at or before `at_s`, at most 480 px a side. For files that we made ourselves."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        if stream.duration and stream.time_base and at_s > 0:
            container.seek(int(at_s / stream.time_base), stream=stream, backward=True)
        image: Image.Image = next(container.decode(stream)).to_image()
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
