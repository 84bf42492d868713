"""Request models: lenient on types, strict on names."""

from __future__ import annotations

import pytest
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from mps_dagster.api.action import NotOffered, RequestModel, read_request
from mps_dagster.api.error import ApiError
from mps_dagster.errors import InvalidConfiguration


class Inner(RequestModel):
    bitrate: int = Field(ge=0)
    fps: float = 0.0

    @field_validator("fps")
    @classmethod
    def _known(cls, fps: float) -> float:
        if fps > 120:
            raise PydanticCustomError("InvalidParameterValue.Fps", "at most 120")
        return fps


class Outer(RequestModel):
    s3_input_info: Inner | None = None
    items: tuple[Inner, ...] = ()
    name: str = ""
    enabled: bool = False
    url: str = ""
    ai_task: NotOffered = None

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if url and not url.startswith("http"):
            raise InvalidConfiguration("it is no address", hint="http://…")
        return url


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"Items": [{"Bitrate": "128"}]}, {"items": (Inner(Bitrate=128),)}),
        ({"Items": [{"Bitrate": 128.0, "Fps": "23.976"}]}, {"items": (Inner(Bitrate=128, Fps=23.976),)}),
        ({"S3InputInfo": {"Bitrate": 1, "Fps": 5}}, {"s3_input_info": Inner(Bitrate=1, Fps=5.0)}),
        ({"Enabled": "true"}, {"enabled": True}),
        ({"Enabled": "True"}, {"enabled": True}),
        ({"Enabled": 0}, {"enabled": False}),
        ({"Name": 5}, {"name": "5"}),
        ({"Name": None, "Items": None, "S3InputInfo": None, "Unknown": None}, {}),
        ({"AiTask": {}}, {}),
        ({"AiTask": ""}, {}),
        ({"AiTask": 0}, {}),
        ({"AiTask": "default"}, {}),
        ({"AiTask": {"Switch": "off", "Number": 0}}, {}),
        ({"AiTask": None}, {}),
    ],
)
def test_types_are_taken_as_they_are_meant(sent, read):
    """From a form everything is a string, and a null is as if it were not there."""
    request = read_request(Outer, sent)
    assert {name: getattr(request, name) for name in read} == read
    assert {name for name in request.model_fields_set if getattr(request, name) is not None} == set(read)


@pytest.mark.parametrize(
    ("sent", "code", "path"),
    [
        ({"Items": [{"Bitrate": 1}, {}]}, "MissingParameter", "`Items.1.Bitrate`"),
        ({"Items": [{"Bitrate": None}]}, "MissingParameter", "`Items.0.Bitrate`"),
        ({"Items": [{"Bitrate": 1, "Rate": 1}]}, "UnknownParameter", "`Items.0.Rate`"),
        ({"items": []}, "UnknownParameter", "`items`"),
        ({"Items": [{"Bitrate": -1}]}, "InvalidParameterValue", "`Items.0.Bitrate`"),
        ({"Items": [{"Bitrate": "1.5"}]}, "InvalidParameterValue", "`Items.0.Bitrate`"),
        ({"Items": [{"Bitrate": ""}]}, "InvalidParameterValue", "`Items.0.Bitrate`"),
        ({"Items": {"Bitrate": 1}}, "InvalidParameterValue", "`Items`"),
        ({"Items": "1"}, "InvalidParameterValue", "`Items`"),
        ({"Items": [None]}, "InvalidParameterValue", "`Items.0`"),
        ({"Items": [{"Bitrate": 1, "Fps": "nan"}]}, "InvalidParameterValue", "`Items.0.Fps`"),
        ({"Items": [{"Bitrate": 1, "Fps": 121}]}, "InvalidParameterValue.Fps", "`Items.0.Fps`"),
        ({"S3InputInfo": []}, "InvalidParameterValue", "`S3InputInfo`"),
        ({"Name": {}}, "InvalidParameterValue", "`Name`"),
        ({"Enabled": "maybe"}, "InvalidParameterValue", "`Enabled`"),
        ({"Url": "file:///etc/passwd"}, "InvalidParameterValue", "`Url`"),
        ({"AiTask": {"Definition": 10}}, "UnsupportedOperation", "`AiTask`"),
        ({"AiTask": 1}, "UnsupportedOperation", "`AiTask`"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(sent, code, path):
    """As it was sent, not as our fields are called."""
    with pytest.raises(ApiError) as raised:
        read_request(Outer, sent)
    assert raised.value.code == code
    assert path in raised.value.message


def test_a_value_is_not_repeated_in_an_error():
    """It may be the key to another place."""
    with pytest.raises(ApiError) as raised:
        read_request(Outer, {"Items": [{"Bitrate": "a secret key"}]})
    assert "secret" not in str(raised.value)
