"""Animated WebP, read by hand: libav 8 skips its chunks; ffmpeg 9 reads and writes it, so it must be probed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ANIMATED, _ALPHA = 0x02, 0x10
"""Bits of the VP8X chunk's flags."""


@dataclass(frozen=True, slots=True)
class Animation:
    width: int
    height: int
    alpha: bool
    shown_ms: tuple[int, ...]
    """How long each picture stays; one at least."""


def animation(path: Path) -> Animation | None:
    """The facts of an animated WebP; None for every other file, and for one without a whole picture."""
    with path.open("rb") as file:
        head = file.read(30)
        if len(head) < 30 or (head[:4], head[8:16]) != (b"RIFF", b"WEBPVP8X") or not head[20] & _ANIMATED:
            return None
        shown_ms = _shown_ms(file, path.stat().st_size)
    if not shown_ms:
        return None
    return Animation(_uint24(head, 24) + 1, _uint24(head, 27) + 1, bool(head[20] & _ALPHA), shown_ms)


def _shown_ms(file: BinaryIO, size_bytes: int) -> tuple[int, ...]:
    """Durations of the pictures that are whole."""
    durations, at = [], 12
    while at + 8 <= size_bytes:
        file.seek(at)
        start = file.read(24)
        kind, length = struct.unpack_from("<4sI", start)
        # Chunks are padded to even sizes.
        at += 8 + length + length % 2
        if kind == b"ANMF" and length >= 16 and at <= size_bytes:
            durations.append(_uint24(start, 20))
    return tuple(durations)


def _uint24(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 3], "little")
