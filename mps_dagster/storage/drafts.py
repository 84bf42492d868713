"""Files that are not there yet: written under a hidden name beside their target, renamed when they are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write the file, making its folder; readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        draft.chmod(mode)
        draft.write_bytes(content)
        draft.replace(path)


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """A hidden file beside the target that is gone afterwards unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".mps-")
    os.close(descriptor)
    draft = Path(name)
    try:
        # mkstemp's files are for their owner alone; outputs are for whoever may read the folder.
        draft.chmod(0o644)
        yield draft
    finally:
        draft.unlink(missing_ok=True)
