"""Which code a host has: runs go only to hosts that have the control host's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import mps_dagster

DEPENDENCIES = ("dagster", "imageio-ffmpeg")
"""Those whose other version would make something else of a run."""


@cache
def code_version() -> str:
    """Ours, and a hash of our files and of what they depend on most: `0.1.0-1f3a5c7e9b`."""
    digest = hashlib.sha256(" ".join(map(version, DEPENDENCIES)).encode())
    root = Path(mps_dagster.__file__).parent
    for path in sorted(_modules(root)):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{version('mps_dagster')}-{digest.hexdigest()[:10]}"


def _modules(root: Path) -> Iterator[Path]:
    """Never looks into `__pycache__`, which comes and goes while others import."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))
