"""`Segments`: how the numbered files of one media playlist are named."""

from __future__ import annotations

import posixpath

from mps_dagster.frozen import Facts


class Segments(Facts):
    """Numbered files whose count is known only after the run, and their playlist."""

    pattern: str
    """printf pattern in the work folder, numbers from 0; or one file that holds all segments."""
    key_pattern: str
    """Object key that contains `{number}`."""
    first: int
    step: int
    width: int
    placeholder: str
    playlist: str
    """Work-folder name of the playlist; its lines are rewritten to the segments' published names."""
    header: str | None = None
    """Work-folder name of the fMP4 initialisation segment."""

    def key(self, index: int) -> str:
        number = str(self.first + index * self.step)
        return self.key_pattern.replace("{number}", number.rjust(self.width, self.placeholder))


def header_key(playlist_key: str) -> str:
    """The fMP4 header has a name of its own beside the playlist."""
    return f"{posixpath.splitext(playlist_key)[0]}_init.mp4"
