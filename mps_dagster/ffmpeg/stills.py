"""Pictures taken out of a video at given times, by whichever way of decoding is cheapest (`media/sampling.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import ffmpeg

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.ffmpeg.codecs import PICTURES
from mps_dagster.ffmpeg.colour import as_picture
from mps_dagster.ffmpeg.overlay import Watermark, attachments, overlaid
from mps_dagster.ffmpeg.picture import Stream, arguments, in_rgb, section
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan
from mps_dagster.media.geometry import Adaptive, FillType, Geometry, fit
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.sampling import clamp_time, decode_method
from mps_dagster.media.timerange import Span


@dataclass(frozen=True, slots=True)
class Stills:
    """Which pictures are wanted."""

    times: tuple[float, ...]
    """Seconds into the source; past the last frame means the last frame."""
    keys: tuple[str, ...]
    picture: str
    """Row of `codecs.PICTURES`."""
    width: int = 0
    height: int = 0
    adaptive: Adaptive = "open"
    fill: FillType = "black"
    watermarks: tuple[Watermark, ...] = ()
    evenly: bool = False
    """Whether the times have one step, so that a single pass can serve them."""


def still_plan(stills: Stills, media: MediaInfo, video: VideoStream) -> Plan:
    """One picture file per time, named `shot_0000.jpg` and on."""
    format = PICTURES[stills.picture]
    geometry = fit(
        video.display_size, width=stills.width, height=stills.height, adaptive=stills.adaptive, fill=stills.fill
    )
    check_side(stills.picture, geometry.canvas)
    files = tuple(f"shot_{index:04d}.{format.extension}" for index in range(len(stills.times)))
    width, height = geometry.canvas
    return Plan(
        commands=_commands(stills, media, video, geometry),
        outputs=tuple(
            OutputFile(file=file, key=key, expected=Expected(kind="image", width=width, height=height))
            for file, key in zip(files, stills.keys, strict=True)
        ),
        duration_s=media.duration_s,
        attachments=attachments(stills.watermarks),
        facts={"time_offsets": [round(at, 6) for at in stills.times]},
    )


def check_side(picture: str, size: tuple[int, int]) -> None:
    if max(size) > PICTURES[picture].max_side:
        raise InvalidConfiguration(
            f"{picture} pictures have at most {PICTURES[picture].max_side} px a side; this one would be {size[0]} x {size[1]}"
        )


def sampled(media: MediaInfo, video: VideoStream, times: tuple[float, ...], *, keyframes: bool) -> Stream:
    """One pass over the source that leaves exactly one frame per time (evenly spaced).

    Each is the frame that a player shows at that time; a gap repeats the frame before it, and the last frame lasts on.
    """
    if len(times) == 1:
        return _at(media, video, times[0]).filter("trim", end_frame=1)
    # The first frame is time 0 of the samples, to the tick; the section's own 0 s is rounded.
    # `-discard` drops packets in the demuxer already, `-skip_frame` in the decoder: half the time of either alone.
    options = {"skip_frame": "nokey", "discard": "nokey"} if keyframes else {}
    rate = 1 / Fraction((times[-1] - times[0]) / (len(times) - 1)).limit_denominator(100_000)
    opened = section(media, Span.of([video]).whole, (video,), **options)
    stream = opened.picture(video).filter("setpts", "PTS-STARTPTS")
    stream = stream.filter("tpad", stop=-1, stop_mode="clone")
    # round=up gives a frame to the first slot at or after it, so each slot shows the last frame before it.
    stream = stream.filter("fps", fps=f"{rate.numerator}/{rate.denominator}", start_time=0, round="up")
    return stream.filter("trim", end_frame=len(times))


def _at(media: MediaInfo, video: VideoStream, at_s: float) -> Stream:
    # A little early: the time stamp was rounded, and a seek just past the last frame makes no picture, without an error.
    whole = Span.of([video]).whole
    part = replace(whole, start_s=max(whole.start_s, clamp_time(video, at_s) - 0.001))
    return section(media, part, (video,)).picture(video)


def _commands(stills: Stills, media: MediaInfo, video: VideoStream, geometry: Geometry) -> tuple[tuple[str, ...], ...]:
    way = decode_method(video, stills.times) if stills.evenly else "seek"
    if way == "seek":
        return tuple(_seek(stills, media, video, geometry, index) for index in range(len(stills.times)))
    frames = sampled(media, video, stills.times, keyframes=way == "keyframes")
    picture = _finished(frames, stills, video, geometry)
    extension = PICTURES[stills.picture].extension
    output = ffmpeg.output(
        picture, f"file:shot_%04d.{extension}",
        **{"f": "image2", "start_number": 0, "frames:v": len(stills.times), **_encoder(stills)},
    )  # fmt: skip
    return (arguments(output),)


def _seek(stills: Stills, media: MediaInfo, video: VideoStream, geometry: Geometry, index: int) -> tuple[str, ...]:
    frames = _at(media, video, stills.times[index])
    name = f"file:shot_{index:04d}.{PICTURES[stills.picture].extension}"
    picture = _finished(frames, stills, video, geometry)
    # image2 with update=1: the name is a name, not a pattern.
    return arguments(ffmpeg.output(picture, name, **{"f": "image2", "update": 1, "frames:v": 1, **_encoder(stills)}))


def _finished(frames: Stream, stills: Stills, video: VideoStream, geometry: Geometry) -> Stream:
    format = PICTURES[stills.picture]
    picture = in_rgb(frames, video, geometry, keep_alpha=bool(format.alpha_format))
    return as_picture(overlaid(picture, stills.watermarks, geometry.canvas), video, format)


def _encoder(stills: Stills) -> dict[str, str | int]:
    return {"c:v": PICTURES[stills.picture].codec, **PICTURES[stills.picture].args}
