"""What ffmpeg decodes, and at what it stops."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from clips import FFMPEG

from .renditions import Rendition


def decode(rendition: Rendition, key: str | None = None) -> tuple[int, str]:
    """Pictures that were decoded, and the first error; `key` is that of common encryption, in hex.

    The bytes are joined as a player appends them.
    """
    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder, "joined")
        joined.write_bytes(rendition.beginning() + b"".join(piece.content() for piece in rendition.pieces))
        keyed = ("-decryption_key", key) if key else ()
        return _decoded([*keyed, "-i", str(joined)])


def decode_playlist(playlist: Path) -> tuple[int, str]:
    """The same, of a playlist that ffmpeg reads by itself."""
    return _decoded(["-allowed_extensions", "ALL", "-protocol_whitelist", "file,crypto", "-i", str(playlist)])


def _decoded(source: list[str]) -> tuple[int, str]:
    argv = [FFMPEG, "-hide_banner", "-nostdin", "-v", "error", "-xerror", "-threads", "1", *source]
    argv += [
        "-map",
        "0:v:0?",
        "-map",
        "0:a?",
        "-f",
        "null",
        "-fps_mode",
        "passthrough",
        "-progress",
        "-",
        "-nostats",
        "-",
    ]
    process = subprocess.run(argv, capture_output=True, text=True, check=False)
    counts = re.findall(r"^frame=\s*(\d+)", process.stdout, re.MULTILINE)
    error = process.stderr.strip().splitlines()[:1] or (
        [f"exit code {process.returncode}"] if process.returncode else []
    )
    return int(counts[-1]) if counts else 0, error[0] if error else ""
