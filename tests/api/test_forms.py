"""What a request's form makes of a model: one description of a parameter for workflow files and for MPS's API."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, create_model

from mps_dagster.api.action import RequestModel, read_request
from mps_dagster.api.error import ApiError
from mps_dagster.api.forms import entry_fields, form, query_form, template_form
from mps_dagster.frozen import OURS, PER_TASK, REQUIRED, Api, Facts
from mps_dagster.tasks.mps import Filter, TemplateType


class Stream(Facts):
    not_offered: ClassVar = {"Sar": "", "TEHDConfig": ...}

    codec: Annotated[Literal["h264", "vp9"], Api(required=True, words={"h264": "libx264"}, refused=("vp8",))] = "h264"
    kbps: Annotated[int, Api(least=128)] = Field(0, ge=0, le=1000)
    frames: Annotated[int | None, Api(unset=-1)] = Field(None, ge=0, le=16)
    depth: Literal[8, 10] = 8
    effort: Annotated[str, OURS] = "balanced"


class Film(Facts):
    stream: Stream = Stream()
    parts: tuple[Stream, ...] = ()
    size: Annotated[str, Field(pattern="^[0-9]+px$"), REQUIRED] = "32px"
    points: Annotated[tuple[Annotated[str, Field(pattern="s$")], ...], PER_TASK] = Field((), max_length=1)
    start: Annotated[float, Api("task", required=True)] = Field(0.0, ge=0)


WHOLE = {"Size": "1px", "Stream": {"Codec": "vp9"}}
TEMPLATE = TemplateType(
    kind="film", wire="Film", model=Film, limit=1, codes={"Stream.Kbps": "Bitrate", "Size": ""},
    filters={"PureAudio": Filter(Literal[0, 1], lambda _: 0), "SceneType": None},
)  # fmt: skip


def code_of(request: dict, *, whole: bool = True) -> str:
    with pytest.raises(ApiError) as caught:
        read_request(template_form(TEMPLATE, RequestModel, whole=whole), request)
    return caught.value.code


@pytest.mark.parametrize(
    ("stream", "written"),
    [
        ({"Codec": "libx264", "Kbps": "500", "Depth": "10"}, {"codec": "h264", "kbps": 500, "depth": 10}),
        ({"Codec": "vp9", "Frames": "-1", "Sar": ""}, {"codec": "vp9", "frames": None}),
        ({"Codec": "vp9", "Kbps": None, "TEHDConfig": {}}, {"codec": "vp9"}),
    ],
)
def test_what_is_given_is_written_in_our_names(stream, written):
    """Nothing else: what is not named keeps its default, and what says nothing is left out."""
    request = read_request(form(Film, RequestModel, whole=True), {"Size": "1px", "Stream": stream})
    assert request.model_dump(exclude_unset=True) == {"size": "1px", "stream": written}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"Stream": {"Codec": "vp9"}}, "MissingParameter"),
        ({"Size": "1px", "Stream": {}}, "MissingParameter"),
        (WHOLE | {"Stream": {"Codec": "vp8"}}, "UnsupportedOperation"),
        (WHOLE | {"Stream": {"Codec": "vp9", "Sar": "2:1"}}, "UnsupportedOperation"),
        (WHOLE | {"Stream": {"Codec": "vp9", "Kbps": 127}}, "InvalidParameterValue.Bitrate"),
        (WHOLE | {"Stream": {"Codec": "vp9", "Frames": 17}}, "InvalidParameterValue"),
        (WHOLE | {"Stream": {"Codec": "vp9", "Effort": "fast"}}, "UnknownParameter"),
        (WHOLE | {"Start": 1}, "UnknownParameter"),
        (WHOLE | {"Size": "big"}, "InvalidParameterValue"),
        (WHOLE | {"Stream": 5}, "InvalidParameterValue.Stream"),
    ],
)
def test_a_whole_form_refuses_by_mps_s_code(request_, code):
    """The parameter's own name, unless the template says otherwise."""
    assert code_of(request_) == code


def test_changes_name_what_they_change():
    """Only the members of a list are whole."""
    changes = template_form(TEMPLATE, RequestModel, whole=False)
    assert read_request(changes, {"Stream": {"Depth": 10}}).model_dump(exclude_unset=True) == {"stream": {"depth": 10}}
    assert code_of({"Parts": [{"Depth": 10}]}, whole=False) == "MissingParameter"
    assert code_of({"Stream": {"Kbps": 127}}, whole=False) == "InvalidParameterValue.Bitrate"


def test_what_comes_with_a_task_is_reported_in_its_result():
    """MPS takes the call whatever the values are; only their types are checked."""
    entry = create_model("Entry", __base__=RequestModel, **entry_fields(Film, {}))
    request = read_request(entry, {"Start": -1, "Points": ["a", "b"]})
    assert request.model_dump() == {"start": -1.0, "points": ("a", "b")}


def test_a_query_has_the_template_s_own_filters():
    """Those that are not offered are refused by name."""
    query = query_form(TEMPLATE, RequestModel)
    assert read_request(query, {"PureAudio": "1"}).model_dump() == {"pure_audio": 1}
    wrong = {"PureAudio": "InvalidParameterValue.PureAudio", "SceneType": "UnsupportedOperation"}
    for parameter, code in wrong.items():
        with pytest.raises(ApiError) as caught:
            read_request(query, {parameter: "pgc"})
        assert caught.value.code == code
