"""Every picture of the docs is one that `make screenshots` takes."""

from __future__ import annotations

import re
import runpy

import pytest
from projects import ROOT

from .pages import PAGES

PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
LARGEST = {".png": 300_000, ".webp": 2_000_000}
"""Bytes; a page should not wait for its pictures."""


@pytest.fixture(scope="module")
def taken() -> set[str]:
    """The files that the script writes."""
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    return {f"{shot.name}.png" for shot in pictures["SHOTS"]} | {f"{shot.name}.webp" for shot in pictures["RECORDINGS"]}


def shown() -> set[str]:
    found = [(page, address) for page in PAGES for _, address in PICTURE.findall(page.read_text())]
    return {
        (page.parent / address).resolve().relative_to(ROOT / "docs" / "images").as_posix() for page, address in found
    }


def test_each_picture_that_is_shown_is_taken_by_the_script_and_shown_somewhere(taken):
    """And no other is kept."""
    assert shown() == taken == {path.name for path in (ROOT / "docs" / "images").iterdir()}


def test_each_picture_says_in_words_what_it_shows():
    assert [page.name for page in PAGES for words, _ in PICTURE.findall(page.read_text()) if len(words) < 20] == []


def test_pictures_are_small():
    sizes = {path: path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()}
    assert [path.name for path, size in sizes.items() if size > LARGEST[path.suffix]] == []
