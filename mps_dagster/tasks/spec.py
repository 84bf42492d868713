"""The parts of a task module: `Spec` describes an output, `OutputNames` its keys, `TaskType` is the catalogue's row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, field_validator
from pydantic.fields import FieldInfo

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, NoVideoMedia
from mps_dagster.ffmpeg.chunks import Chunking
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.quality import Quality
from mps_dagster.ffmpeg.stills import Stills
from mps_dagster.frozen import PER_TASK, REQUIRED, Api, Facts, contradiction
from mps_dagster.media.geometry import Adaptive, FillType
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.sampling import interval_times, percent_times
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
"""Most members of a series; a day of one-second segments has a tenth of that."""
VARIABLE = re.compile(r"\{(\w+)\}")
MIN_VALUE_BYTES = 24
"""Least length of a shortened value: a recognizable beginning, its hash and its extension."""
HEADER_BYTES = 4
"""By how much the name of an fMP4 header (`…_init.mp4`) is longer than its playlist's."""


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
        """Length of the longest number of a series."""
        last = len(str(self.initial_value + MAX_MEMBERS * self.increment))
        return last + len(self.place_holder.encode()) * max(0, self.min_length - last)


class Spec(Facts):
    """One output: a template's parameters with the overrides applied."""

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
        """Whether the output is one video or audio file, which a serial task can take as its source."""
        return False

    @property
    def is_gate(self) -> bool:
        """Whether the tasks on the same source wait until this output is there."""
        return False

    def extension(self, path: str = "output_object_path") -> str:  # noqa: ARG002
        """The value of `{format}` in the path of this parameter."""
        return str(getattr(self, "format", ""))

    @property
    def label(self) -> str:
        """Distinguishes this output from the others of its task."""
        return self.name or str(self.definition)

    def series(self, names: OutputNames, default_path: str, *, format: str, count: int) -> tuple[str, ...]:
        """The keys of numbered outputs. Raise `InvalidConfiguration` if several have the same path."""
        pattern = self.output_object_path or default_path
        if count > 1 and "{number}" not in pattern:
            raise InvalidConfiguration(
                f"output_object_path {pattern!r} is one path for {count} pictures", hint="put {number} into it"
            )
        numbers = (self.object_number_format.number(index) for index in range(count))
        return tuple(names.key(pattern, format=format, number=number) for number in numbers)


class StillSpec(Spec):
    """Parameters of both kinds of screenshots (reference D.3, D.4)."""

    width: Annotated[Side, Api(least=128)] = 0
    height: Annotated[Side, Api(least=128)] = 0
    resolution_adaptive: Adaptive = "open"
    format: PictureFormat = "jpg"
    fill_type: FillType = "black"
    watermark_set: WatermarkSet = ()

    def stills(self, times: tuple[float, ...], keys: tuple[str, ...], *, evenly: bool) -> Stills:
        return Stills(
            times=times, keys=keys, picture=self.format, width=self.width, height=self.height,
            adaptive=self.resolution_adaptive, fill=self.fill_type, watermarks=self.watermark_set, evenly=evenly,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutputNames:
    """Turns a path pattern into object keys: fills in variables and puts relative paths under the output dir.

    A key too long for the bucket is shortened (docs/workflows.md). The key depends only on names, so it is always the same.
    """

    input_name: str
    input_format: str
    output_dir: str
    """Key prefix, empty or ending with `/`."""
    definition: str
    key_bytes: int = MAX_KEY_BYTES
    number_bytes: int = NumberFormat().max_bytes
    """Length of the longest `{number}`, for which all members of a series are shortened."""

    def key(self, pattern: str, *, format: str, number: str | None = None) -> str:
        """The object key; `number=None` leaves `{number}` in it."""
        values = {"inputName": self.input_name, "inputFormat": self.input_format, "definition": self.definition}
        values |= {"format": format, "number": "{number}" if number is None else number}
        # MPS stores paths without the extension and adds it; a pattern that names it already keeps it once.
        if "{format}" not in pattern and not fill(pattern, values).endswith(f".{format}"):
            pattern += ".{format}"
        *parts, last = pattern.removeprefix("/").split("/")
        above = "".join(f"{self._name(part, values, MAX_NAME_BYTES)}/" for part in parts)
        folder = "" if pattern.startswith("/") else self.output_dir
        longest = MAX_NAME_BYTES - (HEADER_BYTES if format == "m3u8" else 0)
        room = self.key_bytes - _size(above)
        try:
            name = self._name(last, values, min(longest, room - _size(folder)))
        except InvalidConfiguration:
            folder = shortened_dir(folder, room - longest)
            name = self._name(last, values, min(longest, room - _size(folder)))
        return f"{folder}{above}{name}"

    def _name(self, pattern: str, values: Mapping[str, str], size: int) -> str:
        """A part of the path; how it is shortened does not depend on its number."""
        return fill_within(pattern, values, size, {**values, "number": "0" * self.number_bytes})


def fill_within(pattern: str, values: Mapping[str, str], size: int, longest: Mapping[str, str] | None = None) -> str:
    """Fill the variables in; shorten the longest value if the name would have more than `size` bytes.

    `longest` has the values that are measured. Raise `InvalidConfiguration` if the pattern itself is too long.
    """
    longest = longest or values
    over = _size(fill(pattern, longest)) - size
    if over <= 0:
        return fill(pattern, values)
    used = [name for name in VARIABLE.findall(pattern) if name in values and name not in ("number", "format")]
    cut = max(used, key=lambda name: _size(values[name]), default="")
    room = _size(values[cut]) - math.ceil(over / used.count(cut)) if used else 0
    if room < MIN_VALUE_BYTES:
        raise InvalidConfiguration(f"{pattern!r} makes a name of more than {size} bytes", hint="choose a shorter path")
    return fill(pattern, {**values, cut: shortened(values[cut], room)})


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Fill the variables in; unknown ones stay as they are."""
    return VARIABLE.sub(lambda match: values.get(match[1], match[0]), pattern)


def _size(text: str) -> int:
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
    plan_chunks: Callable[[S, MediaInfo, OutputNames, Chunking], Plan | None] | None = None
    """Another way to the same output, for long sources: parts that are made independently. None = `plan` is the only way."""
    mps: MpsTask | None = None
    """None = MPS has no such task; results show it as a task of type `wire`."""
    template: TemplateType | None = None
    """None = the API has no actions for its templates."""
    usage: Literal["Transcode", "Snapshot", "AnimatedGraphics", "AiQualityControl"] = "Transcode"
    """MPS's kind of usage: in seconds that were made, in pictures, or of an inspection in seconds of the source."""
    inspects: bool = False
    """Whether a task after it works on its source, as its output is only a report."""
    heavy: bool = False
    """Whether a subtask works through the whole source; heavy ones start first."""

    @property
    def paths(self) -> dict[str, str]:
        """The parameters that are paths, besides `output_object_path`, with MPS's defaults."""
        return {name: Api.of(info).path for name, info in parameters(self.spec, "task").items() if Api.of(info).path}

    @property
    def numbered(self) -> bool:
        """Whether any of its paths has a `{number}`."""
        return any("{number}" in path for path in (self.default_path, *self.paths.values()))


def parameters(model: type[Facts], role: Literal["template", "task"]) -> dict[str, FieldInfo]:
    """A model's own fields with this role, without those of every `Spec`."""
    common = Spec.model_fields if issubclass(model, Spec) else {}
    fields = model.model_fields.items()
    return {name: info for name, info in fields if name not in common and Api.of(info).role == role}


def need_video(media: MediaInfo, what: str) -> VideoStream:
    """The video stream; raise `NoVideoMedia` if there is none. `what` starts the message."""
    if media.video is None:
        hint = "it has cover art, which is not a video" if media.cover_index is not None else ""
        raise NoVideoMedia(f"{what} needs a picture, and the source has no video stream", hint=hint)
    return media.video


def need_length(media: MediaInfo) -> None:
    """Raise `ContentUnsupported` for a still picture."""
    if media.still:
        raise ContentUnsupported(
            "the source is a picture, which lasts no time",
            hint="snapshot_by_time_offset, sample_snapshot and image_sprite take pictures",
        )


def check_interval(sample_type: str, interval: int) -> None:
    """Raise a `contradiction` if a percentage is above 100."""
    if sample_type == "Percent" and interval > 100:
        raise contradiction("SampleInterval", "sample_interval is a percentage (1 to 100) when sample_type is Percent")


def check_comparable(quality: Quality | None, watermarks: WatermarkSet) -> None:
    """Raise `ValueError` if a picture with watermarks is to be scored against the source."""
    if quality and quality.against == "source" and watermarks:
        raise ValueError("the source has no watermarks to be compared with; set quality.against to output")


def sample_times(video: VideoStream, sample_type: str, interval: int, *, at_most: int) -> tuple[float, ...]:
    """The times of sampled pictures, in seconds; raise `InvalidConfiguration` if they are too many."""
    times = percent_times(video, interval) if sample_type == "Percent" else interval_times(video, interval)
    if len(times) > at_most:
        raise InvalidConfiguration(f"{len(times)} pictures are more than {at_most}", hint="raise sample_interval")
    return times
