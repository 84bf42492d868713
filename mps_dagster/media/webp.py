"""Parses animated WebP files: ffmpeg 9 reads and writes them, but PyAV's libav 8 skips their chunks."""

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
    durations_ms: tuple[int, ...]
    """Of each picture; at least one."""


def animation(path: Path) -> Animation | None:
    """What an animated WebP contains; None for any other file and for one without a complete picture."""
    with path.open("rb") as file:
        head = file.read(30)
        if len(head) < 30 or (head[:4], head[8:16]) != (b"RIFF", b"WEBPVP8X") or not head[20] & _ANIMATED:
            return None
        durations_ms = _durations_ms(file, path.stat().st_size)
    if not durations_ms:
        return None
    return Animation(_uint24(head, 24) + 1, _uint24(head, 27) + 1, bool(head[20] & _ALPHA), durations_ms)


def _durations_ms(file: BinaryIO, size_bytes: int) -> tuple[int, ...]:
    """Durations of the complete pictures."""
    durations_ms, at = [], 12
    while at + 8 <= size_bytes:
        file.seek(at)
        start = file.read(24)
        kind, length = struct.unpack_from("<4sI", start)
        # Chunks are padded to even sizes.
        at += 8 + length + length % 2
        if kind == b"ANMF" and length >= 16 and at <= size_bytes:
            durations_ms.append(_uint24(start, 20))
    return tuple(durations_ms)


def _uint24(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 3], "little")
