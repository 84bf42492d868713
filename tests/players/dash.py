"""MPDs, read by the package mpegdash: one static period, with templates or one file for each representation."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpegdash.parser import MPEGDASHParser

from .renditions import Declared, Piece, Rendition


def representations(path: Path) -> tuple[Rendition, ...]:
    mpd = MPEGDASHParser.parse(str(path))
    seconds = _seconds(mpd.media_presentation_duration)
    return tuple(
        _rendition(path.parent, adaptation, one, seconds)
        for period in mpd.periods
        for adaptation in period.adaptation_sets
        for one in adaptation.representations
    )


def _seconds(duration: str) -> float:
    hours, minutes, seconds = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", duration).groups()
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0)


def _rendition(folder: Path, adaptation: Any, one: Any, seconds: float) -> Rendition:
    kind = adaptation.content_type or (one.mime_type or adaptation.mime_type).partition("/")[0]
    name = f"representation {one.id}"
    template = next(iter([*(one.segment_templates or []), *(adaptation.segment_templates or [])]), None)
    if template:
        init = Piece(folder / _named(template.initialization, one), 0) if template.initialization else None
        pieces = tuple(_templated(folder, template, one, seconds))
    else:
        init, pieces = _single(folder, one)
    return Rendition(name, {"application": "text"}.get(kind, kind), pieces, init, _declared(adaptation, one, kind))


def _named(pattern: str, one: Any, **numbers: int) -> str:
    values = {"RepresentationID": one.id, "Bandwidth": one.bandwidth, **numbers}

    def filled(match: re.Match[str]) -> str:
        return f"{values[match[1]]:{match[2].lstrip('%')}}" if match[2] else str(values[match[1]])

    return re.sub(r"\$(\w+)(%0\d+d)?\$", filled, pattern)


def _templated(folder: Path, template: Any, one: Any, seconds: float) -> Iterator[Piece]:
    scale, number, time = template.timescale or 1, template.start_number if template.start_number is not None else 1, 0
    for at, (start, length) in enumerate(_timeline(template, seconds * scale)):
        time = time if start is None else start
        yield Piece(folder / _named(template.media, one, Number=number + at, Time=time), length / scale)
        time += length


def _timeline(template: Any, whole: float) -> Iterator[tuple[int | None, int]]:
    if not template.segment_timelines:
        for _ in range(math.ceil(whole / template.duration - 1e-6)):
            yield None, template.duration
        return
    for entry in template.segment_timelines[0].Ss:
        for again in range((entry.r or 0) + 1):
            yield (entry.t if again == 0 else None), entry.d


def _single(folder: Path, one: Any) -> tuple[Piece | None, tuple[Piece, ...]]:
    file = folder / one.base_urls[0].base_url_value
    base = next(iter(one.segment_bases or []), None)
    if base is None:
        # Subtitles in a file of their own.
        return None, (Piece(file, 0),)
    first, last = map(int, base.initializations[0].range.split("-"))
    return Piece(file, 0, first, last - first + 1), tuple(_indexed(file, *map(int, base.index_range.split("-"))))


def _indexed(file: Path, first: int, last: int) -> Iterator[Piece]:
    """The segments that the index of a file (sidx) names."""
    index = file.read_bytes()[first : last + 1]
    assert index[4:8] == b"sidx", f"no index at {first} of {file.name}"
    wide = index[8]
    scale = struct.unpack_from(">I", index, 16)[0]
    offset = struct.unpack_from(">Q" if wide else ">I", index, 28 if wide else 24)[0]
    at = 38 if wide else 30
    start = last + 1 + offset
    for _ in range(struct.unpack_from(">H", index, at)[0]):
        size, duration = struct.unpack_from(">II", index, at + 2)
        yield Piece(file, duration / scale, start, size & 0x7FFFFFFF)
        start, at = start + (size & 0x7FFFFFFF), at + 12


def _declared(adaptation: Any, one: Any, kind: str) -> Declared:
    above, _, below = str(one.frame_rate or adaptation.frame_rate or "").partition("/")
    width, height = one.width or adaptation.width, one.height or adaptation.height
    return Declared(
        bandwidth=one.bandwidth,
        codecs=one.codecs or adaptation.codecs,
        resolution=(width, height) if kind == "video" and width else None,
        frame_rate=float(above) / float(below or 1) if above else None,
    )
