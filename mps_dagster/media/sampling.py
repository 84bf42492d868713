"""At which times pictures are taken, and the cheapest way to decode them."""

from __future__ import annotations

import math
from typing import Literal

from mps_dagster.media.info import VideoStream
from mps_dagster.media.timerange import Span

DecodeMethod = Literal["seek", "keyframes", "decode"]
"""`seek`: one seek per picture. `keyframes`: one pass over the key frames. `decode`: one pass over all frames."""

SEEK_COST_FRAMES = 250
"""Cost of one more ffmpeg process with a seek, in decoded frames (0.2 s at 1 200 frames/s for 720p)."""


def percent_times(video: VideoStream, step_percent: float) -> tuple[float, ...]:
    """0 %, step, 2 x step … below 100 %: a step of 5 gives 20 pictures (reference I.6)."""
    count = max(1, math.ceil(round(100 / step_percent, 6)))
    span = Span.of([video])
    return tuple(span.at_percent(step_percent * k) for k in range(count))


def interval_times(video: VideoStream, interval_s: float) -> tuple[float, ...]:
    """The first frame's time, then one every `interval_s` up to the last frame."""
    count = math.floor((video.last_s - video.start_s) / interval_s + 1e-6) + 1
    return tuple(video.start_s + k * interval_s for k in range(count))


def clamp_time(video: VideoStream, at_s: float) -> float:
    """The nearest time with a picture: past the last frame, ffmpeg writes none and reports no error."""
    return min(max(at_s, video.start_s), video.last_s)


def decode_method(video: VideoStream, times: tuple[float, ...]) -> DecodeMethod:
    """The method that decodes the fewest frames; all give the same number of pictures.

    Key frames are enough if they are at most half a sampling step apart; otherwise neighbouring pictures could be equal.
    """
    step = (times[-1] - times[0]) / max(1, len(times) - 1)
    if step == 0:
        return "seek"
    if video.longest_key_gap_s <= step / 2:
        return "keyframes"
    rate = video.frames / video.duration_s if video.duration_s else 25.0
    frames_per_seek = SEEK_COST_FRAMES + rate * video.longest_key_gap_s / 2
    return "seek" if len(times) * frames_per_seek < video.frames else "decode"
