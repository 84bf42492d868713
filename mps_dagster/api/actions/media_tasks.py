"""Converts `MediaProcessTask` and `TaskNotifyConfig` of a request (reference A.4 to A.8) to our tasks and sinks.

The task's spec checks its parameters later: MPS accepts the call, and wrong values fail in the task's result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator
from pydantic.alias_generators import to_snake

from mps_dagster.api.action import NotOffered, Number, RequestModel
from mps_dagster.api.actions.storage import MediaInputInfo, TaskOutputStorage, bucket_of
from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.forms import entry_fields, form, not_offered
from mps_dagster.api.keys import ApiKey
from mps_dagster.ffmpeg import added, overlay
from mps_dagster.frozen import Facts
from mps_dagster.settings import Settings
from mps_dagster.tasks import TASKS, adaptive_dynamic_streaming
from mps_dagster.tasks.mps import MpsTask
from mps_dagster.tasks.spec import Spec
from mps_dagster.workflow.templates import Templates

Document = dict[str, Any]
MAX_ENTRIES = 100


class NumberFormat(RequestModel):
    initial_value: int = 0
    increment: int = 1
    min_length: int = 1
    place_holder: str = "0"


class RawImageWatermark(RequestModel):
    image_content: MediaInputInfo
    width: str = "10%"
    height: str = "0px"
    repeat_type: str = "repeat"


class RawWatermark(RequestModel):
    type: Literal["image"]
    coordinate_origin: str = "TopLeft"
    x_pos: str = "0px"
    y_pos: str = "0px"
    image_template: RawImageWatermark


class Watermark(RequestModel):
    definition: Number
    raw_parameter: RawWatermark | None = None
    text_content: str | None = Field(None, max_length=100)
    svg_content: NotOffered = None
    start_time_offset: float | None = None
    end_time_offset: float | None = None


class AddOnSubtitle(RequestModel):
    type: Literal["subtitle-stream"] = "subtitle-stream"
    subtitle: MediaInputInfo
    subtitle_name: str = ""
    subtitle_language: str = ""
    output_format: Literal["WebVTT"] = "WebVTT"
    default_track: bool = False


class AddOnAudio(RequestModel):
    input_info: MediaInputInfo
    audio_name: str = ""
    audio_language: str = ""
    default_track: bool = False


class SimpleAesDrm(RequestModel):
    uri: str
    key: str = Field(repr=False)
    vector: str = ""


class DrmInfo(RequestModel):
    type: Literal["simpleaes"]
    simple_aes_drm: SimpleAesDrm
    speke_drm: NotOffered = None


FORMS: Mapping[type[Facts], type[RequestModel]] = {
    overlay.Watermark: Watermark,
    added.AddOnSubtitle: AddOnSubtitle,
    added.AddOnAudio: AddOnAudio,
    adaptive_dynamic_streaming.DrmInfo: DrmInfo,
}
"""Objects that are written otherwise in requests."""


class Entry(RequestModel):
    """One output of a task; one in a member of its own (`MpsTask.member`) has only a template."""

    definition: int = Field(ge=1, lt=2**63)


class Output(Entry):
    """The common members of the entries of all task sets."""

    output_storage: TaskOutputStorage | None = None
    output_object_path: str | None = Field(None, max_length=1024)
    object_number_format: NumberFormat | None = None
    ext_info: NotOffered = None


class RawOutput(Output):
    """An entry of a task type that can do without a template."""

    definition: Number = Field(description="0 is for `RawParameter`, all others for `OverrideParameter`.")

    @model_validator(mode="after")
    def _has_parameters(self) -> RawOutput:
        if not self.definition and getattr(self, "raw_parameter", None) is None:
            raise ValueError("Definition 0 needs a RawParameter")
        return self


def _entry(spec: type[Spec], words: MpsTask) -> type[Entry]:
    """The form of one output of this task."""
    fields = entry_fields(spec, FORMS)
    if words.raw:
        for name, whole in (("raw_parameter", True), ("override_parameter", False)):
            fields[name] = (form(spec, RequestModel, whole=whole) | None, None)
    base: type[Entry] = RawOutput if words.raw else Entry if words.member else Output
    return create_model(words.task, __base__=base, **fields, **not_offered(words.not_offered))


MPS_TASKS = {name: task.mps for name, task in TASKS.items() if task.mps}
"""MPS's names of the task types that it has."""
ENTRIES = {name: _entry(TASKS[name].spec, words) for name, words in MPS_TASKS.items()}
CONVERTED = {"output_storage", "watermark_set", "raw_parameter", "override_parameter", *added.ADDED}
"""Members that `documents` converts one by one."""


_SETS: Any = {
    to_snake(MPS_TASKS[name].set): (Annotated[tuple[entry, ...], Field(max_length=MAX_ENTRIES)], ())  # type: ignore[valid-type]
    for name, entry in ENTRIES.items()
    if not MPS_TASKS[name].member
}


class MediaProcessTask(create_model("_Sets", __base__=RequestModel, **_SETS)):  # type: ignore[misc]
    """The outputs, in one set per task type."""

    def outputs(self, key: ApiKey, settings: Settings) -> dict[str, list[Document]]:
        """The outputs by task type, as in a workflow file."""
        sets: dict[str, tuple[Output, ...]] = {
            kind: getattr(self, to_snake(words.set)) for kind, words in MPS_TASKS.items() if not words.member
        }
        return {kind: documents(kind, entries, key, settings) for kind, entries in sets.items() if entries}


MEMBERS = {to_snake(words.member): name for name, words in MPS_TASKS.items() if words.member}
"""Our task types that have a member of ProcessMedia for themselves."""
_MEMBERS: Any = {member: (ENTRIES[name] | None, None) for member, name in MEMBERS.items()}


class TaskMembers(create_model("_Members", __base__=RequestModel, **_MEMBERS)):  # type: ignore[misc]
    """The members of ProcessMedia that are tasks."""

    media_process_task: MediaProcessTask | None = None

    @property
    def has_tasks(self) -> bool:
        return any(getattr(self, member) for member in ("media_process_task", *MEMBERS))

    def outputs(self, key: ApiKey, settings: Settings) -> dict[str, list[Document]]:
        """The outputs by task type, as in a workflow file."""
        task = self.media_process_task or MediaProcessTask()
        own = {kind: entry for member, kind in MEMBERS.items() if (entry := getattr(self, member))}
        return task.outputs(key, settings) | {
            kind: documents(kind, [entry], key, settings) for kind, entry in own.items()
        }


def documents(kind: str, entries: Iterable[Entry], key: ApiKey, settings: Settings) -> list[Document]:
    """Entries of one task type as outputs of a workflow file."""
    templates = Templates.load(settings.templates_dir)
    seen: Counter[int] = Counter()
    converted = []
    for entry in entries:
        _check_owner(kind, entry.definition, key, templates)
        document = entry.model_dump(exclude_none=True, exclude_defaults=True, exclude=CONVERTED)
        document = {"definition": entry.definition, **document}
        # As in MPS: OverrideParameter needs a template, RawParameter is for definition 0.
        name = "override_parameter" if entry.definition else "raw_parameter"
        if parameters := getattr(entry, name, None):
            document[name] = parameters.model_dump(exclude_unset=True)
        if bucket := bucket_of(getattr(entry, "output_storage", None), settings):
            key.check_write(bucket)
            document["output_bucket"] = bucket
        if marks := getattr(entry, "watermark_set", ()):
            document["watermark_set"] = [_watermark(mark, key, templates, settings) for mark in marks]
        for name, member in added.ADDED.items():
            if named := getattr(entry, name, ()):
                document[name] = [_added(one, member, key, settings) for one in named]
        # Several outputs of one template get different names.
        seen[entry.definition] += 1
        if seen[entry.definition] > 1:
            document["name"] = f"{entry.definition}_{seen[entry.definition]}"
        converted.append(document)
    return converted


def inherits_place(outputs: Mapping[str, Iterable[Document]]) -> bool:
    """Whether any output goes to the common place of all outputs."""
    return any("output_bucket" not in output for entries in outputs.values() for output in entries)


def _check_owner(kind: str, definition: int, key: ApiKey, templates: Templates) -> None:
    template = templates.by_name.get((kind, definition))
    if template and template.owner not in ("", key.owner):
        raise ApiError("ResourceNotFound.TemplateNotExist", f"There is no template {definition}.")


def _added(entry: RequestModel, member: str, key: ApiKey, settings: Settings) -> Document:
    """Added subtitles or sound, with the place of their object."""
    place = getattr(entry, member).place(key, settings)
    return entry.model_dump(exclude={member}) | {member: "/".join(place)}


def _watermark(mark: Watermark, key: ApiKey, templates: Templates, settings: Settings) -> Document:
    _check_owner("watermark_template", mark.definition, key, templates)
    document = mark.model_dump(exclude_none=True, exclude={"raw_parameter"})
    if mark.definition or mark.raw_parameter is None:
        return document
    raw = mark.raw_parameter
    bucket, path = raw.image_template.image_content.place(key, settings)
    image = raw.image_template.model_dump(exclude={"image_content"}) | {"image_content": f"{bucket}/{path}"}
    return document | raw.model_dump(exclude={"image_template"}) | {"image_template": image}


class AwsSqs(RequestModel):
    sqs_region: str = Field("", alias="SQSRegion")
    sqs_queue_name: str = Field(alias="SQSQueueName", min_length=1)
    s3_secret_id: NotOffered = Field(None, alias="S3SecretId")
    s3_secret_key: NotOffered = Field(None, alias="S3SecretKey")


class TaskNotifyConfig(RequestModel):
    notify_type: Literal["", "CMQ", "TDMQ-CMQ", "URL", "AWS-SQS", "SCF"] = ""
    notify_mode: Literal["", "Finish", "Change"] = ""
    notify_url: str = ""
    cmq_model: Literal["", "Queue", "Topic"] = ""
    cmq_region: str = ""
    topic_name: str = ""
    queue_name: str = ""
    aws_sqs: AwsSqs | None = Field(None, alias="AwsSQS")
    notify_key: str = Field("", repr=False)

    def sink(self) -> Document:
        """An entry of `notify:` in a workflow file."""
        mode = {"notify_mode": "change"} if self.notify_mode == "Change" else {}
        match self.notify_type:
            case "URL":
                if not self.notify_url:
                    raise missing("TaskNotifyConfig.NotifyUrl")
                key = {"notify_key": self.notify_key} if self.notify_key else {}
                return {"type": "url", "url": self.notify_url, **key, **mode}
            case "AWS-SQS":
                if self.aws_sqs is None:
                    raise missing("TaskNotifyConfig.AwsSQS")
                region = {"region": self.aws_sqs.sqs_region} if self.aws_sqs.sqs_region else {}
                return {"type": "aws_sqs", "queue": self.aws_sqs.sqs_queue_name, **region, **mode}
            case "SCF":
                raise ApiError("UnsupportedOperation", "Notification by SCF is not offered here.")
        if self.cmq_model == "Topic":
            return {"type": "tdmq_cmq", "model": "topic", "topic": self.topic_name, "region": self.cmq_region, **mode}
        return {"type": "tdmq_cmq", "model": "queue", "queue": self.queue_name, "region": self.cmq_region, **mode}

    def echo(self) -> Document:
        """As queries show it, without the key."""
        return self.model_dump(by_alias=True, exclude={"notify_key", "aws_sqs"}) | {
            "AwsSQS": self.aws_sqs.model_dump(by_alias=True, exclude_none=True) if self.aws_sqs else None
        }
