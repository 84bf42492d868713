"""MPS's own examples of requests, as its command line ships them, sent through the official SDK."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.mps.v20190612 import models

from mps_dagster.api.graphql import Dagster
from mps_dagster.api.limits import RateLimits
from mps_dagster.api.server import create_service
from mps_dagster.settings import Settings

from .conftest import SECRET_ID, SECRET_KEY, serving

TCCLI = Path(importlib.util.find_spec("tccli").origin).parent
EXAMPLES = json.loads((TCCLI / "services" / "mps" / "v20190612" / "examples.json").read_text())["actions"]

REFUSED = {
    "an example's template or workflow is not here": {
        "ResourceNotFound.TemplateNotExist": [
            *(f"{verb}{kind}Template" for verb in ("Modify", "Delete") for kind in ("Transcode", "AnimatedGraphics", "SampleSnapshot", "SnapshotByTimeOffset", "ImageSprite", "Watermark")),
            "EnableSchedule", "DisableSchedule", "DeleteSchedule", "ModifySchedule", "EnableWorkflow", "DisableWorkflow", "DeleteWorkflow", "ResetWorkflow", "CreateWorkflow",
        ],
    },
    "an example's task is not here": {"ResourceNotFound": ["DescribeTaskDetail"], "InvalidParameterValue.TaskId": ["ManageTask"]},
    "an example has two outputs on one path": {"InvalidParameterValue": ["CreateSchedule"]},
    "an example's scroll token was not given out here": {"InvalidParameterValue": ["DescribeTasks"]},
    "an example's content is abridged, and so no JSON": {"InvalidParameterValue.InvalidContent": ["ParseNotification"]},
    "an example's file is not here": {"InvalidParameterValue.SrcFile": ["DescribeMediaMetaData"]},
    "what is not offered is refused by name": {
        "UnsupportedOperation": ["CreateWatermarkTemplate", "ProcessMedia", "CreateWorkflow", "ResetWorkflow", "ModifyTranscodeTemplate"],
    },
}  # fmt: skip
"""Why an example may be refused, by which code, for which actions. Everything else is accepted."""


def examples() -> Iterator[Any]:
    for action, given in EXAMPLES.items():
        for number, example in enumerate(given):
            text = example["input"]
            # Old ones are in the form of v1; the SDK sends JSON.
            if "\n{" in text:
                yield pytest.param(action, json.loads(text[text.index("\n{") :]), id=f"{action}-{number}")


@pytest.fixture(scope="module")
def offered(tmp_path_factory) -> set[str]:
    home = tmp_path_factory.mktemp("offered")
    return set(create_service(Settings(project=home, home=home)).actions)


@pytest.fixture
def call(tmp_path, client_to, monkeypatch) -> Iterator[Callable[..., dict]]:
    settings = Settings(project=tmp_path, home=tmp_path, api={"secret_id": SECRET_ID, "secret_key": SECRET_KEY})
    # Dagster itself is met in tests/cli; here it takes whatever it is asked.
    monkeypatch.setattr(Dagster, "reload", lambda _: None)
    monkeypatch.setattr(Dagster, "launch", lambda *_: "00000000-0000-0000-0000-000000000000")
    monkeypatch.setattr(Dagster, "runs", lambda *_, **__: [])
    monkeypatch.setattr(Dagster, "count", lambda *_: 0)
    monkeypatch.setattr(Dagster, "newest_of", lambda *_: None)
    with serving(settings, replace(create_service(settings), limits=RateLimits({"*": 1e6}))) as address:
        client = client_to(address)

        def call(action: str, body: dict) -> dict:
            request = getattr(models, f"{action}Request")()
            request.from_json_string(json.dumps(body))
            return json.loads(getattr(client, action)(request).to_json_string())

        yield call


@pytest.mark.parametrize(("action", "body"), list(examples()))
def test_each_example_is_taken_or_refused_for_a_documented_reason(call, offered, action, body):
    """Those of offered actions; the others answer that they are not offered."""
    allowed = {code for codes in REFUSED.values() for code, actions in codes.items() if action in actions}
    with warnings.catch_warnings():
        # Some examples hold parameters that the SDK does not know itself.
        warnings.simplefilter("ignore")
        try:
            answer = call(action, body)
        except TencentCloudSDKException as error:
            assert error.code in (allowed if action in offered else {"UnsupportedOperation"}), error  # noqa: PT017
        else:
            assert action in offered
            assert answer["RequestId"]
