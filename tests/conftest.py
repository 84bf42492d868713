"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from clips import Clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Clips:
    """Tiny clips, each made when it is first asked for."""
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def media_folder() -> Path:
    """A folder of real clips; tests that want one are skipped without it."""
    folder = os.environ.get("MPS_TEST_MEDIA")
    if not folder:
        pytest.skip("MPS_TEST_MEDIA names no folder of real clips")
    return Path(folder)
