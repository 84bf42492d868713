"""Pictures of a video at given times, with the cheapest way of decoding (`media/sampling.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import ffmpeg

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.ffmpeg.codecs import PICTURES
from mps_dagster.ffmpeg.colour import to_picture_format
from mps_dagster.ffmpeg.overlay import Watermark, attachments, overlay_watermarks
from mps_dagster.ffmpeg.picture import Stream, arguments, rgb_picture, section
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Plan
from mps_dagster.ffmpeg.size import pictures_bytes
from mps_dagster.media.geometry import Adaptive, FillType, Geometry, fit
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.sampling import clamp_time, decode_method
from mps_dagster.media.timerange import Span


@dataclass(frozen=True, slots=True)
class Stills:
    """The pictures to take."""

    times: tuple[float, ...]
    """Seconds of the source; a time past the last frame means the last frame."""
    keys: tuple[str, ...]
    picture: str
    """A key of `codecs.PICTURES`."""
    width: int = 0
    height: int = 0
    adaptive: Adaptive = "open"
    fill: FillType = "black"
    watermarks: tuple[Watermark, ...] = ()
    evenly: bool = False
    """Whether the times have equal steps, so that one pass can sample them."""


def still_plan(stills: Stills, media: MediaInfo, video: VideoStream) -> Plan:
    """One picture file per time: `shot_0000.jpg`, `shot_0001.jpg` …"""
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
        estimated_bytes=pictures_bytes(stills.picture, geometry.canvas, len(stills.times)),
        facts={"time_offsets": [round(at, 6) for at in stills.times]},
    )


def check_side(picture: str, size: tuple[int, int]) -> None:
    if max(size) > PICTURES[picture].max_side:
        raise InvalidConfiguration(
            f"{picture} pictures have at most {PICTURES[picture].max_side} px per side; this one would be {size[0]} x {size[1]}"
        )


def sample_frames(media: MediaInfo, video: VideoStream, times: tuple[float, ...], *, keyframes: bool) -> Stream:
    """Exactly one frame per time, in one pass over the source; the times are evenly spaced.

    Each is the frame that a player shows at that time: in a gap the frame before it, after the end the last frame.
    """
    if len(times) == 1:
        return _frames_from(media, video, times[0]).filter("trim", end_frame=1)
    # `-discard` drops packets in the demuxer, `-skip_frame` in the decoder: together they halve the time of either.
    options = {"skip_frame": "nokey", "discard": "nokey"} if keyframes else {}
    rate = 1 / Fraction((times[-1] - times[0]) / (len(times) - 1)).limit_denominator(100_000)
    # Time 0 is exactly the first frame; the section's own 0 s is rounded.
    stream = section(media, Span.of([video]).whole, (video,), **options).picture(video).filter("setpts", "PTS-STARTPTS")
    stream = stream.filter("tpad", stop=-1, stop_mode="clone")
    # round=up moves a frame to the next slot, so each slot gets the last frame at or before it.
    stream = stream.filter("fps", fps=f"{rate.numerator}/{rate.denominator}", start_time=0, round="up")
    return stream.filter("trim", end_frame=len(times))


def _frames_from(media: MediaInfo, video: VideoStream, at_s: float) -> Stream:
    # 1 ms early, because times are rounded: a seek past the last frame gives no picture and no error.
    whole = Span.of([video]).whole
    part = replace(whole, start_s=max(whole.start_s, clamp_time(video, at_s) - 0.001))
    return section(media, part, (video,)).picture(video)


def _commands(stills: Stills, media: MediaInfo, video: VideoStream, geometry: Geometry) -> tuple[tuple[str, ...], ...]:
    method = decode_method(video, stills.times) if stills.evenly else "seek"
    if method == "seek":
        return tuple(_seek(stills, media, video, geometry, index) for index in range(len(stills.times)))
    frames = sample_frames(media, video, stills.times, keyframes=method == "keyframes")
    picture = _finish(frames, stills, video, geometry)
    extension = PICTURES[stills.picture].extension
    output = ffmpeg.output(
        picture, f"file:shot_%04d.{extension}",
        **{"f": "image2", "start_number": 0, "frames:v": len(stills.times), **_encoder(stills)},
    )  # fmt: skip
    return (arguments(output),)


def _seek(stills: Stills, media: MediaInfo, video: VideoStream, geometry: Geometry, index: int) -> tuple[str, ...]:
    frames = _frames_from(media, video, stills.times[index])
    name = f"file:shot_{index:04d}.{PICTURES[stills.picture].extension}"
    picture = _finish(frames, stills, video, geometry)
    # update=1: the file name is not a pattern.
    return arguments(ffmpeg.output(picture, name, **{"f": "image2", "update": 1, "frames:v": 1, **_encoder(stills)}))


def _finish(frames: Stream, stills: Stills, video: VideoStream, geometry: Geometry) -> Stream:
    format = PICTURES[stills.picture]
    picture = rgb_picture(frames, video, geometry, keep_alpha=bool(format.alpha_format))
    return to_picture_format(overlay_watermarks(picture, stills.watermarks, geometry.canvas), video, format)


def _encoder(stills: Stills) -> dict[str, str | int]:
    return {"c:v": PICTURES[stills.picture].codec, **PICTURES[stills.picture].args}
