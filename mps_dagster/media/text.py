"""Draws Unicode text as a transparent PNG for ffmpeg to overlay, so that no user text is in a filter string.

HarfBuzz shapes and rasterizes. Pillow's text layout is not used: it loads the host's libfribidi at run time and without
one (slim containers) draws Arabic unjoined and left to right.
"""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import get_args

import regex  # type: ignore[import-untyped]
import uharfbuzz as hb  # type: ignore[import-untyped]
from bidi import algorithm as bidi  # type: ignore[import-untyped]
from PIL import Image, ImageOps

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.media import fonts
from mps_dagster.media.fonts import Face, FontName

MIN_SIZE_PX, MAX_SIZE_PX = 8, 4096
MAX_SIDE_PX = 8192
MAX_CHARACTERS = 1000  # MPS allows 100; this limits the work
MARGIN_PX = 2
UNIT = 64  # layout works in 1/64 px, y upwards

# Control characters (lines are split before), and bidi embeddings, overrides and isolates, which can disguise a text.
# Also the shorthand format controls: invisible characters that no font has and that HarfBuzz does not hide.
_DROPPED = regex.compile(r"[\p{Cc}\u202a-\u202e\u2066-\u2069\U0001bca0-\U0001bca3]")


@dataclass(frozen=True)
class Run:
    """Neighbouring clusters that are shaped together. Odd bidi levels run right to left."""

    text: str
    face: Face
    script: str
    level: int


@dataclass(frozen=True)
class Glyph:
    font: hb.Font
    id: int
    x: int
    y: int


@dataclass(frozen=True)
class Line:
    """One shaped line; its baseline starts at (0, 0)."""

    glyphs: list[Glyph]
    width: int
    ascent: int
    descent: int
    rtl: bool


def render_text(text: str, *, font: FontName, size_px: int, color: str, alpha: float) -> bytes:
    """PNG bytes: RGBA, cropped to the ink plus a small margin. `color` is 0xRRGGBB, `alpha` in (0, 1]."""
    if font not in get_args(FontName):
        raise InvalidConfiguration(f"font {font!r} is not known", hint=f"one of {', '.join(get_args(FontName))}")
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise InvalidConfiguration(f"font size {size_px} px is outside {MIN_SIZE_PX} to {MAX_SIZE_PX} px")
    if not regex.fullmatch("0x[0-9A-Fa-f]{6}", color):
        raise InvalidConfiguration(f"font colour {color!r} is not 0xRRGGBB", hint="white is 0xFFFFFF")
    if not 0 < alpha <= 1:
        raise InvalidConfiguration(f"font alpha {alpha} is outside (0, 1]", hint="1 is opaque")
    ink = _rasterize(_layout([_line(line, font, size_px) for line in _lines(text)]), size_px)
    mask = ImageOps.expand(ink, MARGIN_PX).point([round(level * alpha) for level in range(256)])
    picture = Image.new("RGBA", mask.size, color.replace("0x", "#"))
    picture.putalpha(mask)
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


def _lines(text: str) -> list[str]:
    """The drawable characters: surrogate pairs joined, lone surrogates replaced, control characters dropped."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidConfiguration(f"the text has {len(text)} characters, the limit is {MAX_CHARACTERS}")
    unicode = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    composed = unicodedata.normalize("NFC", unicode).replace("\t", " ")
    return [_DROPPED.sub("", line).rstrip() for line in composed.splitlines()]


def _line(text: str, font: FontName, size_px: int) -> Line:
    faces = fonts.fallback_faces(font, text)
    glyphs: list[Glyph] = []
    x = ascent = descent = 0
    for run in _visual_order(list(_runs(text or " ", faces))):
        scaled = fonts.scaled_font(run.face, size_px * UNIT)
        extents = scaled.get_font_extents("ltr")
        ascent, descent = max(ascent, extents.ascender), max(descent, -extents.descender)
        buffer = _shape(run, scaled)
        for info, at in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
            glyphs.append(Glyph(scaled, info.codepoint, x + at.x_offset, at.y_offset))
            x += at.x_advance
    return Line(glyphs, x, ascent, descent, rtl=bidi.get_base_level(text) == 1)


def _runs(text: str, faces: tuple[Face, ...]) -> Iterator[Run]:
    """The line in logical order, split where font, script or direction changes, never inside a grapheme cluster."""
    levels = _levels(text)
    pieces: list[Run] = []
    previous, at = Run("", faces[0], "Zyyy", 0), 0
    for cluster in regex.findall(r"\X", text):
        drawable, face = fonts.choose_face(cluster, faces, previous.face)
        buffer = hb.Buffer()
        buffer.add_str(drawable)
        buffer.guess_segment_properties()
        # Punctuation has no script of its own.
        previous = Run(drawable, face, buffer.script or previous.script, levels[at])
        pieces.append(previous)
        at += len(cluster)
    for run, members in groupby(pieces, key=lambda piece: replace(piece, text="")):
        yield replace(run, text="".join(piece.text for piece in members))


def _levels(text: str) -> list[int]:
    """Each character's bidi level (UAX 9 without explicit embeddings). The first strong letter sets the line's direction."""
    base = bidi.get_base_level(text)
    text = "".join(c if unicodedata.bidirectional(c) else "\N{REPLACEMENT CHARACTER}" for c in text)  # unassigned
    storage = bidi.get_empty_storage() | {"base_level": base, "base_dir": "LR"[base]}
    bidi.get_embedding_levels(text, storage)
    bidi.explicit_embed_and_overrides(storage)  # removes joiners and the like from storage["chars"]
    bidi.resolve_weak_types(storage)
    bidi.resolve_neutral_types(storage, False)
    bidi.resolve_implicit_levels(storage, False)
    resolved = iter(storage["chars"])
    levels: list[int] = []
    for character in text:
        is_removed = unicodedata.bidirectional(character) in bidi.X9_REMOVED
        levels.append((levels[-1] if levels else base) if is_removed else next(resolved)["level"])
    return levels


def _visual_order(runs: list[Run]) -> list[Run]:
    """Left to right as drawn (UAX 9, L2): from the highest level down, reverse the runs at that level or above."""
    for level in range(max(run.level for run in runs), 0, -1):
        runs = [run for stretch in _stretches(runs, level) for run in stretch]
    return runs


def _stretches(runs: list[Run], level: int) -> Iterator[list[Run]]:
    for high, stretch in groupby(runs, key=lambda run: run.level >= level):
        yield list(stretch)[:: -1 if high else 1]


def _shape(run: Run, font: hb.Font) -> hb.Buffer:
    buffer = hb.Buffer()
    buffer.add_str(run.text)
    buffer.direction = "rtl" if run.level % 2 else "ltr"
    buffer.script = run.script
    buffer.language = "und"  # never the host's locale
    hb.shape(font, buffer)
    return buffer


def _layout(lines: list[Line]) -> list[Glyph]:
    """The glyphs of all lines in one coordinate system, with right-to-left lines at the right edge."""
    glyphs: list[Glyph] = []
    widest = max((line.width for line in lines), default=0)
    y = 0
    for line in lines:
        y -= line.ascent
        x = widest - line.width if line.rtl else 0
        glyphs += [replace(glyph, x=x + glyph.x, y=y + glyph.y) for glyph in line.glyphs]
        y -= line.descent
    return glyphs


def _rasterize(glyphs: list[Glyph], size_px: int) -> Image.Image:
    """The glyphs' coverage, cropped to the ink."""
    drawing = hb.RasterDraw()
    drawing.extents = _extents(glyphs, size_px)  # HarfBuzz's own are cut off at 4096 px, without an error
    drawing.scale_factor = (UNIT, UNIT)
    for glyph in glyphs:
        drawing.transform = (1, 0, 0, 1, glyph.x, glyph.y)
        drawing.draw_glyph(glyph.font, glyph.id)
    raster = drawing.render()
    at = raster.extents
    mask = Image.frombytes("L", (at.width, at.height), raster.buffer, "raw", "L", at.stride, -1)
    return mask.crop(mask.getbbox())


def _extents(glyphs: list[Glyph], size_px: int) -> hb.RasterExtents:
    """The pixels that hold all ink, plus one for rounding. Raises if there are none or too many, before drawing."""
    boxes = [(glyph, glyph.font.get_glyph_extents(glyph.id)) for glyph in glyphs]
    inked = [(glyph.x + box.x_bearing, glyph.y + box.y_bearing, box) for glyph, box in boxes if box and box.width]
    if not inked:
        raise InvalidConfiguration("the text has nothing to draw", hint="give at least one visible character")
    left, right = min(x for x, _, _ in inked), max(x + box.width for x, _, box in inked)
    bottom, top = min(y + box.height for _, y, box in inked), max(y for _, y, _ in inked)
    for side, pixels in (("wide", math.ceil((right - left) / UNIT)), ("high", math.ceil((top - bottom) / UNIT))):
        if pixels > MAX_SIDE_PX:
            raise InvalidConfiguration(
                f"at font size {size_px} px the text is {pixels} px {side}, the limit is {MAX_SIDE_PX} px",
                hint=f"reduce the font size to {size_px * MAX_SIDE_PX // pixels} px or less, or shorten the text",
            )
    x, y = left // UNIT - 1, bottom // UNIT - 1
    return hb.RasterExtents(x, y, right // UNIT + 2 - x, top // UNIT + 2 - y, 0)
