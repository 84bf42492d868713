"""What is in the segments, as PyAV reads it."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass

import av

from .renditions import Piece, Rendition

ADTS_HERTZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


@dataclass(frozen=True)
class Samples:
    """The leading stream of a segment: its pictures, or its sound if it has none."""

    kind: str
    start: float
    end: float
    count: int
    keys: tuple[float, ...]
    """Times of the key frames."""
    first_is_key: bool
    """Whether the first picture in the order of decoding is a key frame."""
    codecs: frozenset[str]
    """Of all streams in it, in the words of CODECS as far as the streams tell: avc1.4d400a, mp4a.40.2, hvc1."""
    size: tuple[int, int]


def samples(rendition: Rendition, piece: Piece) -> Samples:
    if piece.file.suffix == ".aac":
        return _packed(piece.content())
    with av.open(io.BytesIO(rendition.beginning() + piece.content())) as container:
        leading = next(iter([*container.streams.video, *container.streams.audio]))
        packets = [packet for packet in container.demux(leading) if packet.pts is not None]
        base = leading.time_base
        # The last packet of a transport stream has no duration; each of ours lasts as long as the others.
        length = max((packet.duration or 0) for packet in packets) or _step([packet.pts for packet in packets])
        times = sorted(packet.pts for packet in packets)
        return Samples(
            kind=leading.type,
            start=float(times[0] * base),
            end=float((times[-1] + length) * base),
            count=len(packets),
            keys=tuple(float(packet.pts * base) for packet in packets if packet.is_keyframe),
            first_is_key=packets[0].is_keyframe,
            codecs=frozenset(
                codec(stream, packets[0]) for stream in container.streams if stream.type in {"video", "audio"}
            ),
            size=(leading.width, leading.height) if leading.type == "video" else (0, 0),
        )


def _packed(content: bytes) -> Samples:
    """AAC without a container: ADTS frames of 1024 samples behind an ID3 tag with the time of the first (RFC 8216, 3.4)."""
    owner = b"com.apple.streaming.transportStreamTimestamp\0"
    at = content.index(owner) + len(owner)
    start = int.from_bytes(content[at : at + 8]) / 90_000
    at, count, hertz = content.index(b"\xff\xf1", at), 0, 1
    while at < len(content):
        header = content[at : at + 7]
        hertz = ADTS_HERTZ[header[2] >> 2 & 0xF]
        at += int.from_bytes(header[3:6]) >> 5 & 0x1FFF
        count += 1
    return Samples(
        "audio", start, start + 1024 * count / hertz, count, (start,), True, frozenset({"mp4a.40.2"}), (0, 0)
    )


def lone_picture(rendition: Rendition, piece: Piece) -> str:
    """What is wrong with a piece of an I-frame playlist, which must be decodable by itself; empty if nothing is."""
    try:
        with av.open(io.BytesIO(rendition.beginning() + piece.content())) as container:
            first = next(container.decode(video=0))
    except (av.error.FFmpegError, StopIteration) as error:
        return f"cannot be decoded: {error}"
    return "" if first.key_frame else "is no key frame"


def _step(times: list[int]) -> int:
    ordered = sorted(times)
    return min((after - before for before, after in itertools.pairwise(ordered)), default=0)


def codec(stream: av.stream.Stream, packet: av.Packet) -> str:
    """As CODECS names it; only the family where the stream does not tell the profile in a few bytes."""
    name = stream.codec_context.name
    if name == "h264":
        return f"avc1.{_h264(stream.codec_context.extradata or bytes(packet)).hex()}"
    if name == "aac":
        return "mp4a.40." + {"LC": "2", "HE-AAC": "5", "HE-AACv2": "29"}.get(stream.profile or "LC", "2")
    families = {
        "hevc": "hvc1",
        "av1": "av01",
        "libdav1d": "av01",
        "vp9": "vp09",
        "ac3": "ac-3",
        "eac3": "ec-3",
        "mp3": "mp4a",
    }
    return families.get(name, name)


def _h264(header: bytes) -> bytes:
    """Profile, constraints and level: of a configuration record, or of the first parameter set in a byte stream."""
    if header[:1] == b"\x01":
        return header[1:4]
    at = next(at for at in range(len(header) - 7) if header[at : at + 3] == b"\0\0\1" and header[at + 3] & 0x1F == 7)
    return header[at + 4 : at + 7]
