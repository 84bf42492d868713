"""What a decoder must know before a file's first picture; files that agree in it can be joined without encoding."""

from __future__ import annotations

from pathlib import Path

import av

Parameters = tuple[object, ...]


def video_parameters(path: Path) -> Parameters:
    """Codec, headers, size, pixel format and clock of the video in one of our own files, and whether it begins with a key frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        begins_with_key = next(container.demux(stream)).is_keyframe
        size = (context.width, context.height)
        return (context.name, context.extradata, size, context.pix_fmt, stream.time_base, begins_with_key)
