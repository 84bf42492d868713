"""The boxes of fragmented MP4, as mp4box.js reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .programs import node
from .renditions import Rendition

TICK_S = 0.0005
BEGINS_S = 0.01
"""By how much a picture may begin after the sound, as it may in the source."""


def box_findings(renditions: Sequence[Rendition]) -> list[str]:
    """One file of header and segments for each rendition, all read in one process."""
    fragmented = [one for one in renditions if one.init and one.kind in {"video", "audio", "text"}]
    if not fragmented:
        return []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{at}.mp4") for at in range(len(fragmented))]
        for file, rendition in zip(files, fragmented, strict=True):
            file.write_bytes(rendition.beginning() + b"".join(piece.content() for piece in rendition.pieces))
        answers = node("boxes.mjs", *map(str, files))
    return [
        f"{rendition.name}: {finding}"
        for rendition, answer in zip(fragmented, answers, strict=True)
        for finding in _findings(rendition, answer)
    ]


def _findings(rendition: Rendition, answer: dict[str, Any]) -> list[str]:
    found = [f"mp4box.js: {error}" for error in answer["errors"]]
    if not answer["fragments"]:
        return [*found, "mp4box.js finds no fragment"]
    for track in sorted({one["track"] for one in answer["fragments"]}):
        due = 0.0
        for at, fragment in enumerate(one for one in answer["fragments"] if one["track"] == track):
            if at == 0 and rendition.kind != "audio" and fragment["time"] > BEGINS_S:
                found.append(f"its first fragment begins at {fragment['time']:.3f} s")
            if at and abs(fragment["time"] - due) > TICK_S:
                found.append(
                    f"fragment {at} begins at {fragment['time']:.3f} s (tfdt), the one before ends at {due:.3f} s"
                )
            due = fragment["time"] + fragment["duration"]
    return found
