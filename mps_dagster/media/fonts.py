"""The fonts for drawing text, and which one covers a character.

They come from wheels (Noto, OFL), never from the system, so that a text looks the same on every host. A font file is
opened when a character first needs it; HarfBuzz maps the file and reads only the parts that a text uses.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import regex  # type: ignore[import-untyped]
import uharfbuzz as hb  # type: ignore[import-untyped]

FontName = Literal["arial.ttf", "simkai.ttf", "sans", "sans-cjk"]


@dataclass(frozen=True)
class Face:
    """One face in one font file."""

    package: str
    file: str
    index: int = 0


def _noto(name: str) -> Face:
    return Face("manimgx_fonts", f"Noto{name}[wght].ttf")


LATIN = _noto("Sans")  # Latin, Greek, Cyrillic; the only font here with U+FFFD
EMOJI = _noto("Emoji")  # monochrome, so that emoji have the watermark's colour, as letters do
_INDIC = "Devanagari Bengali Tamil Telugu Gujarati Gurmukhi Kannada Malayalam Oriya Sinhala"
_OTHER = "Arabic Hebrew Thai Khmer Lao Myanmar Georgian Armenian Ethiopic Symbols"
SCRIPTS = tuple(_noto(f"Sans{script}") for script in f"{_INDIC} {_OTHER}".split())

_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HANGUL = regex.compile(r"\p{Hangul}")
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--\p{Hangul}]")  # HarfBuzz draws the Hangul fillers
_EMOJI = regex.compile(r"\p{Emoji_Presentation}|\N{VARIATION SELECTOR-16}")


def fallback_faces(font: FontName, text: str) -> tuple[Face, ...]:
    """The faces to try, in order. A Han character has one code point, but Japanese, Korean and Chinese shapes."""
    japanese, korean, simplified = range(3)  # the collection's order
    index = japanese if _KANA.search(text) else korean if _HANGUL.search(text) else simplified
    cjk = Face("manimgx_fonts_cjk", "NotoSansCJK-VF.otf.ttc", index)
    first = {
        # MPS's own two fonts are not free. Noto Sans replaces Arial; Noto Sans CJK replaces the Kai face (Chinese with
        # English), because its quotes and dashes have the width that Chinese text needs.
        "arial.ttf": (LATIN, cjk),
        "simkai.ttf": (cjk, LATIN),
        "sans": (LATIN, cjk),
        "sans-cjk": (cjk, LATIN),
    }[font]
    return (*first, *SCRIPTS, EMOJI)


@cache
def _load(face: Face) -> hb.Face:
    return hb.Face(hb.Blob.from_file_path(str(files(face.package) / face.file)), face.index)


@cache
def _font(face: Face) -> hb.Font:
    return hb.Font(_load(face))


def scaled_font(face: Face, scale: int) -> hb.Font:
    """A font for one drawing. Threads share the face but not the font, because its scale is mutable."""
    font = hb.Font(_load(face))
    font.scale = (scale, scale)
    font.set_variations({"wght": 400})  # the CJK font's default is its thinnest weight
    return font


def covers(face: Face, text: str) -> bool:
    """Whether every visible character has a glyph; joiners, selectors and the like need none."""
    return all(_font(face).get_nominal_glyph(ord(c)) for c in text if not _INVISIBLE.match(c))


def choose_face(cluster: str, faces: tuple[Face, ...], previous: Face) -> tuple[str, Face]:
    """The face for a grapheme cluster, and the cluster as that face can draw it. `previous`: the last cluster's face."""
    if previous != EMOJI and (cluster.isspace() or _INVISIBLE.fullmatch(cluster)):
        faces = (previous, *faces)  # keeps words in one run; not after an emoji, whose space is three letters wide
    elif _EMOJI.search(cluster):
        faces = (EMOJI, *faces)
    for form in (cluster, unicodedata.normalize("NFKC", cluster)):  # a mathematical bold A becomes an A
        for face in faces:
            if covers(face, form):
                return form, face
    for face in faces:  # drop a mark that no font has, but draw its letter
        if covers(face, cluster[0]):
            return "".join(c for c in cluster if covers(face, c)), face
    return "\N{REPLACEMENT CHARACTER}", LATIN
