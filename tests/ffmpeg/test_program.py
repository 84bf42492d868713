"""The probe in a separate process, and its limits."""

from __future__ import annotations

import pytest

from mps_dagster.errors import ContentMalformed
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import Settings

pytestmark = pytest.mark.slow


def test_a_probe_that_takes_too_long_is_stopped(tmp_path):
    """The error names the limit."""
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    with pytest.raises(ContentMalformed, match="it ran longer than 0 s"):
        Ffmpeg.of(Settings(home=tmp_path)).probe(path, wall_s=0)
