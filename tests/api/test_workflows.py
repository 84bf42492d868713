"""Workflows through the API, called with Tencent's own SDK: what is made is a file that Dagster loads."""

from __future__ import annotations

import contextlib
import itertools
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest
import yaml
from projects import VOD
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from mps_dagster.api.actions.definitions import CHANGES_AT_ONCE, Definitions
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import MpsError
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import WORKFLOW
from mps_dagster.workflow.parse import Document
from mps_dagster.workflow.project import Project

TRIGGER = {
    "Type": "CosFileUpload",
    "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "ap-guangzhou", "Dir": "/in/", "Formats": ["mp4", ".mov"]},
}
ELSEWHERE = {"Type": "AWS-S3", "S3OutputStorage": {"S3Bucket": "elsewhere", "S3Region": "us-east-1"}}
LOGO = {
    "Definition": 0,
    "RawParameter": {
        "Type": "image", "CoordinateOrigin": "TopLeft", "XPos": "10%", "YPos": "0px",
        "ImageTemplate": {
            "ImageContent": {
                "Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "ap-guangzhou", "Object": "/logo.png"},
            },
            "Width": "20%", "Height": "0px", "RepeatType": "repeat",
        },
    },
}  # fmt: skip
TASKS = {
    "TranscodeTaskSet": [
        {"Definition": 100010, "OutputObjectPath": "{inputName}_{definition}.{format}", "OutputStorage": ELSEWHERE},
        {"Definition": 100020, "WatermarkSet": [LOGO]},
    ],
    "AnimatedGraphicTaskSet": [{"Definition": 20000, "StartTimeOffset": 0.0, "EndTimeOffset": 0.0}],
    "SnapshotByTimeOffsetTaskSet": [{"Definition": 10, "ExtTimeOffsetSet": ["1s", "50%"]}],
    "SampleSnapshotTaskSet": [{"Definition": 10}],
    "ImageSpriteTaskSet": [{"Definition": 10}],
}  # fmt: skip
REQUEST = {
    "WorkflowName": "nightly", "Trigger": TRIGGER, "MediaProcessTask": TASKS, "OutputDir": "/out/", "TaskPriority": 3,
    "OutputStorage": {"Type": "COS", "CosOutputStorage": {"Bucket": "outputs", "Region": "ap-guangzhou"}},
    "TaskNotifyConfig": {"NotifyType": "TDMQ-CMQ", "CmqModel": "Queue", "CmqRegion": "gz", "QueueName": "events", "NotifyMode": "Change"},
}  # fmt: skip


def what_of(shown: object, requested: object) -> object:
    """Of what is shown, the members that were asked for: the SDK fills in all others with null."""
    if isinstance(requested, dict):
        return {name: what_of(shown[name], value) for name, value in requested.items()}
    if isinstance(requested, list):
        return [what_of(*pair) for pair in zip(shown, requested, strict=True)]
    return shown


def loaded(settings: Settings) -> dict[str, Workflow]:
    project = Project.load(settings)
    assert project.bad == ()
    return {workflow.name: workflow for workflow in project.workflows}


def test_a_workflow_is_the_file_that_an_admin_would_write(call, settings, reloads):
    """Disabled at first; Dagster reloads. Its owner alone may read it: it may hold a callback's key."""
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    workflow = loaded(settings)[f"w{number}"]
    assert (workflow.title, workflow.enabled, workflow.priority, workflow.id) == ("nightly", False, 3, number)
    assert (workflow.trigger.bucket, workflow.trigger.prefix, workflow.trigger.formats) == (
        "inbox",
        "in/",
        ("mp4", "mov"),
    )
    assert (workflow.output.bucket, workflow.output.dir) == ("outputs", "/out/")
    assert {name: len(task.specs) for name, task in workflow.tasks.items()} == {
        "transcode": 2, "animated_graphics": 1, "snapshot_by_time_offset": 1, "sample_snapshot": 1, "image_sprite": 1,
    }  # fmt: skip
    assert workflow.notify[0].address == "tdmq_cmq:gz/queue/events"
    assert workflow.notify[0].notify_mode == "change"
    assert reloads == [1]
    assert (settings.workflows_dir / f"w{number}.yaml").stat().st_mode & 0o777 == 0o600


def test_a_workflow_is_shown_as_it_was_asked_for(call):
    """In the members of the SDK's own model; regions are the deployment's. What is shown can be sent back."""
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    [shown] = call("DescribeWorkflows")["WorkflowInfoSet"]
    assert (shown["WorkflowId"], shown["WorkflowName"], shown["Status"], shown["TaskPriority"]) == (
        number,
        "nightly",
        "Disabled",
        3,
    )
    for name in ("Trigger", "OutputStorage", "OutputDir", "MediaProcessTask", "TaskNotifyConfig"):
        assert what_of(shown[name], REQUEST[name]) == REQUEST[name]
    again = {name: shown[name] for name in REQUEST}
    call("ResetWorkflow", WorkflowId=number, **again)
    [reset] = call("DescribeWorkflows")["WorkflowInfoSet"]
    assert {name: reset[name] for name in REQUEST} == again


def test_it_cannot_be_changed_or_deleted_until_it_is_disabled(call, refused, settings):
    """MPS's rules."""
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    call("EnableWorkflow", WorkflowId=number)
    enabled = loaded(settings)[f"w{number}"]
    assert enabled.enabled
    assert enabled.enabled_at is not None
    assert call("DescribeWorkflows", Status="Enabled")["TotalCount"] == 1
    assert refused("ResetWorkflow", WorkflowId=number, **REQUEST) == "InvalidParameterValue"
    assert refused("DeleteWorkflow", WorkflowId=number) == "InvalidParameterValue"
    call("DisableWorkflow", WorkflowId=number)
    call(
        "ResetWorkflow", WorkflowId=number, **(REQUEST | {"WorkflowName": "other", "TaskPriority": 0, "OutputDir": ""})
    )
    changed = loaded(settings)[f"w{number}"]
    assert (changed.title, changed.priority, changed.output.dir, changed.enabled) == ("other", 0, "", False)
    call("DeleteWorkflow", WorkflowId=number)
    assert loaded(settings) == {}
    assert refused("EnableWorkflow", WorkflowId=number) == "ResourceNotFound.TemplateNotExist"
    assert call("CreateWorkflow", **REQUEST)["WorkflowId"] > number


def fails(*_: object) -> None:
    raise MpsError("no Dagster answers")


def test_enabling_starts_the_sensor_also_if_it_was_stopped_in_the_ui(call, refused, monkeypatch):
    """Also once more; tests/cli has a real one. If Dagster cannot, the call fails."""
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    requested: list[str] = []
    monkeypatch.setattr(Dagster, "reset_sensor", lambda _, name: requested.append(name))
    for _ in range(2):
        call("EnableWorkflow", WorkflowId=number)
    assert requested == [f"w{number}_uploads"] * 2
    monkeypatch.setattr(Dagster, "reset_sensor", fails)
    assert refused("EnableWorkflow", WorkflowId=number) == "FailedOperation"


def test_an_admin_s_own_workflow_is_shown_and_left_alone(call, refused, settings):
    """By an ID that is made of its name."""
    settings.workflows_dir.mkdir()
    (settings.workflows_dir / "vod.yaml").write_text(VOD)
    [shown] = call("DescribeWorkflows")["WorkflowInfoSet"]
    assert (shown["WorkflowName"], shown["Status"]) == ("vod", "Enabled")
    assert call("DescribeWorkflows", WorkflowIds=[shown["WorkflowId"]])["TotalCount"] == 1
    for action in ("DisableWorkflow", "DeleteWorkflow"):
        assert refused(action, WorkflowId=shown["WorkflowId"]) == "ResourceNotFound.TemplateNotExist"
    assert (settings.workflows_dir / "vod.yaml").read_text() == VOD


def test_what_dagster_does_not_load_is_not_there(call, refused, settings, monkeypatch):
    """The file is as it was before, and no ID is used up."""
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    path = settings.workflows_dir / f"w{number}.yaml"
    before = path.read_text()

    monkeypatch.setattr(Dagster, "reload", fails)
    assert refused("EnableWorkflow", WorkflowId=number) == "FailedOperation"
    assert refused("CreateWorkflow", **(REQUEST | {"WorkflowName": "b"})) == "FailedOperation"
    assert refused("DeleteWorkflow", WorkflowId=number) == "FailedOperation"
    assert path.read_text() == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(loaded(settings)) == [f"w{number}"]
    monkeypatch.setattr(Dagster, "reload", lambda _: None)
    assert call("CreateWorkflow", **(REQUEST | {"WorkflowName": "b"}))["WorkflowId"] == number + 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"WorkflowName": ""}, "InvalidParameterValue"),
        ({"WorkflowName": "x" * 129}, "InvalidParameterValue"),
        ({"MediaProcessTask": {}}, "InvalidParameterValue"),
        ({"MediaProcessTask": {"TranscodeTaskSet": [{"Definition": 424242}]}}, "ResourceNotFound.TemplateNotExist"),
        ({"MediaProcessTask": {"SampleSnapshotTaskSet": [{"Definition": 10}] * 2}}, "InvalidParameterValue"),
        ({"OutputDir": "/../x/"}, "InvalidParameterValue"),
        ({"TaskPriority": 11}, "InvalidParameterValue"),
        ({"AiAnalysisTask": {"Definition": 10}}, "UnsupportedOperation"),
        ({"Trigger": {"Type": "CosFileUpload"}}, "MissingParameter"),
        ({"Trigger": {"Type": "CosFileUpload", "CosFileUploadTrigger": {"Bucket": "no/bucket", "Region": "ap-guangzhou"}}}, "InvalidParameterValue"),
    ],
)  # fmt: skip
def test_an_impossible_workflow_is_refused_with_mps_s_code(refused, settings, change, code):
    """And nothing is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert refused("CreateWorkflow", **(REQUEST | change)) == code
    assert loaded(settings) == {}


def test_two_workflows_have_two_names(call, refused):
    """As in MPS."""
    call("CreateWorkflow", **REQUEST)
    assert refused("CreateWorkflow", **REQUEST) == "InvalidParameterValue"


def test_the_name_of_an_admin_s_workflow_is_taken_too(call, refused, settings):
    """It has no other."""
    settings.workflows_dir.mkdir()
    (settings.workflows_dir / "vod.yaml").write_text(VOD)
    assert refused("CreateWorkflow", **(REQUEST | {"WorkflowName": "vod"})) == "InvalidParameterValue"


ANYTHING = ApiKey(secret_id="AKIDall", secret_key="a key of sixteen characters", read=("*",), write=("*",))


def written(title: str) -> Document:
    tasks = {"stills": {"type": "sample_snapshot", "outputs": [{"definition": 10}]}}
    return {"title": title, "trigger": {"bucket": "inbox"}, "output": {"bucket": "outputs"}, "tasks": tasks}


@pytest.mark.usefixtures("reloads")
def test_of_many_who_want_one_name_at_once_one_gets_it(settings):
    """And the others get an error."""
    workflows = Definitions(settings, WORKFLOW)

    together = threading.Barrier(4)

    def create(_: int) -> int:
        together.wait()
        with contextlib.suppress(ApiError):
            return workflows.create(written("nightly"), ANYTHING)
        return 0

    with ThreadPoolExecutor(4) as pool:
        assert sum(number > 0 for number in pool.map(create, range(4))) == 1


@pytest.mark.usefixtures("reloads")
def test_what_is_enabled_meanwhile_stays_enabled(settings):
    """A change is made of what was read, so nothing comes in between."""
    workflows = Definitions(settings, WORKFLOW)
    number = workflows.create(written("nightly"), ANYTHING)
    other = threading.Thread(target=workflows.enable, args=(number, ANYTHING))

    def change(_: Document) -> Document:
        other.start()
        other.join(0.2)
        return written("changed")

    workflows.replace(number, change, ANYTHING)
    other.join()
    [workflow] = loaded(settings).values()
    assert (workflow.title, workflow.enabled) == ("changed", True)


def test_a_file_that_is_no_workflow_keeps_no_other_from_being_made_and_shown(call, settings):
    """`mps workflows validate` tells of it."""
    settings.workflows_dir.mkdir(parents=True)
    for number, text in enumerate(("{", "trigger: here", "{name: x, trigger: {bucket: b}, tasks: {t: no}}", "\x00")):
        (settings.workflows_dir / f"bad{number}.yaml").write_text(text)
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    shown = call("DescribeWorkflows")["WorkflowInfoSet"]
    assert [workflow["WorkflowId"] for workflow in shown] == [number]


def edited(settings: Settings, number: int, change: Callable[[dict], object]) -> Path:
    """The file of a workflow after an admin's hand."""
    path = settings.workflows_dir / f"w{number}.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda document: document.pop("trigger"), "trigger: Field required"),
        (lambda document: document.update(trigger="inbox"), "trigger: "),
        (lambda document: document.update(notify="events"), "notify: "),
        (lambda document: document.update(id="abc"), "name and id: "),
        (lambda document: document.update(name="other"), "name and id: "),
        (lambda document: document.update(tasks=[]), "tasks: "),
        (lambda document: document.update(created=[]), "created: "),
    ],
)
def test_a_workflow_that_was_broken_by_hand_breaks_no_other(call, settings, change, says):
    """It is not shown (or as an admin's own), and calls on it answer with the problem of its file."""
    broken, whole = (call("CreateWorkflow", **(REQUEST | {"WorkflowName": name}))["WorkflowId"] for name in "ab")
    path = edited(settings, broken, change)
    shown = {workflow["WorkflowId"] for workflow in call("DescribeWorkflows")["WorkflowInfoSet"]}
    assert whole in shown
    assert broken not in shown
    with pytest.raises(TencentCloudSDKException) as caught:
        call("EnableWorkflow", WorkflowId=broken)
    assert (caught.value.code, f"{path.name}: {says}" in caught.value.message) == ("InvalidParameterValue", True)
    call("EnableWorkflow", WorkflowId=whole)
    call("CreateWorkflow", **(REQUEST | {"WorkflowName": "c"}))


def test_what_may_be_left_out_of_a_file_may_be_left_out(call, settings):
    """A file without `enabled` is enabled, one without `output` writes beside its uploads."""
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    edited(
        settings, number, lambda document: [document.pop(name) for name in ("enabled", "output", "notify", "created")]
    )
    [shown] = call("DescribeWorkflows", Status="Enabled")["WorkflowInfoSet"]
    assert (shown["OutputStorage"]["CosOutputStorage"]["Bucket"], shown["TaskNotifyConfig"]) == ("inbox", None)
    call("DisableWorkflow", WorkflowId=number)
    call("ResetWorkflow", WorkflowId=number, **REQUEST)
    assert not loaded(settings)[f"w{number}"].enabled


def test_what_is_no_longer_valid_can_still_be_disabled_and_deleted(call, refused, settings):
    """A template that it names was deleted: it does not work, is not shown, and cannot be enabled."""
    template = call("CreateSampleSnapshotTemplate", SampleType="Percent", SampleInterval=50)["Definition"]
    tasks = {"SampleSnapshotTaskSet": [{"Definition": template}]}
    number = call("CreateWorkflow", **(REQUEST | {"MediaProcessTask": tasks}))["WorkflowId"]
    call("EnableWorkflow", WorkflowId=number)
    (settings.templates_dir / f"sample_snapshot_{template}.yaml").unlink()
    assert call("DescribeWorkflows")["TotalCount"] == 0
    call("DisableWorkflow", WorkflowId=number)
    assert refused("EnableWorkflow", WorkflowId=number) == "ResourceNotFound.TemplateNotExist"
    call("DeleteWorkflow", WorkflowId=number)
    assert list(settings.workflows_dir.glob("*.yaml")) == []


def test_an_id_is_of_one_file(call, refused, settings):
    """A copy is an admin's own; before it is given a name of its own, one of the two is loaded, and no other is enabled."""
    number = call("CreateWorkflow", **REQUEST)["WorkflowId"]
    text = (settings.workflows_dir / f"w{number}.yaml").read_text()
    copy = settings.workflows_dir / "a.yaml"
    copy.write_text(text)
    [shown] = call("DescribeWorkflows")["WorkflowInfoSet"]
    assert shown["WorkflowId"] != number
    assert refused("EnableWorkflow", WorkflowId=number) == "InvalidParameterValue"
    copy.write_text(text.replace(f"name: w{number}", "name: mine"))
    ids = [workflow["WorkflowId"] for workflow in call("DescribeWorkflows")["WorkflowInfoSet"]]
    assert min(ids) == number
    assert len(set(ids)) == 2
    call("EnableWorkflow", WorkflowId=number)


def test_what_an_admin_writes_is_shown_in_numbers_and_words_that_mps_has(call, settings):
    """Templates by name have their number; an image beside the templates cannot be named."""
    settings.workflows_dir.mkdir()
    (settings.workflows_dir / "own.yaml").write_text(OWN)
    [shown] = call("DescribeWorkflows")["WorkflowInfoSet"]
    assert (shown["Status"], shown["TaskPriority"], shown["CreateTime"]) == ("Disabled", 3, "2026-01-02T00:00:00Z")
    [transcode] = shown["MediaProcessTask"]["TranscodeTaskSet"]
    assert transcode["Definition"] == 100030
    [image, text] = transcode["WatermarkSet"]
    assert image["RawParameter"] is None
    assert text["TextContent"] == "a"


OWN = """
name: own
enabled: "no"
priority: "3"
created: "2026-01-02T00:00:00"
trigger: {bucket: inbox}
tasks:
  web:
    type: transcode
    outputs:
      - definition: MP4-HD
        watermark_set:
          - {image_template: {image_content: logo.png}}
          - {type: text, text_content: a, image_template: null}
"""
KEYS = """
keys:
  - {secret_id: AKIDowner, secret_key: a key of sixteen characters, read: [inbox], write: [outputs, "s3://elsewhere"]}
  - {secret_id: AKIDpart, secret_key: a key of sixteen characters, read: [inbox], write: [outputs]}
  - {secret_id: AKIDother, secret_key: a key of sixteen characters, read: [elsewhere], write: ["*"]}
"""


def test_a_key_manages_and_sees_workflows_of_its_own_buckets_only(deployed):
    """Somebody else's is neither shown nor switched nor deleted; nor one of which a single output lies elsewhere."""
    call = deployed(KEYS)
    number = call("AKIDowner", "CreateWorkflow", **REQUEST)["WorkflowId"]
    for action in ("EnableWorkflow", "DisableWorkflow", "DeleteWorkflow"):
        for who in ("AKIDother", "AKIDpart"):
            with pytest.raises(TencentCloudSDKException) as caught:
                call(who, action, WorkflowId=number)
            assert caught.value.code == "UnauthorizedOperation"
    assert call("AKIDother", "DescribeWorkflows")["TotalCount"] == 0
    assert call("AKIDowner", "DescribeWorkflows")["TotalCount"] == 1
    call("AKIDowner", "DeleteWorkflow", WorkflowId=number)


@pytest.mark.slow
def test_only_so_many_changes_wait_for_one_another(call, monkeypatch):
    """Each has Dagster load the files. The others are asked to retry, and quick calls go on."""
    leave = threading.Event()
    monkeypatch.setattr(Dagster, "reload", lambda _: leave.wait(60))
    with ThreadPoolExecutor(CHANGES_AT_ONCE + 3) as pool:
        calls = [
            pool.submit(call, "CreateWorkflow", **(REQUEST | {"WorkflowName": f"w{number}"}))
            for number in range(CHANGES_AT_ONCE + 3)
        ]
        try:
            refused = list(itertools.islice(as_completed(calls, timeout=60), 3))
            assert {each.exception().code for each in refused} == {"RequestLimitExceeded"}
            assert call("DescribeImageSpriteTemplates")["TotalCount"] > 0
        finally:
            leave.set()
        assert sum(each.exception() is None for each in calls) == CHANGES_AT_ONCE
