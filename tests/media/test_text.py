"""Text watermarks: drawing, fonts, directions, refusals."""

# ruff: noqa: RUF001 - letters that look like Latin ones are the subject

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.media import fonts, text
from mps_dagster.media.text import render_text

SCRIPTS = {
    "latin": "Zażółć gęślą jaźń, Đặng",
    "cyrillic": "Съешь же ещё ґанок",
    "greek": "Ξεσκεπάζω ᾳ̈",
    "chinese": "你好，世界！繁體字",
    "japanese": "日本語のテキスト、カタカナ",
    "korean": "한국어 텍스트",
    "arabic": "السَّلامُ عليكم، فارسی می‌خواهم اردو ہے",
    "hebrew": "שָׁלוֹם עולם",
    "devanagari": "क्षत्रिय हिन्दी।",
    "bengali": "বাংলা ভাষা",
    "tamil": "தமிழ் மொழி",
    "telugu": "తెలుగు",
    "thai": "สวัสดีชาวโลก ที่นี่",
    "lao": "ພາສາລາວ",
    "khmer": "ភាសាខ្មែរ",
    "myanmar": "မြန်မာဘာသာ",
    "georgian and armenian": "ქართული հայերեն",
    "ethiopic": "አማርኛ",
    "emoji": "😀👍🏽❤️👨‍👩‍👧‍👦🇩🇪🏴󠁧󠁢󠁥󠁮󠁧󠁿1️⃣",
    "symbols": "★☆→√∞≤©™€₹₿✓♪─█①½",
    "mixed": "Sale 50% 特価 تخفيض 🎉 скидка हिन्दी",
}


def draw(content: str, **changes: Any) -> Image.Image:
    """The picture of `content`, with default settings."""
    style: dict[str, Any] = {"font": "sans", "size_px": 40, "color": "0xFFFFFF", "alpha": 1.0} | changes
    return Image.open(io.BytesIO(render_text(content, **style)))


def render_bytes(content: str) -> bytes:
    return render_text(content, font="sans", size_px=40, color="0xFFFFFF", alpha=1.0)


def glyphs(content: str) -> list[text.Glyph]:
    return text._line(content, "sans", 40).glyphs


def order(content: str) -> list[str]:
    """The words' runs from left to right."""
    runs = text._visual_order(list(text._runs(content, fonts.fallback_faces("sans", content))))
    return [run.text.strip() for run in runs if run.text.strip()]


@pytest.mark.parametrize("font", ["arial.ttf", "simkai.ttf", "sans", "sans-cjk"])
@pytest.mark.parametrize("content", SCRIPTS.values(), ids=SCRIPTS)
def test_every_script_has_ink_and_no_missing_glyph(content: str, font: fonts.FontName) -> None:
    """Each cluster is drawn as written, by a face whose cmap has it; glyph 0 would be the empty box."""
    faces = fonts.fallback_faces(font, content)
    runs = list(text._runs(content, faces))
    assert "".join(run.text for run in runs) == content
    assert all(fonts.covers(run.face, run.text) for run in runs)
    assert all(glyph.id for glyph in text._line(content, font, 40).glyphs)
    assert draw(content, font=font).getbbox()


def test_arabic_letters_are_joined() -> None:
    """Three letters meem in a word take the final, medial and initial shapes; none is the isolated one."""
    word = [glyph.id for glyph in glyphs("ممم")]
    assert len(set(word)) == 3
    assert glyphs("م")[0].id not in word


def test_devanagari_conjuncts_are_formed() -> None:
    """क्ष is one glyph, not three."""
    assert len(glyphs("क्ष")) == 1


def test_an_emoji_family_is_one_glyph() -> None:
    """Joiners, flags and skin tones stay in one cluster, so the font can compose them."""
    for emoji in ("👨‍👩‍👧‍👦", "🇩🇪", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"):
        assert len([glyph for glyph in glyphs(emoji) if glyph.font.get_glyph_extents(glyph.id).width]) == 1, emoji


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Hello שלום abc", ["Hello", "שלום", "abc"]),
        ("שלום 2024!", ["!", "2024", "שלום"]),
        ("السلام abc 12", ["abc 12", "السلام"]),
        ("abc שלום 12 עולם", ["abc", "עולם", "12", "שלום"]),
    ],
)
def test_mixed_directions_are_drawn_in_visual_order(content: str, expected: list[str]) -> None:
    """The first strong letter gives the line's direction; numbers and foreign words keep their own."""
    assert order(content) == expected


def test_right_to_left_letters_run_right_to_left() -> None:
    """The first glyph from the left is the word's last letter."""
    for word in ("אב", "دذ"):
        assert [glyph.id for glyph in glyphs(word)[:1]] == [glyph.id for glyph in glyphs(word[1])[:1]]


def test_a_right_to_left_line_is_at_the_right_edge() -> None:
    """Short Hebrew under long Latin leaves the left side empty."""
    picture = draw("Hello world, long\nשלום")
    lower_left = picture.crop((0, picture.height * 2 // 3, picture.width // 2, picture.height))
    assert lower_left.getbbox() is None


def test_han_characters_take_the_shape_of_the_language_around_them() -> None:
    """直 is drawn differently in Japanese and in Chinese text."""
    assert fonts.fallback_faces("sans", "直す")[1] != fonts.fallback_faces("sans", "直接")[1]
    assert fonts.fallback_faces("sans", "직 直")[1] not in (
        fonts.fallback_faces("sans", "直す")[1],
        fonts.fallback_faces("sans", "直接")[1],
    )


def test_chinese_has_the_weight_of_the_latin_beside_it() -> None:
    """The CJK font's default weight is hairline."""
    assert draw("一").height >= draw("—").height - 1


def test_a_space_has_the_width_of_the_text_not_of_the_emoji() -> None:
    """The emoji font's own space is as wide as an emoji."""
    assert fonts.choose_face(" ", fonts.fallback_faces("sans", ""), fonts.EMOJI)[1] == fonts.LATIN


def test_a_newline_makes_the_picture_taller() -> None:
    """Every kind of line end begins a new line."""
    for end in ("\n", "\r\n", "\u2028"):
        assert draw(f"one{end}two").height > draw("one two").height * 1.5


def test_other_control_characters_are_dropped() -> None:
    """Also bidi overrides, which could disguise a text."""
    assert render_bytes("a\x00b\x07c\x1b\u202ed\u2066") == render_bytes("abcd")


def test_a_decomposed_letter_stays_in_the_font_of_its_word() -> None:
    """macOS writes ä as two characters; the CJK font has the letter but not the two dots alone."""
    assert draw("ba\u0308r", font="simkai.ttf") == draw("b\u00e4r", font="simkai.ttf")


def test_halves_of_a_surrogate_pair_are_joined() -> None:
    """JSON with escapes can leave a pair in a string; a lone half is drawn as U+FFFD."""
    assert render_bytes("\ud83d\ude00") == render_bytes("😀")
    assert render_bytes("a\ud83d") == render_bytes("a\N{REPLACEMENT CHARACTER}")


def test_a_character_that_no_font_has_is_replaced() -> None:
    """First by its compatibility form, then by U+FFFD; a letter under an unknown mark stays."""
    faces = fonts.fallback_faces("sans", "")
    assert fonts.choose_face("𝓗", faces, fonts.LATIN) == ("H", fonts.LATIN)
    assert fonts.choose_face("\U00010d4a", faces, fonts.LATIN) == ("\N{REPLACEMENT CHARACTER}", fonts.LATIN)
    assert fonts.choose_face("x\U0001e94a", faces, fonts.LATIN) == ("x", fonts.LATIN)


@pytest.mark.parametrize(
    "hostile",
    [
        "'%{pts}:textfile=/etc/passwd",
        "\\\\:a=b,c;[out]'\\''\\n%{expr\\:1}",
        '$(reboot) `id` {} %s "',
        "Z" + "\u0301\u0323" * 50,
        "\ud800\udfff\udc00 lone",
        "\U0010ffff\ue000\ufdd0\u0378",
        "\u200f\u061c(a\u200db)\ufe0f",
        "fillers \u115fa\u1160\u3164\uffa0\U0001bca0",
    ],
)
def test_hostile_text_is_just_drawn(hostile: str) -> None:
    """There is no syntax: every text is a picture, without an empty box in it."""
    assert draw(hostile).getbbox()
    assert all(glyph.id for line in text._lines(hostile) for glyph in glyphs(line))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_is_drawn_or_refused(content: str) -> None:
    """No empty box and no exception but InvalidConfiguration, whatever the code points."""
    assert all(glyph.id for line in text._lines(content) for glyph in glyphs(line))
    with contextlib.suppress(InvalidConfiguration):
        assert draw(content, size_px=8).getbbox()


@pytest.mark.parametrize("blank", ["", "  \n\t", "\u200b\u200d\ufeff", "\x00\x07", "\u3000\u202e"])
def test_a_text_without_ink_is_refused(blank: str) -> None:
    """An empty watermark is a mistake in the template."""
    with pytest.raises(InvalidConfiguration, match="nothing to draw"):
        draw(blank)


@pytest.mark.slow
def test_the_picture_is_the_same_every_time_and_everywhere() -> None:
    """Also in a fresh process under another locale."""
    code = (
        "import sys; from mps_dagster.media.text import render_text\n"
        "look = dict(font='sans', size_px=40, color='0xFFFFFF', alpha=1.0)\n"
        "sys.stdout.buffer.write(render_text(sys.argv[1], **look))"
    )
    env = os.environ | {
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "ja",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONUTF8": "1",
    }
    for content in ("直 ş سلام", SCRIPTS["mixed"]):
        there = subprocess.run([sys.executable, "-c", code, content], capture_output=True, check=True, env=env)
        assert there.stdout == render_bytes(content) == render_bytes(content)


def test_colour_and_alpha_are_in_the_pixels() -> None:
    """Full ink has the colour and the alpha; around it the colour stays, so scaling makes no dark fringe."""
    picture = draw("█", color="0x1a2B3c", alpha=0.5)
    assert picture.mode == "RGBA"
    assert picture.getpixel((picture.width // 2, picture.height // 2)) == (0x1A, 0x2B, 0x3C, 128)
    assert picture.getpixel((0, 0)) == (0x1A, 0x2B, 0x3C, 0)


def test_the_picture_is_cropped_to_the_ink_plus_a_margin() -> None:
    """Leading and trailing spaces and the font's line height add nothing."""
    picture = draw("  .  ")
    margin = text.MARGIN_PX
    assert picture.getchannel("A").getbbox() == (margin, margin, picture.width - margin, picture.height - margin)
    assert max(picture.size) < 15


def test_overlapping_glyphs_do_not_add_up() -> None:
    """Half-transparent Arabic has no darker joints: its letters are filled as one shape."""
    _, highest = draw("السلام", alpha=0.5).getchannel("A").getextrema()
    assert highest == 128


def test_a_wide_picture_is_whole() -> None:
    """Its right end has ink too; the rasterizer's own limit is 4096."""
    alpha = draw("H" * 100, size_px=100).getchannel("A")
    assert alpha.width > 7000
    assert alpha.crop((alpha.width - 60, 0, alpha.width, alpha.height)).getextrema() == (0, 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": 7}, "font size 7 px"),
        ({"size_px": 4097}, "font size 4097 px"),
        ({"color": "#FFFFFF"}, "0xRRGGBB"),
        ({"color": "0xFFFFFF\n"}, "0xRRGGBB"),
        ({"alpha": 0.0}, "font alpha 0.0"),
        ({"alpha": 1.1}, "font alpha 1.1"),
        ({"alpha": float("nan")}, "font alpha nan"),
        ({"font": "/etc/passwd"}, "font '/etc/passwd'"),
        ({"content": "W" * 100, "size_px": 200}, "px wide"),
        ({"content": "\n".join("W" * 100), "size_px": 200}, "px high"),
        ({"content": "W" * 1001}, "1001 characters"),
    ],
)
def test_an_invalid_value_is_named_in_the_error(changes: dict[str, Any], message: str) -> None:
    """With its limit or its syntax."""
    with pytest.raises(InvalidConfiguration, match=message):
        draw(**{"content": "Hello"} | changes)


def test_the_hint_for_a_wide_text_is_a_size_that_fits() -> None:
    """Following the hint is enough."""
    with pytest.raises(InvalidConfiguration) as refused:
        draw("W" * 100, size_px=200)
    size = int(refused.value.hint.split(" px")[0].rsplit(" ", 1)[1])
    assert 8000 < draw("W" * 100, size_px=size).width <= text.MAX_SIDE_PX + 2 * text.MARGIN_PX + 2
