"""The fonts that text is drawn with: which there are, and which one covers a character.

They come as wheels (Noto, OFL), never from the system, so that a text gives the same picture on every host. HarfBuzz
maps the files and reads only what a text needs of them; none is opened before a character asks for it.
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


LATIN = _noto("Sans")  # Latin, Greek, Cyrillic; the only one here with U+FFFD
EMOJI = _noto("Emoji")  # monochrome, so that emoji take the watermark's colour as letters do
_INDIC = "Devanagari Bengali Tamil Telugu Gujarati Gurmukhi Kannada Malayalam Oriya Sinhala"
_OTHER = "Arabic Hebrew Thai Khmer Lao Myanmar Georgian Armenian Ethiopic Symbols"
SCRIPTS = tuple(_noto(f"Sans{script}") for script in f"{_INDIC} {_OTHER}".split())

_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HANGUL = regex.compile(r"\p{Hangul}")
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--\p{Hangul}]")  # HarfBuzz draws the Hangul fillers
_EMOJI = regex.compile(r"\p{Emoji_Presentation}|\N{VARIATION SELECTOR-16}")


def chain(font: FontName, text: str) -> tuple[Face, ...]:
    """The faces to try, in order. Han characters have one code point but Japanese, Korean and Chinese shapes."""
    japanese, korean, simplified = range(3)  # the collection's order
    index = japanese if _KANA.search(text) else korean if _HANGUL.search(text) else simplified
    cjk = Face("manimgx_fonts_cjk", "NotoSansCJK-VF.otf.ttc", index)
    first = {
        # MPS's own two are not free. Noto Sans stands in for Arial; for the Kai face (Chinese with English) it is
        # Noto Sans CJK, whose quotes and dashes have the width that Chinese text wants.
        "arial.ttf": (LATIN, cjk),
        "simkai.ttf": (cjk, LATIN),
        "sans": (LATIN, cjk),
        "sans-cjk": (cjk, LATIN),
    }[font]
    return (*first, *SCRIPTS, EMOJI)


@cache
def _opened(face: Face) -> hb.Face:
    return hb.Face(hb.Blob.from_file_path(str(files(face.package) / face.file)), face.index)


@cache
def _lookup(face: Face) -> hb.Font:
    return hb.Font(_opened(face))


def sized(face: Face, scale: int) -> hb.Font:
    """A font for one drawing: its size is mutable, so it is not shared between threads as the face is."""
    font = hb.Font(_opened(face))
    font.scale = (scale, scale)
    font.set_variations({"wght": 400})  # the CJK file's own default is its thinnest weight
    return font


def covers(face: Face, text: str) -> bool:
    """Whether every character has a glyph; joiners, selectors and other invisible ones need none."""
    return all(_lookup(face).get_nominal_glyph(ord(c)) for c in text if not _INVISIBLE.match(c))


def choose(cluster: str, faces: tuple[Face, ...], before: Face) -> tuple[str, Face]:
    """The face for a grapheme cluster, and the cluster as it can draw it. `before` is the preceding cluster's face."""
    if before != EMOJI and (cluster.isspace() or _INVISIBLE.fullmatch(cluster)):
        faces = (before, *faces)  # keeps the words of one script in one run; an emoji's space is three letters wide
    elif _EMOJI.search(cluster):
        faces = (EMOJI, *faces)
    for form in (cluster, unicodedata.normalize("NFKC", cluster)):  # mathematical bold A is at least an A
        for face in faces:
            if covers(face, form):
                return form, face
    for face in faces:  # a letter under a mark that no font has stays that letter
        if covers(face, cluster[0]):
            return "".join(c for c in cluster if covers(face, c)), face
    return "\N{REPLACEMENT CHARACTER}", LATIN
