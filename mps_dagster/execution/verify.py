"""Checks outputs before they are published: ffmpeg exits 0 on truncated sources and on pictures that it never wrote."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from mps_dagster.errors import OutputRejected, SourceFileError
from mps_dagster.execution.joining import check_frames
from mps_dagster.execution.segments import check_whole, header_files, segment_files
from mps_dagster.ffmpeg.plan import Copied, Expected, OutputFile, Plan
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.probe import probe
from mps_dagster.storage.bucket import CHUNK_BYTES
from mps_dagster.streaming.packaging import MASTER, Packaging
from mps_dagster.streaming.segments import Segments

SAMPLE = "sample"
"""The start of a playlist's media as one file, to be probed."""
NO_PARTS: Mapping[str, MediaInfo] = {}
ROUNDED_S = 0.005
"""By how much playlists round times."""


@dataclass(frozen=True, slots=True)
class Produced:
    """One verified file."""

    path: Path
    key: str
    width: int | None = None
    height: int | None = None
    media: MediaInfo | None = None


def verified(plan: Plan, folder: Path, parts: Mapping[str, MediaInfo] = NO_PARTS) -> tuple[Produced, ...]:
    """All files of the plan, verified. Raise `OutputRejected` if one is missing or not as planned.

    `parts` is what was found in the file of each part.
    """
    if plan.packaging:
        return _manifests(plan.outputs, plan.packaging, folder, parts)
    return tuple(_one(output, plan, folder, parts) for output in plan.outputs)


def _one(output: OutputFile, plan: Plan, folder: Path, parts: Mapping[str, MediaInfo]) -> Produced:
    path = folder / output.file
    if output.expected.kind == "playlist" and plan.segments and path.is_file():
        check_whole(path, plan.segments, folder)
    if not path.is_file() or not path.stat().st_size:
        raise OutputRejected(
            f"ffmpeg reported success but made no {output.key}", hint="the source may have no picture there"
        )
    expected = output.expected
    if expected.kind == "report":
        return _report(output, path)
    if expected.kind == "image":
        return _image(output, path)
    if expected.kind == "playlist":
        media, duration_s = _playlist(plan, folder)
    else:
        media = _probed(path, output.key)
        duration_s = media.duration_s
        check_frames(plan, output.key, media, parts)
    _check(output.key, expected, media, duration_s)
    width, height = media.video.display_size if media.video else (None, None)
    if expected.kind == "playlist":
        media = media.model_copy(update={"container": "hls,applehttp", "duration_s": duration_s})
    return Produced(path, output.key, width, height, media)


def _report(output: OutputFile, path: Path) -> Produced:
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        raise OutputRejected(f"{output.key} is not JSON: {error}") from error
    return Produced(path, output.key)


def _image(output: OutputFile, path: Path) -> Produced:
    try:
        with Image.open(path) as image:
            size = image.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise OutputRejected(f"{output.key} is not a picture: {error}") from error
    expected = (output.expected.width, output.expected.height)
    if size != expected:
        raise OutputRejected(f"{output.key} is {size[0]} x {size[1]}, not {expected[0]} x {expected[1]} as planned")
    return Produced(path, output.key, *size)


def _probed(path: Path, key: str) -> MediaInfo:
    try:
        return probe(path)
    except SourceFileError as error:
        raise OutputRejected(f"{key} cannot be read back: {error.message}") from error


def _playlist(plan: Plan, folder: Path) -> tuple[MediaInfo, float]:
    """Media information from the first segment, with the duration of the playlist."""
    if plan.segments is None:
        raise OutputRejected(f"{plan.primary_key} is a playlist of nothing")
    durations = _durations(plan.segments, folder, plan.primary_key)
    text = (folder / plan.segments.playlist).read_text()
    headers = header_files(plan.segments, folder)
    sample = folder / SAMPLE
    with sample.open("wb") as whole:
        for file in [*headers, *segment_files(plan.segments, folder)[:1]]:
            _copy(file, whole, _first_end(text))
    return _probed(sample, plan.primary_key), sum(durations)


def _durations(segments: Segments, folder: Path, key: str) -> list[float]:
    """Of each segment, in seconds."""
    text = (folder / segments.playlist).read_text()
    durations = [float(value) for value in re.findall(r"^#EXTINF:([\d.]+)", text, re.MULTILINE)]
    files = header_files(segments, folder) + segment_files(segments, folder)
    if not durations or not all(file.is_file() and file.stat().st_size for file in files):
        raise OutputRejected(f"{key} names segments that were not made")
    return durations


def _manifests(
    outputs: Sequence[OutputFile], packaging: Packaging, folder: Path, parts: Mapping[str, MediaInfo]
) -> tuple[Produced, ...]:
    """Every track is whole and as long as planned, and the renditions' segments begin at the same times."""
    for output in outputs:
        if not (folder / output.file).is_file():
            raise OutputRejected(f"the packager reported success but made no {output.key}")
    lengths = {}
    for track in packaging.tracks:
        if not packaging.encryption:
            check_whole(folder / track.segments.playlist, track.segments, folder)
        lengths[track.number] = _durations(track.segments, folder, track.playlist_key)
    pictures = [lengths[track.number] for track in packaging.of_kind("video")]
    if any(len(other) != len(pictures[0]) or _differ(other, pictures[0]) for other in pictures):
        raise OutputRejected(f"{outputs[0].key} has renditions whose segments begin at other times")
    media = parts[packaging.largest.part]
    duration_s = max(sum(lengths[track.number]) for track in packaging.tracks if track.kind != "text")
    return tuple(_manifest(output, folder, media, duration_s) for output in outputs)


def _manifest(output: OutputFile, folder: Path, media: MediaInfo, duration_s: float) -> Produced:
    _check(output.key, output.expected, media, duration_s)
    width, height = media.video.display_size if media.video else (None, None)
    container = "hls,applehttp" if output.file == MASTER else "dash"
    media = media.model_copy(update={"container": container, "duration_s": duration_s})
    return Produced(folder / output.file, output.key, width, height, media)


def _differ(some: list[float], others: list[float]) -> bool:
    return any(abs(one - other) > ROUNDED_S for one, other in zip(some, others, strict=True))


def _first_end(playlist: str) -> int:
    """The end of the first segment in its file, which may hold all segments."""
    last = re.search(r"^#EXT-X-BYTERANGE:(\d+)(?:@(\d+))?", playlist, re.MULTILINE)
    return int(last[1]) + int(last[2] or 0) if last else sys.maxsize


def _copy(path: Path, to: BinaryIO, end: int) -> None:
    with path.open("rb") as file:
        while (left := end - file.tell()) > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            to.write(chunk)


def _check(key: str, expected: Expected, media: MediaInfo, duration_s: float) -> None:
    still = expected.may_be_still and duration_s == 0
    if expected.duration_s is not None and not still and abs(duration_s - expected.duration_s) > expected.tolerance_s:
        raise OutputRejected(
            f"{key} lasts {duration_s:.2f} s, not {expected.duration_s:.2f} s as planned",
            hint="the source may be damaged in places",
        )
    if expected.width is not None:
        size = media.video.display_size if media.video else None
        if size != (expected.width, expected.height):
            raise OutputRejected(f"{key} has pictures of {size}, not ({expected.width}, {expected.height}) as planned")
    if expected.audio and not media.audio:
        raise OutputRejected(f"{key} has no sound, though the source has")
    if expected.copied:
        _check_copied(key, expected.copied, media)


def _check_copied(key: str, copied: Copied, media: MediaInfo) -> None:
    """Check that the file declares what it holds: a muxer may lose the codec, the rotation or the pixels' shape."""
    video, sounds = media.video, {stream.codec for stream in media.audio}
    if copied.audio and not sounds <= set(copied.audio):
        raise OutputRejected(f"{key} is a copy of {copied.audio} audio, and reads as {sounds}", hint="name a codec")
    if not copied.video:
        return
    if video is None or video.codec != copied.video:
        codec = video.codec if video else "nothing"
        raise OutputRejected(f"{key} is a copy of {copied.video} video, and reads as {codec}", hint="name a codec")
    if (video.rotation, video.mirrored) != copied.turned:
        raise OutputRejected(f"{key} lost how the source's picture is turned", hint="name a video codec")
    # Containers round the shape of pixels.
    sizes = zip(video.display_size, copied.display_size or video.display_size, strict=True)
    if any(abs(measured - size) > 1 + size / 100 for measured, size in sizes):
        raise OutputRejected(
            f"{key} shows as {video.display_size}, and its source as {copied.display_size}", hint="name a video codec"
        )
