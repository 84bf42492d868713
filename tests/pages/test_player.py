"""The shipped player is its npm package's, unchanged but for what would be loaded from elsewhere."""

from __future__ import annotations

import pytest
from players.programs import why_not

from pages.player import SHIPPED, files

pytestmark = pytest.mark.slow


def test_the_shipped_player_is_its_packages():
    if problem := why_not():
        pytest.skip(problem)
    shipped = {path.name: path.read_text() for path in SHIPPED.iterdir()}
    assert shipped == files(), "run: python tests/pages/player.py"
