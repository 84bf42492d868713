"""`Plan`: one subtask as plain data. What to run, what its outputs must look like, and where they go.

Its commands use only files of the subtask's work folder, under our own names (`source`, `out.mp4`, `shot_0001.jpg`), so
a command line never contains a user's text.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mps_dagster.ffmpeg.measures import CrfSearch, LoudnessSearch, Scoring
from mps_dagster.frozen import Facts
from mps_dagster.media.fonts import FontName
from mps_dagster.media.inspection import Inspection
from mps_dagster.streaming.packaging import Packaging
from mps_dagster.streaming.segments import Segments

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


class StoredFile(Facts):
    """An object that is fetched before the commands run: added subtitles, or added sound."""

    file: str
    address: str
    """`bucket/key`."""
    etag: str
    """Other content gives another fingerprint."""


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

    kind: Literal["video", "audio", "image", "animation", "playlist", "manifest", "report"]
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


class TextFile(Facts):
    """A text object whose content is already known (a WebVTT index)."""

    key: str
    text: str


class Part(Facts):
    """Work that is a subtask of its own: a rendition, a sound track, a chunk. Its files go into a plan's own commands."""

    name: str
    """`[a-z0-9_]+`, unique in its plan; the folder of its files in the plan's work folder."""
    plan: Plan
    """Its outputs have file names for keys; the break-down makes keys of them."""


class Chunks(Facts):
    """Parts with a picture's chunks, which the commands read as one file."""

    list: str
    """File in the work folder that names them for ffmpeg's concat demuxer."""
    parts: tuple[str, ...]
    file: str
    """Each part's own."""
    starts_us: tuple[int, ...]
    """When each begins, in microseconds."""


class Plan(Facts):
    commands: tuple[tuple[str, ...], ...]
    """ffmpeg's arguments without the program; the commands run one after another in the work folder."""
    outputs: tuple[OutputFile, ...]
    duration_s: float
    """Media seconds that each command processes; progress is a share of it."""
    attachments: tuple[TextImage | StoredImage | StoredFile, ...] = ()
    segments: Segments | None = None
    parts: tuple[Part, ...] = ()
    """Carried out before the commands, each as a subtask."""
    chunks: Chunks | None = None
    """Those of the parts that are joined."""
    frames: int = 0
    """How many pictures the video has; 0 = not known before."""
    packaging: Packaging | None = None
    """Done after the commands."""
    texts: tuple[TextFile, ...] = ()
    estimated_bytes: int = 0
    """Size of all outputs together; 0 = not known. Not part of the fingerprint."""
    measures: tuple[LoudnessSearch | CrfSearch, ...] = ()
    """Done before the commands, whose slots they fill in."""
    scoring: Scoring | None = None
    """Done with the first output, once it is verified."""
    comparison: tuple[tuple[str, ...], ...] = ()
    """Commands that write one picture without and one with the watermarks (`measures.BEFORE`, `AFTER`), for people. Not part of the
    fingerprint."""
    inspection: Inspection | None = None
    """How the source is judged by what the commands measured, if the output is a report on it."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """Further members of the task's result: time points, sprite cell size … (reference B.2)."""

    @property
    def primary_key(self) -> str:
        """The key that identifies the subtask: the playlist, the video or the first picture."""
        return self.outputs[0].key
