"""What every task module is made of: `Spec`, the wanted output; `OutputNames`, where it goes; `TaskType`, the catalogue's row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, field_validator
from pydantic.fields import FieldInfo

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, NoVideoMedia
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.stills import Stills
from mps_dagster.frozen import PER_TASK, REQUIRED, Api, Facts
from mps_dagster.media.geometry import Adaptive, FillType
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.storage.keys import MAX_KEY_BYTES, MAX_NAME_BYTES, check_bucket_name, shortened, shortened_dir
from mps_dagster.tasks.mps import MpsTask, TemplateType

Side = Annotated[int, Field(ge=0, le=4096, description="Pixels; 0 = follows from the other side.")]

PictureFormat = Annotated[str, Field(pattern="^(jpg|png|webp)$", description="`jpg`, `png` or `webp`.")]
SampleType = Annotated[
    Literal["Percent", "Time"], REQUIRED, Field(description="Whether `sample_interval` is percent or seconds.")
]
WatermarkSet = Annotated[
    tuple[Watermark, ...], PER_TASK, Field(max_length=10, description="Laid over the picture, in this order.")
]

MAX_MEMBERS = 1_000_000
"""Of a series; a day of one-second segments is a tenth of that."""
VARIABLE = re.compile(r"\{(\w+)\}")
MIN_VALUE_BYTES = 24
"""Of a variable that is shortened: a beginning that people know it by, its hash and its extension."""
HEADER_BYTES = 4
"""By which the name of an fMP4 header (`…_init.mp4`) is longer than that of its playlist."""


class NumberFormat(Facts):
    """How `{number}` is written."""

    initial_value: int = Field(0, ge=0, description="The first number.")
    increment: int = Field(1, ge=1, description="Step from one number to the next.")
    min_length: int = Field(1, ge=1, le=32, description="Digits; shorter numbers are padded on the left.")
    place_holder: Annotated[str, StringConstraints(min_length=1, max_length=1, pattern=r"^[^/\x00]$")] = Field(
        "0", description="The character that pads."
    )

    def number(self, index: int) -> str:
        return str(self.initial_value + index * self.increment).rjust(self.min_length, self.place_holder)

    @property
    def max_bytes(self) -> int:
        """Of any number that a series gets to."""
        last = len(str(self.initial_value + MAX_MEMBERS * self.increment))
        return last + len(self.place_holder.encode()) * max(0, self.min_length - last)


class Spec(Facts):
    """One wanted output: a template's parameters with the overrides already in place."""

    model_config = ConfigDict(allow_inf_nan=False)

    definition: int | str = Field(0, description="Template ID or name; 0 = everything is written out here.")
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = Field(
        "", description="What people call this output. Also `{definition}` where no template is named."
    )
    output_object_path: str = Field("", description="Path of the output; empty = MPS's default name (reference A.9).")
    output_bucket: str = Field("", description="Where it goes, if not to the bucket of its task's other outputs.")
    object_number_format: NumberFormat = Field(NumberFormat(), description="How `{number}` is written in paths.")

    @field_validator("output_bucket")
    @classmethod
    def _is_bucket(cls, name: str) -> str:
        return check_bucket_name(name) if name else name

    @property
    def is_media_file(self) -> bool:
        """Whether the output is one video or audio file, on which a serial task can work."""
        return False

    def extension(self, path: str = "output_object_path") -> str:  # noqa: ARG002
        """What `{format}` stands for in a path, by its parameter."""
        return str(getattr(self, "format", ""))

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

    width: Annotated[Side, Api(least=128)] = 0
    height: Annotated[Side, Api(least=128)] = 0
    resolution_adaptive: Adaptive = "open"
    format: PictureFormat = "jpg"
    fill_type: FillType = "black"
    watermark_set: WatermarkSet = ()

    def stills(self, times: tuple[float, ...], keys: tuple[str, ...], *, evenly: bool) -> Stills:
        """The pictures of these times."""
        return Stills(
            times=times, keys=keys, picture=self.format, width=self.width, height=self.height,
            adaptive=self.resolution_adaptive, fill=self.fill_type, watermarks=self.watermark_set, evenly=evenly,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutputNames:
    """Turns a path pattern into object keys: variables filled in, relative paths under the output dir.

    What would be longer than the bucket takes is shortened (docs/workflows.md), by names alone: the same key each time.
    """

    input_name: str
    input_format: str
    output_dir: str
    """Key prefix, empty or ending with `/`."""
    definition: str
    key_bytes: int = MAX_KEY_BYTES
    number_bytes: int = NumberFormat().max_bytes
    """Of the longest `{number}`: all members of a series are cut alike."""

    def key(self, pattern: str, *, format: str, number: str | None = None) -> str:
        """The object key; with `number=None`, `{number}` stays in it."""
        values = {"inputName": self.input_name, "inputFormat": self.input_format, "definition": self.definition}
        values |= {"format": format, "number": "{number}" if number is None else number}
        # MPS stores paths without the extension and adds it; a pattern that names it already keeps it once.
        if "{format}" not in pattern and not with_values(pattern, values).endswith(f".{format}"):
            pattern += ".{format}"
        *parts, last = pattern.removeprefix("/").split("/")
        above = "".join(f"{self._name(part, values, MAX_NAME_BYTES)}/" for part in parts)
        folder = "" if pattern.startswith("/") else self.output_dir
        longest = MAX_NAME_BYTES - (HEADER_BYTES if format == "m3u8" else 0)
        room = self.key_bytes - size_of(above)
        try:
            name = self._name(last, values, min(longest, room - size_of(folder)))
        except InvalidConfiguration:
            folder = shortened_dir(folder, room - longest)
            name = self._name(last, values, min(longest, room - size_of(folder)))
        return f"{folder}{above}{name}"

    def _name(self, pattern: str, values: Mapping[str, str], size: int) -> str:
        """A part of the path; the room that it takes does not hang on its number."""
        return filled(pattern, values, size, {**values, "number": "0" * self.number_bytes})


def filled(pattern: str, values: Mapping[str, str], size: int, longest: Mapping[str, str] | None = None) -> str:
    """A name of at most so many bytes: the variables filled in, the longest of them shortened if need be.

    `longest` has the values by which it is measured. Raise `InvalidConfiguration` if the pattern itself is too long.
    """
    longest = longest or values
    over = size_of(with_values(pattern, longest)) - size
    if over <= 0:
        return with_values(pattern, values)
    used = [name for name in VARIABLE.findall(pattern) if name in values and name not in ("number", "format")]
    cut = max(used, key=lambda name: size_of(values[name]), default="")
    room = size_of(values[cut]) - math.ceil(over / used.count(cut)) if used else 0
    if room < MIN_VALUE_BYTES:
        raise InvalidConfiguration(f"{pattern!r} makes a name of more than {size} bytes", hint="choose a shorter path")
    return with_values(pattern, {**values, cut: shortened(values[cut], room)})


def with_values(pattern: str, values: Mapping[str, str]) -> str:
    """The pattern with its variables filled in; what is no variable stays."""
    return VARIABLE.sub(lambda found: values.get(found[1], found[0]), pattern)


def size_of(text: str) -> int:
    """In bytes, as buckets count."""
    return len(text.encode())


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
    mps: MpsTask | None = None
    """None = MPS has no such task; results show it as the one that `wire` names."""
    template: TemplateType | None = None
    """None = the API has no actions for its templates."""
    heavy: bool = False
    """Whether a subtask keeps the machine busy for as long as the source lasts; heavy ones start first."""

    @property
    def paths(self) -> dict[str, str]:
        """The parameters that are paths beside `output_object_path`, with MPS's defaults."""
        return {name: Api.of(info).path for name, info in parameters(self.spec, "task").items() if Api.of(info).path}

    @property
    def numbered(self) -> bool:
        """Whether any of its paths has a `{number}`."""
        return any("{number}" in path for path in (self.default_path, *self.paths.values()))


def parameters(model: type[Facts], role: Literal["template", "task"]) -> dict[str, FieldInfo]:
    """A model's own fields that are parameters of templates, or that come with each task."""
    common = Spec.model_fields if issubclass(model, Spec) else {}
    fields = model.model_fields.items()
    return {name: info for name, info in fields if name not in common and Api.of(info).role == role}


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
