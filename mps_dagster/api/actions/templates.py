"""Create, Describe, Modify and Delete for each kind of template (reference D).

The kinds differ in their parameters only, which the task's own spec validates; what is made here is a file in `templates/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic.alias_generators import to_pascal

from mps_dagster.api.action import Action, Call
from mps_dagster.api.actions.media_tasks import snake
from mps_dagster.api.actions.template_requests import (
    ADAPTIVE,
    KINDS,
    WATERMARK,
    Describe,
    Kind,
    Labels,
    Named,
    Parameters,
    check,
    picture_of,
)
from mps_dagster.api.error import ApiError
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.notify.results import iso, pascal
from mps_dagster.settings import Settings
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.template_store import TemplateStore
from mps_dagster.workflow.templates import Template, merged

ENCODERS = {"h264": "libx264", "h265": "libx265", "aac": "libfdk_aac", "mp3": "libmp3lame"}
"""MPS takes codecs by name and tells of them by encoder (reference J.9)."""


def template_actions(settings: Settings) -> dict[str, Action[Any]]:
    store = TemplateStore(settings.templates_dir)
    actions: dict[str, Action[Any]] = {}
    for kind in KINDS:
        modify = type(f"Modify{kind.wire}", (kind.request, Named), {"__module__": __name__})
        actions |= {
            f"Create{kind.wire}Template": Action(kind.request, partial(_create, store, kind)),
            f"Modify{kind.wire}Template": Action(modify, partial(_modify, store, kind)),
            f"Delete{kind.wire}Template": Action(Named, partial(_delete, store, kind)),
            f"Describe{kind.wire}Templates": Action(Describe, partial(_describe, store, kind)),
        }
    return actions


def _create(store: TemplateStore, kind: Kind, call: Call[Any]) -> dict[str, Any]:
    given = _given(call.request)
    missing = next((name for name in kind.required if name not in given), None)
    if missing:
        raise ApiError("MissingParameter", f"The request is missing a required parameter `{to_pascal(missing)}`.")
    own = [template for template in _all(store, kind) if store.owns(kind.kind, template.definition)]
    if len(own) >= kind.most:
        raise ApiError("LimitExceeded.TooMuchTemplate", f"There are {kind.most} templates of this kind already.")
    image = picture_of(given)
    check(kind, given)
    template = store.create(kind.kind, call.request.name, call.request.comment, given)
    if image:
        template = _with_image(store, kind, template, image)
    return {
        "Definition": template.definition,
        **({"ImageUrl": _shown_image(template)} if kind.kind == WATERMARK else {}),
    }


def _modify(store: TemplateStore, kind: Kind, call: Call[Any]) -> dict[str, Any]:
    template = _own(store, kind, call.request.definition, "InvalidParameterValue.ModifyDefaultTemplate")
    given = _given(call.request)
    if given.get("type", template.parameters.get("type")) != template.parameters.get("type"):
        raise ApiError("InvalidParameterValue.Type", "The type of a watermark template cannot be changed.")
    image = picture_of(given)
    parameters = merged(template.parameters, given)
    check(kind, parameters)
    labels = {
        name: getattr(call.request, name) for name in ("name", "comment") if name in call.request.model_fields_set
    }
    changed = template.model_copy(update={**labels, "parameters": parameters})
    store.replace(kind.kind, changed)
    if image:
        changed = _with_image(store, kind, changed, image)
    return {"ImageUrl": _shown_image(changed)} if image else {}


def _delete(store: TemplateStore, kind: Kind, call: Call[Named]) -> dict[str, Any]:
    template = _own(store, kind, call.request.definition, "InvalidParameterValue.DeleteDefaultTemplate")
    store.delete(kind.kind, template.definition)
    return {}


def _describe(store: TemplateStore, kind: Kind, call: Call[Describe]) -> dict[str, Any]:
    wanted = call.request
    found = [template for template in _all(store, kind) if _matches(store, kind, template, wanted)]
    page = found[wanted.offset : wanted.offset + wanted.limit]
    return {
        "TotalCount": len(found),
        f"{kind.wire}TemplateSet": [_shown(store, kind, template) for template in page],
    }


def _all(store: TemplateStore, kind: Kind) -> list[Template]:
    """Presets first, by ID."""
    templates = {t.definition: t for (name, _), t in store.load().by_name.items() if name == kind.kind}
    return [templates[definition] for definition in sorted(templates)]


def _own(store: TemplateStore, kind: Kind, definition: int, preset: str) -> Template:
    template = next((item for item in _all(store, kind) if item.definition == definition), None)
    if template is None:
        raise ApiError("ResourceNotFound.TemplateNotExist", f"There is no template {definition}.")
    if not store.owns(kind.kind, definition):
        raise ApiError(preset, f"Template {definition} is a preset, or an admin's file; it cannot be changed here.")
    return template


def _matches(store: TemplateStore, kind: Kind, template: Template, wanted: Describe) -> bool:
    if wanted.definitions and template.definition not in wanted.definitions:
        return False
    if wanted.name and wanted.name not in template.name:
        return False
    if kind.kind == ADAPTIVE and wanted.pure_audio not in (None, template.parameters.get("pure_audio", 0)):
        return False
    if wanted.container_type and wanted.container_type != _container_type(template.parameters):
        return False
    if kind.kind == WATERMARK:
        return wanted.type in ("", template.parameters.get("type", "image"))
    return wanted.type in ("", _origin(store, kind, template))


def _given(request: Labels) -> Parameters:
    """The parameters that the request has, in our names."""
    fields = request.model_dump(exclude={"name", "comment", "definition"}, exclude_unset=True, exclude_none=True)
    return {name: snake(value) for name, value in fields.items()}


def _with_image(store: TemplateStore, kind: Kind, template: Template, image: bytes) -> Template:
    name = store.put_image(template.definition, image, "png" if image.startswith(b"\x89PNG") else "jpg")
    parameters = merged(template.parameters, {"image_template": {"image_content": name}})
    changed = template.model_copy(update={"parameters": parameters})
    store.replace(kind.kind, changed)
    return changed


def _shown(store: TemplateStore, kind: Kind, template: Template) -> dict[str, Any]:
    parameters = template.parameters
    common = {
        "Definition": str(template.definition) if kind.kind == "transcode" else template.definition,
        "Name": template.name, "Comment": template.comment, "Type": _origin(store, kind, template),
        "CreateTime": _time(template.created), "UpdateTime": _time(template.updated),
    }  # fmt: skip
    return (
        {**common, **_SHOWN[kind.kind](parameters)}
        if kind.kind in _SHOWN
        else {**common, **_shown_spec(kind, parameters)}
    )


def _shown_spec(kind: Kind, parameters: Parameters) -> dict[str, Any]:
    points = {"ext_time_offset_set": ["0s"]} if kind.kind == "snapshot_by_time_offset" else {}
    spec = TASKS[kind.kind].spec.model_validate({**parameters, **points}).model_dump(mode="json")
    names = [name for name in kind.request.model_fields if name in spec and name not in ("name", "comment")]
    shown: dict[str, Any] = pascal({name: spec[name] for name in names})
    return shown


def _shown_transcode(parameters: Parameters) -> dict[str, Any]:
    spec = TASKS["transcode"].spec.model_validate(parameters).model_dump(mode="json")
    video, audio = spec["video_template"], spec["audio_template"]
    for stream in (video, audio):
        stream["codec"] = ENCODERS.get(stream["codec"], stream["codec"])
    # Ours, or of changes only.
    video.pop("effort", None)
    audio.pop("stream_selects", None)
    audio_only = _container_type(parameters) == "PureAudio"
    return {
        "Container": spec["container"], "RemoveVideo": spec["remove_video"], "RemoveAudio": spec["remove_audio"],
        "VideoTemplate": None if audio_only else pascal(video), "AudioTemplate": pascal(audio),
        "ContainerType": _container_type(parameters), "TEHDConfig": None, "EnhanceConfig": None, "AliasName": "",
    }  # fmt: skip


def _shown_watermark(parameters: Parameters) -> dict[str, Any]:
    mark = Watermark.model_validate({**parameters, "text_content": "text"}).model_dump(mode="json")
    image, text = mark["image_template"], mark["text_template"]
    if image:
        image = {
            "image_url": image["image_content"],
            **{name: image[name] for name in ("width", "height", "repeat_type")},
        }
    return {
        "Type": mark["type"], "CoordinateOrigin": mark["coordinate_origin"], "XPos": mark["x_pos"], "YPos": mark["y_pos"],
        "ImageTemplate": pascal(image), "TextTemplate": pascal(text), "SvgTemplate": None,
    }  # fmt: skip


def _shown_adaptive(parameters: Parameters) -> dict[str, Any]:
    shown: dict[str, Any] = pascal(parameters)
    for stream in shown["StreamInfos"]:
        for part in ("Video", "Audio"):
            if stream.get(part):
                stream[part]["Codec"] = ENCODERS.get(stream[part].get("Codec"), stream[part].get("Codec"))
    defaults = {
        "DisableHigherVideoBitrate": 0,
        "DisableHigherVideoResolution": 0,
        "PureAudio": 0,
        "SegmentType": "ts-segment",
    }
    return {**defaults, **shown}


_SHOWN: Mapping[str, Callable[[Parameters], dict[str, Any]]] = {
    "transcode": _shown_transcode,
    WATERMARK: _shown_watermark,
    ADAPTIVE: _shown_adaptive,
}


def _shown_image(template: Template) -> str:
    return str(template.parameters.get("image_template", {}).get("image_content", ""))


def _container_type(parameters: Parameters) -> str:
    audio = parameters.get("container") in ("mp3", "flac", "ogg", "m4a", "wav") or parameters.get("remove_video") == 1
    return "PureAudio" if audio else "Video"


def _origin(store: TemplateStore, kind: Kind, template: Template) -> str:
    return "Custom" if store.owns(kind.kind, template.definition) else "Preset"


def _time(moment: Any) -> str:
    return iso(moment.timestamp()) if moment else ""
