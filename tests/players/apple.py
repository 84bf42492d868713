"""Apple's authoring rules for HLS, as far as files tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import m3u8

from .hls import master_playlist
from .renditions import Rendition, rates
from .samples import samples

TARGET_S = 6
KEY_FRAME_S = 2


def apple_findings(master: Path) -> list[str]:
    """What is not as Apple wants it; its tables of bit rates and sizes are not looked at."""
    renditions = master_playlist(master)
    found = list(_master(master))
    for rendition in renditions:
        playlist = master.parent / rendition.name
        found += [f"{rendition.name}: {finding}" for finding in _media(rendition, playlist)]
    if any(one.kind == "video" for one in renditions) and not any(one.kind == "iframes" for one in renditions):
        found.append("there is no I-frame playlist")
    return found


def _master(path: Path) -> Iterator[str]:
    master = m3u8.loads(path.read_text())
    for variant in master.playlists:
        info = variant.stream_info
        if info.resolution and info.closed_captions is None:
            yield f"{variant.uri}: CLOSED-CAPTIONS is missing"
        if info.resolution and not info.audio:
            yield f"{variant.uri}: its audio is in no group"
    if not master.is_independent_segments and not all(
        m3u8.loads((path.parent / one.uri).read_text()).is_independent_segments for one in master.playlists
    ):
        yield "EXT-X-INDEPENDENT-SEGMENTS is missing"


def _media(rendition: Rendition, path: Path) -> Iterator[str]:
    playlist = m3u8.loads(path.read_text())
    if (playlist.playlist_type or "").upper() != "VOD":
        yield "EXT-X-PLAYLIST-TYPE is not VOD"
    if max(piece.duration for piece in rendition.pieces) > TARGET_S + 0.5:
        yield f"its segments are longer than {TARGET_S} s"
    if rendition.kind in {"video", "audio"}:
        peak, average = rates(rendition)
        if peak > 2 * average:
            yield f"its peak of {peak:.0f} is more than twice its average of {average:.0f}"
    if rendition.kind == "video":
        yield from _key_frames(rendition)


def _key_frames(rendition: Rendition) -> Iterator[str]:
    read = [samples(rendition, piece) for piece in rendition.pieces]
    if read[0].kind != "video":
        return
    keys = [key for one in read for key in one.keys]
    longest = max((after - before for before, after in itertools.pairwise([*keys, read[-1].end])), default=0)
    if longest > KEY_FRAME_S + 0.05:
        yield f"{longest:.2f} s pass without a key frame"
