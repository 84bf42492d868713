"""Requests of the template actions (reference D.1 to D.7): forms derived from each kind's model."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import ClassVar, Literal

from PIL import Image
from pydantic import Field, create_model

from mps_dagster.api.action import Number, RequestModel
from mps_dagster.api.error import ApiError
from mps_dagster.api.forms import query_form, template_form
from mps_dagster.tasks import TEMPLATES, watermark
from mps_dagster.tasks.mps import TemplateType

WATERMARK = watermark.TEMPLATE.kind
MAX_IMAGE_BYTES = 10 * 2**20
MAX_IMAGE_SIDE = 4096


class Labels(RequestModel):
    name: str = Field("", max_length=64)
    comment: str = Field("", max_length=256)


class Named(RequestModel):
    codes: ClassVar = {"Definition": "Definition"}

    definition: Number


class Describe(RequestModel):
    codes: ClassVar = {name: name for name in ("Definitions", "Limit", "Type")}

    definitions: tuple[int, ...] = Field((), max_length=100)
    offset: int = Field(0, ge=0)
    limit: int = Field(10, ge=1, le=100)
    type: Literal["", "Preset", "Custom"] = ""
    name: str = Field("", max_length=64)


@dataclass(frozen=True)
class Kind:
    """One kind of template and the forms of its actions."""

    template: TemplateType
    create: type[Labels]
    modify: type[Labels]
    describe: type[Describe]

    @classmethod
    def of(cls, template: TemplateType) -> Kind:
        changes = template_form(template, Labels, whole=False)
        return cls(
            template,
            create=template_form(template, Labels, whole=True),
            modify=create_model(f"Modify{template.wire}", __base__=changes, definition=(Number, ...)),
            describe=query_form(template, Describe),
        )

    @property
    def kind(self) -> str:
        return self.template.kind

    @property
    def wire(self) -> str:
        return self.template.wire


KINDS = tuple(Kind.of(template) for template in TEMPLATES.values())


def picture_of(content: str) -> bytes:
    """Decode and check a watermark's picture."""
    try:
        data = base64.b64decode(content, validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            size = picture.size
            picture.verify()
    except (ValueError, binascii.Error, SyntaxError, OSError, Image.DecompressionBombError) as error:
        raise ApiError(
            "InvalidParameterValue.ImageContent", f"ImageContent is no PNG or JPEG in base64: {error}"
        ) from error
    if max(size) > MAX_IMAGE_SIDE or len(data) > MAX_IMAGE_BYTES:
        limit = f"{MAX_IMAGE_SIDE} pixels a side and {MAX_IMAGE_BYTES} bytes"
        raise ApiError("InvalidParameterValue.ImageContent", f"ImageContent is larger than {limit}.")
    return data
