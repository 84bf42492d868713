"""Reads a folder of HLS and DASH with the parsers that others use, and decodes it.

    assert not examine(folder, frames=250)

A finding is a sentence; an empty list means that nothing is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import m3u8

from .boxes import box_findings
from .dash import representations
from .declared import bandwidth_findings, declared_findings
from .decoding import decode, decode_playlist
from .hls import master_playlist
from .renditions import Rendition
from .samples import Samples, lone_picture, samples

APART_S = 0.001
"""Of boundaries that are the same: clocks of different scales round."""
SOUND_S = 0.05
"""A frame of audio may reach into the next segment."""


def examine(folder: Path, path: str = "", *, frames: int | None = None, key: str | None = None) -> list[str]:
    """The findings of one playlist or MPD, or of all masters and MPDs in the folder.

    `frames` is how many pictures each rung should have; `key` is that of common encryption, in hex, to decode with.
    """
    paths = [folder / path] if path else [*_masters(folder), *sorted(folder.glob("*.mpd"))]
    if not paths:
        return ["there is neither a master playlist nor an MPD"]
    return [f"{one.name}: {finding}" for one in paths for finding in _findings(one, frames, key)]


def _masters(folder: Path) -> list[Path]:
    """Playlists that no other one names."""
    lists = {path: m3u8.loads(path.read_text()) for path in sorted(folder.glob("*.m3u8"))}
    return [path for path, playlist in lists.items() if playlist.is_variant] or list(lists)


def _findings(path: Path, frames: int | None, key: str | None) -> Iterator[str]:
    hls = path.suffix == ".m3u8"
    try:
        renditions = master_playlist(path) if hls else representations(path)
    except FileNotFoundError as error:
        yield f"{error.filename} is missing"
        return
    lost = [
        f"{one.name}: {part.file.name} is missing or too short"
        for one in renditions
        for part in one.parts
        if part.missing
    ]
    yield from lost
    if lost:
        return
    measured: dict[str, list[Samples]] = {}
    for rendition in renditions:
        for finding in _rendition(rendition, path, measured, frames, key):
            yield f"{rendition.name}: {finding}"
    yield from _alignment([one for one in renditions if one.kind == "video"], measured)
    yield from box_findings(renditions)


def _rendition(
    rendition: Rendition, path: Path, measured: dict[str, list[Samples]], frames: int | None, key: str | None
) -> Iterator[str]:
    hls = path.suffix == ".m3u8"
    if hls:
        yield from _playlist(path.parent / rendition.name)
    if rendition.kind == "text":
        yield from _text(rendition)
    if rendition.kind == "iframes":
        yield from _pictures(rendition)
    if rendition.kind not in {"video", "audio"}:
        return
    try:
        read = measured[rendition.name] = [samples(rendition, piece) for piece in rendition.pieces]
    except (OSError, StopIteration, ValueError) as error:
        yield f"a segment cannot be read: {error}"
        return
    yield from _times(rendition, read)
    yield from declared_findings(rendition, read, hls=hls)
    yield from _decoding(rendition, path.parent / rendition.name if hls else None, read, frames, key)


def _playlist(path: Path) -> Iterator[str]:
    playlist = m3u8.loads(path.read_text())
    if not playlist.is_endlist:
        yield "EXT-X-ENDLIST is missing"
    longest = max(segment.duration for segment in playlist.segments)
    if round(longest) > playlist.target_duration:
        yield f"EXT-X-TARGETDURATION is {playlist.target_duration}, a segment lasts {longest:.3f} s"
    if any(segment.discontinuity for segment in playlist.segments):
        yield "it has a discontinuity"


def _text(rendition: Rendition) -> Iterator[str]:
    for piece in rendition.pieces:
        if piece.file.suffix == ".vtt" and not piece.content().removeprefix(b"\xef\xbb\xbf").startswith(b"WEBVTT"):
            yield f"{piece.file.name} is no WebVTT"


def _pictures(rendition: Rendition) -> Iterator[str]:
    for at, piece in enumerate(rendition.pieces):
        if problem := lone_picture(rendition, piece):
            yield f"picture {at} of {piece.file.name} {problem}"
    yield from bandwidth_findings(rendition)


def _times(rendition: Rendition, read: Sequence[Samples]) -> Iterator[str]:
    video = read[0].kind == "video"
    for at, (piece, one) in enumerate(zip(rendition.pieces, read, strict=True)):
        name = f"segment {at} ({piece.file.name})"
        if video and not one.first_is_key:
            yield f"{name} does not begin with a key frame"
        if abs(one.end - one.start - piece.duration) > (0.5 * (one.end - one.start) / one.count if video else SOUND_S):
            yield f"{name} lasts {one.end - one.start:.3f} s, declared are {piece.duration:.3f} s"
    for at, (before, after) in enumerate(itertools.pairwise(read), 1):
        slack = 0.5 * (before.end - before.start) / before.count
        if abs(after.start - before.end) > slack:
            yield f"segment {at} begins at {after.start:.3f} s, the one before ends at {before.end:.3f} s"


def _decoding(
    rendition: Rendition, playlist: Path | None, read: Sequence[Samples], frames: int | None, key: str | None
) -> Iterator[str]:
    count, error = decode_playlist(playlist) if playlist and not key else decode(rendition, key)
    if error:
        yield f"ffmpeg -xerror: {error}"
    if read[0].kind != "video":
        return
    there = sum(one.count for one in read)
    if count != there:
        yield f"{count} of {there} pictures were decoded"
    if frames is not None and there != frames:
        yield f"it has {there} pictures, {frames} were planned"


def _alignment(rungs: Sequence[Rendition], measured: dict[str, list[Samples]]) -> Iterator[str]:
    """Players switch at the boundaries of segments, which must be the same in all rungs."""
    read = [(one, measured[one.name]) for one in rungs if one.name in measured]
    for rendition, other in read[1:]:
        first, starts = read[0][0], read[0][1]
        if len(starts) != len(other):
            yield f"{rendition.name} has {len(other)} segments, {first.name} {len(starts)}"
            continue
        for at, (one, two) in enumerate(zip(starts, other, strict=True)):
            if abs(one.start - two.start) > APART_S:
                yield f"segment {at} of {rendition.name} begins at {two.start:.3f} s, that of {first.name} at {one.start:.3f} s"
