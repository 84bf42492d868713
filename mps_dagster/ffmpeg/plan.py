"""`Plan`: one subtask as a value. What to run, what must come out, and where it goes.

A plan is pure data. Its commands name only files of the subtask's own work folder, by names that we chose (`source`,
`out.mp4`, `shot_0001.jpg`), so nothing that a user wrote is ever on a command line.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mps_dagster.frozen import Facts
from mps_dagster.media.fonts import FontName

SOURCE = "source"
"""The staged source's name in the work folder."""


class TextImage(Facts):
    """A text to be rendered to a PNG before the commands run."""

    file: str
    text: str
    font: FontName
    size_px: int
    color: str
    alpha: float


class StoredImage(Facts):
    """A watermark picture to be fetched before the commands run: an object, or a file of the templates folder."""

    file: str
    image: str
    digest: str
    """sha256 of the content that the plan was made for; another content makes another fingerprint."""


class Copied(Facts):
    """What streams that were not encoded must still be."""

    video: str | None = None
    """Codec of the picture, by ffmpeg's name."""
    audio: tuple[str, ...] = ()
    turned: tuple[int, bool] = (0, False)
    """The picture's rotation, and whether it is mirrored."""
    display_size: tuple[int, int] | None = None


class Expected(Facts):
    """What the probe must find in an output before it is published; None = not checked."""

    kind: Literal["video", "audio", "image", "animation", "playlist"]
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    tolerance_s: float = 0.0
    may_be_still: bool = False
    """Whether a length of 0 will do: of equal frames libwebp makes one picture."""
    audio: bool = False
    copied: Copied | None = None


class OutputFile(Facts):
    """One file of the work folder and the object that it becomes."""

    file: str
    key: str
    expected: Expected


class Segments(Facts):
    """A numbered series whose length only the run knows (HLS segments), and the playlist that names its members."""

    pattern: str
    """printf pattern in the work folder, numbers from 0."""
    key_pattern: str
    """Object key with `{number}` left in."""
    first: int
    step: int
    width: int
    placeholder: str
    playlist: str
    """Work-folder name of the playlist, whose lines are rewritten to the segments' published names."""
    header: str | None = None
    """Work-folder name of the fMP4 initialisation segment."""

    def key(self, index: int) -> str:
        number = str(self.first + index * self.step)
        return self.key_pattern.replace("{number}", number.rjust(self.width, self.placeholder))


class TextFile(Facts):
    """A text object that follows from the plan alone (a WebVTT index)."""

    key: str
    text: str


class Plan(Facts):
    commands: tuple[tuple[str, ...], ...]
    """ffmpeg's arguments without the program itself, run one after another in the work folder."""
    outputs: tuple[OutputFile, ...]
    duration_s: float
    """Media seconds that each command works through; progress is measured against it."""
    attachments: tuple[TextImage | StoredImage, ...] = ()
    segments: Segments | None = None
    texts: tuple[TextFile, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)
    """What the result should say beyond the files themselves: time points, sprite cell size … (reference B.2)."""

    @property
    def primary_key(self) -> str:
        """The output that names the subtask: the playlist, the video, the first picture."""
        return self.outputs[0].key
