"""Thumbnails of outputs for the UI. Only for files that we made ourselves."""

from __future__ import annotations

import io
from pathlib import Path

import av
from PIL import Image

MAX_SIDE = 360


def of_video(path: Path, at_s: float) -> bytes:
    """A JPEG of the last key frame at or before `at_s`."""
    # A seek in a transport stream may land behind the last key frame, where nothing can be decoded.
    image = _key_frame(path, at_s) or _key_frame(path, 0.0)
    if image is None:
        raise ValueError(f"{path.name} has no picture")
    return _thumbnail(image)


def _key_frame(path: Path, at_s: float) -> Image.Image | None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        if stream.duration and stream.time_base and at_s > 0:
            container.seek(int(at_s / stream.time_base), stream=stream, backward=True)
        frame = next(container.decode(stream), None)
        return frame.to_image() if frame else None


def of_picture(path: Path) -> bytes:
    """A JPEG of a picture, or of an animation's first frame."""
    with Image.open(path) as image:
        return _thumbnail(image)


def _thumbnail(image: Image.Image) -> bytes:
    thumbnail = image.convert("RGB")
    thumbnail.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
