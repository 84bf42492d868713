"""MPS's own examples, as its command line ships them: each request is sent through the official SDK, each answer compared."""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.mps.v20190612 import models

from mps_dagster.api.actions.template_requests import KINDS, WATERMARK, Kind
from mps_dagster.api.limits import RateLimits
from mps_dagster.api.server import create_service
from mps_dagster.api.wire import unflatten
from mps_dagster.control.graphql import Dagster
from mps_dagster.settings import Settings

from .conftest import SECRET_ID, SECRET_KEY, serving
from .test_templates import CREATE

TCCLI = Path(importlib.util.find_spec("tccli").origin).parent
EXAMPLES = json.loads((TCCLI / "services" / "mps" / "v20190612" / "examples.json").read_text())["actions"]

REFUSED = {
    ("CreateAdaptiveDynamicStreamingTemplate", 0): ("InvalidParameterValue.Fps", "2000 frames a second"),
    ("CreateSchedule", 0): ("InvalidParameterValue", "outputs on one path"),
    ("CreateWatermarkTemplate", 0): ("UnsupportedOperation", "SVG"),
    ("CreateWorkflow", 1): ("ResourceNotFound.TemplateNotExist", "a transcode template's ID for screenshots"),
    ("DeleteSchedule", 0): ("ResourceNotFound.TemplateNotExist", "0 is the ID of none"),
    ("DescribeMediaMetaData", 0): ("InvalidParameterValue.SrcFile", "the file is not here"),
    ("DescribeTaskDetail", 0): ("ResourceNotFound", "the task is not here"),
    ("DescribeTasks", 1): ("InvalidParameterValue", "the scroll token was not given out here"),
    ("DescribeUsageData", 0): ("InvalidParameterValue", "the days are more than a year ago"),
    ("DisableSchedule", 0): ("ResourceNotFound.TemplateNotExist", "0 is the ID of none"),
    ("EnableSchedule", 0): ("ResourceNotFound.TemplateNotExist", "0 is the ID of none"),
    ("ManageTask", 0): ("InvalidParameterValue.TaskId", "the task is not here"),
    ("ParseNotification", 0): ("InvalidParameterValue.InvalidContent", "the content is abridged, and so no JSON"),
}  # fmt: skip
"""By which code and why. All other examples of offered actions are accepted."""

LACKING = {
    # A list of tasks, workflows or schedules is empty or another one here; tests/cli compares those that are run.
    "DescribeTasks": {"TaskSet"},
    "DescribeSchedules": {"ScheduleInfoSet"},
    # Of an image watermark; the one that is made here is of text.
    "DescribeWatermarkTemplates": {"WatermarkTemplateSet.ImageTemplate.ImageUrl", "WatermarkTemplateSet.ImageTemplate.Width", "WatermarkTemplateSet.ImageTemplate.Height", "WatermarkTemplateSet.ImageTemplate.RepeatType", "WatermarkTemplateSet.SvgTemplate.Width", "WatermarkTemplateSet.SvgTemplate.Height"},
    "ModifyWatermarkTemplate": {"ImageUrl"},
}  # fmt: skip
"""Members of an example's answer that are not filled here, and why."""


WATERMARK_KIND = next(kind for kind in KINDS if kind.kind == WATERMARK)


def body_of(text: str) -> dict[str, Any]:
    """Newer ones are JSON, older ones in the form of v1."""
    if "\n{" in text:
        return json.loads(text[text.index("\n{") :])
    pairs = [pair.partition("=") for pair in text.partition("?")[2].split("&") if "=" in pair]
    return unflatten((name.strip(), unquote(value.strip())) for name, _, value in pairs if name.strip() != "Action")


def examples() -> Iterator[Any]:
    for action, given in EXAMPLES.items():
        for number, example in enumerate(given):
            yield pytest.param(action, number, example, id=f"{action}-{number}")


@pytest.fixture(scope="module")
def offered(tmp_path_factory) -> set[str]:
    home = tmp_path_factory.mktemp("offered")
    return set(create_service(Settings(project=home, home=home)).actions)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path, home=tmp_path, api={"secret_id": SECRET_ID, "secret_key": SECRET_KEY})


@pytest.fixture
def call(settings, client_to, monkeypatch) -> Iterator[Callable[..., dict]]:
    # Dagster itself is met in tests/cli; here it takes whatever it is asked.
    for name, answer in {"reload": None, "count": 0, "newest_of": None, "reset_sensor": None}.items():
        monkeypatch.setattr(Dagster, name, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr(Dagster, "launch", lambda *_, **__: "00000000-0000-0000-0000-000000000000")
    monkeypatch.setattr(Dagster, "runs", lambda *_, **__: [])
    with serving(settings, replace(create_service(settings), limits=RateLimits({"*": 1e6}))) as address:
        client = client_to(address)

        def call(action: str, body: Mapping[str, Any]) -> dict:
            """As the SDK's own model sends it; the answer as it comes."""
            request = getattr(models, f"{action}Request")()
            request.from_json_string(json.dumps(body))
            return client.call_json(action, request._serialize(allow_none=False))["Response"]

        yield call


def make_what_is_named(action: str, body: Mapping[str, Any], settings: Settings) -> None:
    """The template, workflow or schedule that an example changes, shows or deletes, under the ID that it has there."""
    for mark in re.findall(r'"WatermarkSet": \[\{"Definition": "?(\d+)', json.dumps(body)):
        make_template(WATERMARK_KIND, int(mark), settings)
    kind = next((kind for kind in KINDS if action.endswith((f"{kind.wire}Template", f"{kind.wire}Templates"))), None)
    named = [body[name] for name in ("Definition", "WorkflowId", "ScheduleId") if name in body]
    named += [number for name in ("Definitions", "WorkflowIds", "ScheduleIds") for number in body.get(name, ())]
    for number in map(int, named):
        if kind and number != 100010:
            make_template(kind, number, settings)
        elif not kind and number:
            name = f"{'w' if 'Workflow' in action else 's'}{number}"
            workflow = {
                "name": name, "id": number, "title": "mine", "enabled": False, "created": datetime(2026, 11, 24, tzinfo=UTC),
                "trigger": {"bucket": "inbox", "dir": "/in/"}, "output": {"bucket": "outputs", "dir": "/out/"},
                "tasks": {"t1": {"type": "transcode", "outputs": [{"definition": 100010}]}},
            }  # fmt: skip
            _write(settings.workflows_dir / f"{name}.yaml", workflow)


def make_template(kind: Kind, number: int, settings: Settings) -> None:
    parameters = kind.create.model_validate(CREATE[kind.wire]).model_dump(mode="json", exclude_unset=True)
    if kind is WATERMARK_KIND:
        parameters["text_template"]["text_content"] = "mine"
    template = {"definition": number, "name": f"mine {number}", "owner": SECRET_ID, "parameters": parameters}
    _write(settings.templates_dir / f"{kind.kind}_{number}.yaml", {"kind": kind.kind, "templates": [template]})


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(dict(document)))


def lacking(example: Any, answer: Any, path: str = "") -> Iterator[str]:
    """The members that the example's answer fills and ours does not have."""
    if isinstance(example, dict):
        for name, value in example.items():
            if not name.startswith("Ai") and value is not None:
                here = f"{path}.{name}".removeprefix(".")
                if isinstance(answer, dict) and name in answer:
                    yield from lacking(value, answer[name], here)
                else:
                    yield here
    elif isinstance(example, list) and example:
        if not answer:
            yield path
        else:
            yield from lacking(example[0], answer[0], path)


@pytest.mark.parametrize(("action", "number", "example"), list(examples()))
def test_each_example_is_taken_and_answered_with_the_same_members(call, offered, settings, action, number, example):
    """Or refused for a reason that is written down; of actions that are not offered, by that name."""
    body = body_of(example["input"])
    if action in offered:
        make_what_is_named(action, body, settings)
    with warnings.catch_warnings():
        # Some examples hold parameters that the SDK does not know itself.
        warnings.simplefilter("ignore")
        try:
            answer = call(action, body)
        except TencentCloudSDKException as error:
            expected = (
                REFUSED.get((action, number), ("accepted", "")) if action in offered else ("UnsupportedOperation", "")
            )
            assert error.code == expected[0], error  # noqa: PT017
            return
    assert action in offered
    assert (action, number) not in REFUSED
    members = json.loads(example["output"])["Response"]
    assert set(lacking(members, answer)) <= LACKING.get(action, set())


def test_the_table_knows_all_examples_of_what_is_offered(offered):
    """None is left out, whatever form it has."""
    shown = {action for action, given in EXAMPLES.items() if given}
    assert offered <= shown
    assert sum(len(EXAMPLES[action]) for action in offered) >= 52
    assert {action for action, _ in REFUSED} <= offered
