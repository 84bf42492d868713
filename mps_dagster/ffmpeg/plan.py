"""`Plan`: one subtask as plain data. What to run, what its outputs must look like, and where they go.

Its commands use only files of the subtask's work folder, under our own names (`source`, `out.mp4`, `shot_0001.jpg`), so
a command line never contains a user's text.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mps_dagster.frozen import Facts
from mps_dagster.media.fonts import FontName

SOURCE = "source"
"""The staged source's name in the work folder."""


class TextImage(Facts):
    """A text that is rendered to a PNG before the commands run."""

    file: str
    text: str
    font: FontName
    size_px: int
    color: str
    alpha: float


class StoredImage(Facts):
    """A watermark picture that is fetched before the commands run: an object, or a file of the templates folder."""

    file: str
    image: str
    digest: str
    """sha256 of the planned content; other content gives another fingerprint."""


class Copied(Facts):
    """What the probe must find in copied streams."""

    video: str | None = None
    """ffmpeg's name of the video codec."""
    audio: tuple[str, ...] = ()
    turned: tuple[int, bool] = (0, False)
    """The video's rotation, and whether it is mirrored."""
    display_size: tuple[int, int] | None = None


class Expected(Facts):
    """What the probe must find in an output before it is published; None = not checked."""

    kind: Literal["video", "audio", "image", "animation", "playlist"]
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    tolerance_s: float = 0.0
    may_be_still: bool = False
    """Whether a duration of 0 is accepted: libwebp merges equal frames into one picture."""
    audio: bool = False
    copied: Copied | None = None


class OutputFile(Facts):
    """One file of the work folder, and the key of the object that it is published as."""

    file: str
    key: str
    expected: Expected


class Segments(Facts):
    """Numbered files whose count is known only after the run (HLS segments), and their playlist."""

    pattern: str
    """printf pattern in the work folder, numbers from 0."""
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


class TextFile(Facts):
    """A text object whose content is already known (a WebVTT index)."""

    key: str
    text: str


class Plan(Facts):
    commands: tuple[tuple[str, ...], ...]
    """ffmpeg's arguments without the program; the commands run one after another in the work folder."""
    outputs: tuple[OutputFile, ...]
    duration_s: float
    """Media seconds that each command processes; progress is a share of it."""
    attachments: tuple[TextImage | StoredImage, ...] = ()
    segments: Segments | None = None
    texts: tuple[TextFile, ...] = ()
    estimated_bytes: int = 0
    """Size of all outputs together; 0 = not known. Not part of the fingerprint."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """Further members of the task's result: time points, sprite cell size … (reference B.2)."""

    @property
    def primary_key(self) -> str:
        """The key that identifies the subtask: the playlist, the video or the first picture."""
        return self.outputs[0].key
