"""The tracks of an adaptive set: which file is in which, and how its segments are called."""

from __future__ import annotations

from collections.abc import Iterator

from mps_dagster.ffmpeg.adaptive_set import AdaptiveSet
from mps_dagster.ffmpeg.added import Subtitles
from mps_dagster.ffmpeg.encode import VideoTemplate, keeps_hdr
from mps_dagster.ffmpeg.encoding import rendition
from mps_dagster.ffmpeg.ladder import Rung
from mps_dagster.ffmpeg.sounds import Sound
from mps_dagster.ffmpeg.thumbnails import NAME, Thumbs
from mps_dagster.media.info import VideoStream
from mps_dagster.streaming.packaging import PART_FILE, Files, Rendition, Thumbnails, Track
from mps_dagster.streaming.segments import Segments

PACKED = {"aac": "aac", "mp3": "mp3"}
"""Extension of packed sound by codec."""


def picture_part(number: int) -> str:
    """The part that makes a rendition's picture."""
    return f"picture_{number}"


def tracks_of(
    wanted: AdaptiveSet,
    ladder: tuple[Rung, ...],
    sounds: tuple[Sound, ...],
    texts: tuple[Subtitles, ...],
    video: VideoStream | None,
) -> Iterator[Track]:
    """Renditions first, then the sounds that are apart, then subtitles."""
    for number, rung in enumerate(ladder):
        own = [sound for sound in sounds if rung.audio == sound.template]
        if rung.video and video:
            yield _picture_track(wanted, number, rung.video, video, own)
        elif wanted.muxed:
            yield _sound_track(wanted, number, own[0])
    renditions = len(ladder) if wanted.muxed else sum(bool(rung.video and video) for rung in ladder)
    apart = () if wanted.muxed else sounds
    for number, sound in enumerate(apart, start=renditions):
        group = [other for other in sounds if other.group == sound.group]
        first = max(group, key=lambda other: (other.default, other.added is not None))
        yield _sound_track(wanted, number, sound).model_copy(update={"default": sound is first})
    for number, text in enumerate(texts, start=renditions + len(apart)):
        yield _text_track(wanted, number, text)


def thumbnails_of(wanted: AdaptiveSet, thumbs: Thumbs, video: VideoStream) -> Thumbnails:
    master = wanted.master("m3u8")
    sheets = Segments(
        pattern=f"{NAME}/sheet_%04d.jpg", key_pattern=beside(master, f"_{NAME}_{{number}}.jpg"), playlist=f"{NAME}.m3u8",
        **wanted.numbering,
    )  # fmt: skip
    width, height = thumbs.geometry(video).canvas
    return Thumbnails(
        sheets=sheets, columns=thumbs.columns, rows=thumbs.rows, width=width, height=height, interval_s=thumbs.interval_s,
        playlist_key=beside(master, f"_{NAME}.m3u8"),
    )  # fmt: skip


def _picture_track(
    wanted: AdaptiveSet, number: int, template: VideoTemplate, video: VideoStream, own: list[Sound]
) -> Track:
    width, height = rendition(template, video).canvas
    hdr = {"HDR10": "PQ", "HLG": "HLG"}.get(video.hdr, "SDR") if keeps_hdr(template) else "SDR"
    shown = Rendition(width=width, height=height, frame_rate=float(template.average_rate(video)), video_range=hdr)
    files, key = wanted.files("video"), wanted.sub_stream(number, "m3u8")
    return Track(
        kind="video", files=files, file=f"{picture_part(number)}/{PART_FILE}", rendition=shown,
        segments=_segments(wanted, number, files, "m4s"), playlist_key=key,
        # The packager writes them, ffmpeg does not.
        iframes_key="" if wanted.muxed or wanted.encryption else beside(key, "_iframes.m3u8"),
        group=own[0].group if own and not wanted.muxed else "",
        sound_file=f"{own[0].part}/{PART_FILE}" if own and wanted.muxed else "",
    )  # fmt: skip


def _sound_track(wanted: AdaptiveSet, number: int, sound: Sound) -> Track:
    files = wanted.files("audio")
    packed = PACKED.get(sound.template.codec or "aac", "m4s")
    return Track(
        kind="audio", files=files, file=f"{sound.part}/{PART_FILE}", segments=_segments(wanted, number, files, packed),
        playlist_key=wanted.sub_stream(number, "m3u8"), group=sound.group, language=sound.language, name=sound.name,
    )  # fmt: skip


def _text_track(wanted: AdaptiveSet, number: int, text: Subtitles) -> Track:
    file = f"s{number}"
    names = Segments(
        pattern=f"{file}.vtt", key_pattern=wanted.sub_stream(number, "vtt"), playlist=f"{file}.m3u8", **wanted.numbering
    )
    return Track(
        kind="text", files="vtt", file=f"{text.file}.vtt", segments=names, playlist_key=wanted.sub_stream(number, "m3u8"),
        language=text.language, name=text.name, default=text.default,
    )  # fmt: skip


def _segments(wanted: AdaptiveSet, number: int, files: Files, packed: str) -> Segments:
    extension = {"ts": "ts", "mp4": "m4s", "packed": packed, "vtt": "vtt"}[files]
    alone = "mp4" if files == "mp4" else extension
    name = f"s{number}"
    one = wanted.in_one_file
    return Segments(
        pattern=f"{name}.{alone}" if one else f"{name}_%05d.{extension}",
        key_pattern=wanted.sub_stream(number, alone) if one else wanted.sub_stream(number, extension, segment=True),
        playlist=f"{name}.m3u8", header=f"{name}_init.mp4" if files == "mp4" and not one else None, **wanted.numbering,
    )  # fmt: skip


def beside(key: str, ending: str) -> str:
    """A key with another ending than `.m3u8`."""
    return key.removesuffix(".m3u8") + ending
