"""HLS playlists, read by the package m3u8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import m3u8

from .renditions import Declared, Piece, Rendition

KINDS = {"AUDIO": "audio", "SUBTITLES": "text", "VIDEO": "video"}


def media_playlist(path: Path, kind: str, name: str = "") -> Rendition:
    playlist = m3u8.loads(path.read_text())
    pieces: list[Piece] = []
    for at, segment in enumerate(playlist.segments):
        pieces.append(_piece(path.parent, segment, (playlist.media_sequence or 0) + at, pieces))
    maps = playlist.segment_map
    init = _part(path.parent, maps[0].uri, maps[0].byterange, 0, pieces=[]) if maps else None
    return Rendition(name or path.name, kind, tuple(pieces), init, target_duration=playlist.target_duration)


def _piece(folder: Path, segment: m3u8.Segment, number: int, before: Sequence[Piece]) -> Piece:
    piece = _part(folder, segment.uri, segment.byterange, segment.duration, before)
    key = segment.key
    if not key or key.method != "AES-128":
        return piece
    iv = bytes.fromhex(key.iv[2:]) if key.iv else number.to_bytes(16, "big")
    return replace(piece, key=(folder / key.uri).read_bytes(), iv=iv)


def _part(folder: Path, uri: str, part: str | None, duration: float, pieces: Sequence[Piece]) -> Piece:
    file = folder / uri
    if not part:
        return Piece(file, duration)
    size, _, start = part.partition("@")
    # Without a start it follows the piece before.
    after = pieces[-1].start + pieces[-1].length if pieces and pieces[-1].file == file else 0
    return Piece(file, duration, int(start) if start else after, int(size))


def master_playlist(path: Path) -> tuple[Rendition, ...]:
    """All that a master leads to; each playlist once."""
    master = m3u8.loads(path.read_text())
    if not master.is_variant:
        return (media_playlist(path, "video"),)
    media = {
        one.uri: (one, media_playlist(path.parent / one.uri, KINDS[one.type], one.uri))
        for one in master.media
        if one.uri
    }
    variants: dict[str, Rendition] = {}
    for variant in master.playlists:
        group = variant.stream_info.audio
        companions = tuple(
            made for one, made in media.values() if one.type == "AUDIO" and group and one.group_id == group
        )
        kind = "video" if variant.stream_info.resolution or not _only_sound(variant.stream_info.codecs) else "audio"
        read = media_playlist(path.parent / variant.uri, kind, variant.uri)
        # A variant whose own playlist is a member of the group is not counted twice.
        companions = tuple(one for one in companions if one.name != read.name)
        variants.setdefault(read.name, replace(read, declared=_declared(variant.stream_info), companions=companions))
    frames = [_iframes(path.parent, one) for one in master.iframe_playlists]
    frames += [media_playlist(path.parent / one.uri, "image", one.uri) for one in master.image_playlists]
    # Audio without video is both a variant and a member of its group.
    return (*variants.values(), *(made for _, made in media.values() if made.name not in variants), *frames)


def _only_sound(codecs: str | None) -> bool:
    return bool(codecs) and all(
        codec.strip().startswith(("mp4a", "ac-3", "ec-3", "opus", "fLaC")) for codec in codecs.split(",")
    )


def _iframes(folder: Path, one: Any) -> Rendition:
    read = media_playlist(folder / one.uri, "iframes", one.uri)
    return replace(read, declared=_declared(one.iframe_stream_info))


def _declared(info: Any) -> Declared:
    rate = getattr(info, "frame_rate", None)
    return Declared(
        bandwidth=info.bandwidth, average=info.average_bandwidth, codecs=info.codecs,
        resolution=tuple(info.resolution) if info.resolution else None, frame_rate=float(rate) if rate else None,
    )  # fmt: skip
