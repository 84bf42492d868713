"""Comments cite facts about MPS's API as "reference A.5": each can be looked up in the repository."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CITED = re.compile(r"[Rr]eference ((?:[A-J](?:\.\d+)?(?:, | to | and )?)+)|\(([A-J]\.\d+)\)")


def test_every_cited_section_is_on_the_page():
    headings = set(
        re.findall(r"^##+ ([A-J](?:\.\d+)?)", (ROOT / "docs/reference/mps-api.md").read_text(), re.MULTILINE)
    )
    files = [path for folder in ("mps_dagster", "tests", "bench") for path in (ROOT / folder).rglob("*.py")]
    cited = {
        section
        for path in files
        for found in CITED.finditer(path.read_text())
        for section in re.findall(r"[A-J](?:\.\d+)?", found[1] or found[2])
    }
    assert len(cited) > 20
    assert cited <= headings
