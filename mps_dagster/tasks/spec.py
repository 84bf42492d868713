"""What every task module is made of: `Spec`, the wanted output; `OutputNames`, where it goes; `TaskType`, the catalogue's row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, NoVideoMedia
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.stills import Stills
from mps_dagster.media.geometry import Adaptive, FillType
from mps_dagster.media.info import Facts, MediaInfo, VideoStream
from mps_dagster.storage.keys import check_bucket_name

Side = Annotated[int, Field(ge=0, le=4096, description="Pixels, 0 or up to 4096; 0 = follows from the other side.")]


class NumberFormat(Facts):
    """How `{number}` is written."""

    initial_value: int = Field(0, ge=0)
    increment: int = Field(1, ge=1)
    min_length: int = Field(1, ge=1, le=32)
    place_holder: Annotated[str, StringConstraints(min_length=1, max_length=1, pattern=r"^[^/\x00]$")] = "0"

    def number(self, index: int) -> str:
        return str(self.initial_value + index * self.increment).rjust(self.min_length, self.place_holder)


class Spec(Facts):
    """One wanted output: a template's parameters with the overrides already in place."""

    model_config = ConfigDict(allow_inf_nan=False)

    definition: int | str = Field(0, description="Template ID or name; 0 = everything is written out here.")
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = Field(
        "", description="What people call this output. Also `{definition}` where no template is named."
    )
    output_object_path: str = Field("", description="Path of the output; empty = MPS's default name (reference A.9).")
    output_bucket: str = Field("", description="Where it goes, if not to the bucket of its task's other outputs.")
    object_number_format: NumberFormat = NumberFormat()

    @field_validator("output_bucket")
    @classmethod
    def _is_bucket(cls, name: str) -> str:
        return check_bucket_name(name) if name else name

    @property
    def label(self) -> str:
        """How this output is told from its siblings in one task."""
        return self.name or str(self.definition)

    def series(self, names: OutputNames, default_path: str, *, format: str, count: int) -> tuple[str, ...]:
        """The keys of numbered outputs; several on one path are refused."""
        pattern = self.output_object_path or default_path
        if count > 1 and "{number}" not in pattern:
            raise InvalidConfiguration(
                f"output_object_path {pattern!r} is one path for {count} pictures", hint="put {number} into it"
            )
        numbers = (self.object_number_format.number(index) for index in range(count))
        return tuple(names.key(pattern, format=format, number=number) for number in numbers)


class StillSpec(Spec):
    """What both kinds of screenshots have in common (reference D.3, D.4)."""

    width: Side = 0
    height: Side = 0
    resolution_adaptive: Adaptive = "open"
    format: Annotated[str, Field(pattern="^(jpg|png|webp)$")] = "jpg"
    fill_type: FillType = "black"
    watermark_set: tuple[Watermark, ...] = Field((), max_length=10)

    def stills(self, times: tuple[float, ...], keys: tuple[str, ...], *, evenly: bool) -> Stills:
        """The pictures of these times."""
        return Stills(
            times=times, keys=keys, picture=self.format, width=self.width, height=self.height,
            adaptive=self.resolution_adaptive, fill=self.fill_type, watermarks=self.watermark_set, evenly=evenly,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutputNames:
    """Turns a path pattern into object keys: variables filled in, relative paths under the output dir."""

    input_name: str
    input_format: str
    output_dir: str
    """Key prefix, empty or ending with `/`."""
    definition: str

    def key(self, pattern: str, *, format: str, number: str | None = None) -> str:
        """The object key; with `number=None`, `{number}` stays in it."""
        values = {
            "inputName": self.input_name, "inputFormat": self.input_format, "definition": self.definition, "format": format,
        }  # fmt: skip
        if number is not None:
            values["number"] = number
        path = pattern
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
        # MPS stores paths without the extension and adds it; a pattern that names it already keeps it once.
        if "{format}" not in pattern and not path.endswith(f".{format}"):
            path = f"{path}.{format}"
        return path.removeprefix("/") if pattern.startswith("/") else f"{self.output_dir}{path}"


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True, slots=True)
class TaskType(Generic[S]):
    """One row of the catalogue."""

    name: str
    spec: type[S]
    plan: Callable[[S, MediaInfo, OutputNames], Plan]
    wire: str
    """MPS's name of the type in results: `Transcode`."""
    default_path: str
    """MPS's default of `output_object_path` (reference A.4)."""
    heavy: bool = False
    """Whether a subtask keeps the machine busy for as long as the source lasts; heavy ones start first."""


def need_video(media: MediaInfo, what: str) -> VideoStream:
    """The video stream, or the error that MPS gives."""
    if media.video is None:
        hint = "it has cover art, which is not a video" if media.cover_index is not None else ""
        raise NoVideoMedia(f"{what} needs a picture, and the source has no video stream", hint=hint)
    return media.video


def need_length(media: MediaInfo) -> None:
    """Refuse a still picture."""
    if media.still:
        raise ContentUnsupported(
            "the source is a picture, which lasts no time",
            hint="snapshot_by_time_offset, sample_snapshot and image_sprite take pictures",
        )
