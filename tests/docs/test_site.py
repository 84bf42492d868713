"""The documentation's site: built strictly, whole, and without any address outside of it that a page needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from projects import ROOT

pytestmark = pytest.mark.slow

LINK = re.compile(r"\]\(([^)\s]+)\)")
LOADED = {"script", "img", "iframe", "source", "video"}
"""Elements that a browser fetches for."""


class Page(HTMLParser):
    """Its anchors, and what it refers to: `links` for a reader, `loads` for the browser."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in {"canonical", "next", "prev"}:
            self.loads.append(given["href"])
        elif tag in LOADED and "src" in given:
            self.loads.append(given["src"])


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@dataclass(frozen=True)
class Site:
    folder: Path
    pages: dict[Path, Page]

    def has(self, address: str, anchor: str, of: Path) -> bool:
        """Whether a relative address leads from a page to a file of the site and, in a page, to an anchor."""
        target = (of.parent / unquote(address)).resolve() if address else of
        page = self.pages.get(target)
        return unquote(anchor) in page.anchors if page else target.is_file()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    built = folder / "build" / "site"
    files = [path for path in built.rglob("*.html") if path.name != "404.html"]
    return Site(built, {path: Page(path.read_text()) for path in files})


def broken(site: Site) -> Iterator[str]:
    for path, page in site.pages.items():
        for link in [*page.links, *page.loads]:
            address, anchor = urldefrag(link)
            if not urlsplit(address).scheme and not site.has(address, anchor, path):
                yield f"{path.name}: {link}"


def test_every_page_picture_and_anchor_that_is_linked_exists(site):
    """The builder's own check knows nothing of pictures and of what lies outside of docs/."""
    assert len(site.pages) > 30
    assert list(broken(site)) == []


def test_a_page_needs_nothing_from_elsewhere(site):
    loads = [(path.name, load) for path, page in site.pages.items() for load in page.loads]
    assert len(loads) > len(site.pages)
    assert [load for load in loads if urlsplit(load[1]).scheme] == []


def test_lists_and_tables_are_not_read_as_sentences(site):
    """Git hosts want no empty line before a list; the site does."""
    merged = re.compile(r"<p>[^<]*\n(?:[-*] |\d+\. |\|)")
    assert [path.name for path in site.pages if merged.search(path.read_text())] == []


def test_every_page_is_in_the_navigation():
    [nav] = re.findall(r"^nav:.*", (ROOT / "mkdocs.yml").read_text(), re.DOTALL | re.MULTILINE)
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(leaves(yaml.safe_load(nav)["nav"])) == pages


def leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav if isinstance(nav, list) else nav.values():
            yield from leaves(item)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_what_is_linked_from_the_root_exists(site, name: str):
    """Also the anchors of pages."""
    for link in LINK.findall((ROOT / name).read_text()):
        address, anchor = urldefrag(link)
        if not urlsplit(address).scheme:
            assert (ROOT / address).exists(), link
        if anchor:
            page = Path(address).relative_to("docs").with_suffix(".html")
            assert site.has(page.as_posix(), anchor, site.folder / "index.html"), link
