"""How many bytes an output will have, so that a disk without room is noticed before hours of work.

Estimates for common material. They may be half of what grain and noise need: a wrong refusal is worse than a late failure.
"""

from __future__ import annotations

from mps_dagster.ffmpeg.codecs import Options
from mps_dagster.ffmpeg.measures import CRF
from mps_dagster.media.geometry import Size
from mps_dagster.media.info import AudioStream

VIDEO_BITS_PER_PIXEL = 0.1
"""At an encoder's default quality; 5 Mbit/s for 1080p with 25 frames per second. Films need a third, sports twice as much."""
CRF_STEP = 6
"""A quality value that is lower by this doubles the size."""
MOST_OF_SOURCE = 3
"""No lossy output by quality is estimated at more than this many times its source: a recording of a screen stays small."""
BYTES_PER_PIXEL = {"jpg": 0.3, "png": 2.0, "webp": 0.2, "gif": 0.3}
"""Of stills, and of each frame of a GIF."""
ANIMATED_WEBP = 0.05
FLAC = 0.7


def video_bytes(options: Options, size: Size, frames: float, length_s: float, *, default_crf: int) -> float:
    """From the encoder's options: by bitrate if they set one, otherwise by quality."""
    if "crf" not in options:
        return _bits(options["b:v"]) * length_s / 8
    # A CRF that is searched is not known yet.
    crf = default_crf if options["crf"] == CRF else int(options["crf"])
    quality = 2 ** ((default_crf - crf) / CRF_STEP)
    by_quality = VIDEO_BITS_PER_PIXEL * quality * size[0] * size[1] * frames / 8
    ceiling = _bits(options.get("maxrate") or options.get("b:v") or 0) * length_s / 8
    return min(by_quality, ceiling) if ceiling else by_quality


def audio_bytes(options: Options, track: AudioStream, length_s: float) -> float:
    if "b:a" in options:
        return _bits(options["b:a"]) * length_s / 8
    sample = 3 if options["c:a"] == "pcm_s24le" else 2
    rate = int(options.get("ar") or track.sample_rate_hz) * int(options.get("ac") or track.channels)
    return rate * sample * length_s * (FLAC if options["c:a"] == "flac" else 1)


def pictures_bytes(format: str, size: Size, count: float) -> int:
    return int(BYTES_PER_PIXEL[format] * size[0] * size[1] * count)


def animation_bytes(format: str, size: Size, length_s: float, fps: int) -> int:
    each = ANIMATED_WEBP if format == "webp" else BYTES_PER_PIXEL[format]
    return int(each * size[0] * size[1] * length_s * fps)


def _bits(rate: str | float) -> float:
    """`1800k`, or bits per second."""
    text = str(rate)
    return float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)
