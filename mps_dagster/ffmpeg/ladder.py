"""The renditions of an adaptive set: which of a template's streams fit a source, and how often they have key frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate
from mps_dagster.ffmpeg.encoding import rendition
from mps_dagster.media.info import MediaInfo, VideoStream

KEY_EVERY_S = 2
"""Apple's authoring rules; players can switch and seek there."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One stream of the ladder; at least one of both is set."""

    video: VideoTemplate | None
    audio: AudioTemplate | None


@dataclass(frozen=True, slots=True)
class Caps:
    """What a rendition never has more of than the source."""

    resolution: bool
    bitrate: bool


def rungs(streams: Sequence[Rung], media: MediaInfo, caps: Caps) -> tuple[Rung, ...]:
    """Those of the streams that fit the source, in their order: without the kinds that it lacks, each only once.

    All have the frame rate of the first, so that their segments can begin at the same times.
    """
    first = next((rung.video for rung in streams if rung.video), None)
    fitted = []
    for rung in streams:
        video = rung.video if media.video else None
        if video and first:
            video = video.model_copy(update={"fps": first.fps, "fps_denominator": first.fps_denominator})
        audio = rung.audio if media.audio else None
        # A stream of a picture makes none of sound alone, unless the source has no picture at all.
        if video or (audio and (rung.video is None or not media.video)):
            fitted.append(Rung(video, audio))
    if media.video:
        fitted = _within(fitted, media.video, caps)
    # Without pictures, several streams may be the same.
    return tuple(dict.fromkeys(fitted)) if media.video else tuple({rung.audio: rung for rung in fitted}.values())


def _within(fitted: list[Rung], video: VideoStream, caps: Caps) -> list[Rung]:
    """Without the renditions above the source; the smallest one stays, at the source's own size."""
    kept = [rung for rung in fitted if not caps.resolution or not rung.video or not _enlarges(rung.video, video)]
    if not any(rung.video for rung in kept):
        pictures = [rung for rung in fitted if rung.video]
        smallest = min(pictures, key=lambda rung: math.prod(rendition(rung.video, video).canvas), default=None)  # type: ignore[arg-type]
        if smallest and smallest.video:
            own_size = smallest.video.model_copy(update={"width": 0, "height": 0})
            kept = [replace(smallest, video=own_size), *kept]
    source_kbps = video.bitrate_bps // 1000
    if not caps.bitrate or not source_kbps:
        return kept
    return [replace(rung, video=_capped(rung.video, source_kbps)) for rung in kept]


def _enlarges(template: VideoTemplate, video: VideoStream) -> bool:
    # Odd sizes are rounded up by a pixel.
    inner = rendition(template, video).inner
    return any(side > own + 1 for side, own in zip(inner, video.display_size, strict=True))


def _capped(template: VideoTemplate | None, kbps: int) -> VideoTemplate | None:
    if template is None or template.bitrate <= kbps:
        return template
    return template.model_copy(update={"bitrate": kbps})


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When key frames come and segments begin, in seconds."""

    key_every_s: float
    segment_s: float

    @classmethod
    def of(cls, template: VideoTemplate | None, video: VideoStream | None) -> Rhythm:
        """Of all renditions, by the first one's template. Segments are whole numbers of the time between key frames."""
        if template is None or video is None:
            # Sound can be cut anywhere.
            return cls(0.0, float(template.hls_time if template else VideoTemplate().hls_time))
        rate = template.average_rate(video)
        frames = template.gop if template.gop and template.gop_unit == "frame" else 0
        key_s = Fraction(frames) / rate if frames else Fraction(template.gop or KEY_EVERY_S)
        if template.fps and not frames:
            key_s = max(1, round(key_s * rate)) / rate
        key_s = min(key_s, Fraction(template.hls_time))
        return cls(_just_below(key_s), _just_below(key_s * max(1, round(template.hls_time / key_s))))


def _just_below(time: Fraction) -> float:
    """In microseconds, and never later than the picture at this time."""
    return float(time) if time.denominator == 1 else math.floor(time * 1_000_000 - 1) / 1_000_000
