"""A rendition as a list of pieces, whichever kind of playlist names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7


@dataclass(frozen=True)
class Piece:
    """A segment: a file, or a part of one."""

    file: Path
    duration: float
    """Seconds, as the playlist says."""
    start: int = 0
    size: int | None = None
    """None: the whole file."""
    key: bytes | None = None
    iv: bytes | None = None

    @property
    def length(self) -> int:
        return self.file.stat().st_size if self.size is None else self.size

    @property
    def missing(self) -> bool:
        return not self.file.is_file() or self.start + self.length > self.file.stat().st_size

    def content(self) -> bytes:
        """The bytes, without AES-128."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.length)
        if self.key is None:
            return content
        decryptor = Cipher(algorithms.AES128(self.key), modes.CBC(self.iv or bytes(16))).decryptor()
        unpadder = PKCS7(128).unpadder()
        return unpadder.update(decryptor.update(content) + decryptor.finalize()) + unpadder.finalize()


@dataclass(frozen=True)
class Declared:
    """What a variant or a representation says of itself; what it does not say is None."""

    bandwidth: int | None = None
    average: int | None = None
    codecs: str | None = None
    resolution: tuple[int, int] | None = None
    frame_rate: float | None = None


@dataclass(frozen=True)
class Rendition:
    name: str
    """A path or an id, for messages."""
    kind: str
    """video (audio may be in it), audio, text, image or iframes."""
    pieces: tuple[Piece, ...]
    init: Piece | None = None
    declared: Declared | None = None
    """None if nothing is said of it: the members of an audio group."""
    companions: tuple[Rendition, ...] = ()
    """The audio that may play with a variant, and counts in its bandwidth."""
    target_duration: float | None = None

    @property
    def parts(self) -> tuple[Piece, ...]:
        return (*([self.init] if self.init else []), *self.pieces)

    def beginning(self) -> bytes:
        """The header that each segment needs before it."""
        return self.init.content() if self.init else b""


def rates(rendition: Rendition) -> tuple[float, float]:
    """Peak and average, in bits a second, as RFC 8216 defines them, with the largest audio that plays with it.

    The peak is that of the runs of segments that last between half and one and a half target durations.
    """
    pieces = [(piece.length, piece.duration) for piece in rendition.pieces]
    target = rendition.target_duration or max(seconds for _, seconds in pieces)
    peak = 0.0
    for first in range(len(pieces)):
        size = duration = 0.0
        for length, seconds in pieces[first:]:
            size, duration = size + length, duration + seconds
            if 0.5 * target <= duration <= 1.5 * target:
                peak = max(peak, 8 * size / duration)
    average = 8 * sum(length for length, _ in pieces) / sum(seconds for _, seconds in pieces)
    others = [rates(companion) for companion in rendition.companions]
    return peak + max((other[0] for other in others), default=0), average + max(
        (other[1] for other in others), default=0
    )
