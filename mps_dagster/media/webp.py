"""Animated WebP, read by hand: libav 8 skips its chunks, but ffmpeg writes it, so somebody must look at the result."""

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
    lossless: bool
    shown_ms: tuple[int, ...]
    """How long each picture stays."""


def animation(path: Path) -> Animation | None:
    """The facts of an animated WebP; None for every other file."""
    with path.open("rb") as file:
        head = file.read(30)
        if len(head) < 30 or (head[:4], head[8:16]) != (b"RIFF", b"WEBPVP8X") or not head[20] & _ANIMATED:
            return None
        shown_ms, lossless = _pictures(file, path.stat().st_size)
    width, height = _uint24(head, 24) + 1, _uint24(head, 27) + 1
    return Animation(width, height, bool(head[20] & _ALPHA), lossless, tuple(shown_ms))


def _pictures(file: BinaryIO, size_bytes: int) -> tuple[list[int], bool]:
    """Durations of the pictures that are whole, and if they are lossless."""
    shown_ms, lossless, at = [], False, 12
    while at + 8 <= size_bytes:
        file.seek(at)
        start = file.read(28)
        kind, length = struct.unpack_from("<4sI", start)
        # Chunks are padded to even sizes.
        at += 8 + length + length % 2
        if kind == b"ANMF" and at <= size_bytes:
            shown_ms.append(_uint24(start, 20))
            lossless = lossless or start[24:] == b"VP8L"
    return shown_ms, lossless


def _uint24(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 3], "little")
