"""How MPS shows a template (reference D): every parameter filled in, codecs by their encoders, times in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mps_dagster.api.actions.encoding import AUDIO_ONLY, ENCODERS
from mps_dagster.api.actions.template_requests import Kind
from mps_dagster.api.files import TEMPLATES
from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.mps.results import iso, pascal
from mps_dagster.settings import Settings
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import Spec
from mps_dagster.workflow.templates import Template

Parameters = Mapping[str, Any]
NOT_OFFERED = {
    "Stereo3dType": "", "Sar": "", "RawPts": 0, "Compress": 0, "ScenarioBased": 0, "SceneType": "", "CompressType": "",
}  # fmt: skip
"""Of a video, as MPS shows what is not used."""


def shown(kind: Kind, template: Template, settings: Settings) -> dict[str, Any]:
    parameters = template.parameters
    common = {
        "Definition": str(template.definition) if kind.kind == "transcode" else template.definition,
        "Name": template.name, "Comment": template.comment, "Type": origin_of(template),
        "CreateTime": _time(template.created), "UpdateTime": _time(template.updated),
    }  # fmt: skip
    match kind.kind:
        case "transcode":
            return {**common, **_transcode(parameters)}
        case "watermark_template":
            return {**common, **_watermark(template, settings)}
        case "adaptive_dynamic_streaming":
            return {**common, **_adaptive(parameters)}
    return {**common, **_spec(kind, parameters)}


def origin_of(template: Template) -> str:
    return "Custom" if template.owner else "Preset"


def spec_of(kind: str, parameters: Parameters) -> Spec:
    """The parameters as the task's own spec has them; a template of screenshots has no times, which come with each task."""
    points = {"ext_time_offset_set": ["0s"]} if kind == "snapshot_by_time_offset" else {}
    spec: Spec = TASKS[kind].spec.model_validate({**parameters, **points})
    return spec


def container_type(parameters: Parameters) -> str:
    audio = parameters.get("container") in AUDIO_ONLY or parameters.get("remove_video") == 1
    return "PureAudio" if audio else "Video"


def image_url(template: Template, settings: Settings) -> str:
    """Where a watermark's picture can be looked at."""
    name = template.parameters.get("image_template", {}).get("image_content", "")
    return f"{settings.files_url}/{TEMPLATES}/{name}" if name else ""


def _spec(kind: Kind, parameters: Parameters) -> dict[str, Any]:
    spec = spec_of(kind.kind, parameters).model_dump(mode="json")
    names = [name for name in kind.create.model_fields if name in spec and name not in ("name", "comment")]
    filled: dict[str, Any] = pascal({name: spec[name] for name in names})
    return filled


def _transcode(parameters: Parameters) -> dict[str, Any]:
    spec = spec_of("transcode", parameters).model_dump(mode="json")
    kind = container_type(parameters)
    return {
        "Container": spec["container"], "RemoveVideo": spec["remove_video"], "RemoveAudio": spec["remove_audio"],
        "VideoTemplate": None if kind == "PureAudio" else _video(spec["video_template"]),
        "AudioTemplate": _audio(spec["audio_template"]), "ContainerType": kind, "TEHDConfig": None, "EnhanceConfig": None,
        "AliasName": "",
    }  # fmt: skip


def _watermark(template: Template, settings: Settings) -> dict[str, Any]:
    mark = Watermark.model_validate({**template.parameters, "text_content": "text"}).model_dump(mode="json")
    image = mark["image_template"]
    if image:
        image = {
            "image_url": image_url(template, settings),
            **{name: image[name] for name in ("width", "height", "repeat_type")},
        }
    return {
        "Type": mark["type"], "CoordinateOrigin": mark["coordinate_origin"], "XPos": mark["x_pos"], "YPos": mark["y_pos"],
        "ImageTemplate": pascal(image), "TextTemplate": pascal(mark["text_template"]), "SvgTemplate": None,
    }  # fmt: skip


def _adaptive(parameters: Parameters) -> dict[str, Any]:
    segments = "mp4-byterange" if parameters["format"] == "MPEG-DASH" else "ts-segment"
    defaults = {
        "DisableHigherVideoBitrate": 0, "DisableHigherVideoResolution": 0, "PureAudio": 0, "SegmentType": segments,
    }  # fmt: skip
    streams = [
        {
            "Video": _video(stream["video"]) if stream.get("video") else None, "Audio": _audio(stream["audio"]),
            "RemoveAudio": stream.get("remove_audio", 0), "RemoveVideo": stream.get("remove_video", 0), "AudioList": [],
        }
        for stream in parameters["stream_infos"]
    ]  # fmt: skip
    return {**defaults, **pascal(parameters), "StreamInfos": streams}


def _video(parameters: Parameters) -> dict[str, Any]:
    shown = VideoTemplate.model_validate(parameters).model_dump(mode="json", exclude={"effort", "alpha"})
    return {**NOT_OFFERED, **pascal(_by_encoder(shown))}


def _audio(parameters: Parameters) -> dict[str, Any]:
    shown = AudioTemplate.model_validate(parameters).model_dump(mode="json", exclude={"stream_selects"})
    filled: dict[str, Any] = pascal(_by_encoder(shown))
    return filled


def _by_encoder(stream: Parameters) -> dict[str, Any]:
    codec = stream.get("codec")
    return {**stream, "codec": ENCODERS.get(str(codec), codec)}


def _time(moment: Any) -> str:
    return iso(moment.timestamp()) if moment else ""
