"""What the pages show: fenced blocks with where they stand, and code in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from projects import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    """Path from the root."""
    line: int
    language: str
    """As written behind the fence."""
    section: str
    """The heading of the second level above it; empty before the first one."""
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Those of all pages in these languages; all of them if none is named."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages or not languages]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        section = SECTION.findall(FENCE.sub("", before))
        yield Block(
            page.relative_to(ROOT).as_posix(),
            before.count("\n") + 1,
            match[1],
            section[-1] if section else "",
            match[2],
        )


def code(page: Path) -> list[str]:
    """What stands in backticks in the page's sentences, each in one line."""
    return [" ".join(span.split()) for span in CODE.findall(FENCE.sub("", page.read_text()))]
