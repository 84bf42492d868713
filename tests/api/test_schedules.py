"""Schedules (orchestrations) through the API: their graphs become serial tasks of a workflow, and back."""

from __future__ import annotations

import pytest

from mps_dagster.api.action import read_request
from mps_dagster.api.actions.schedules import CreateScheduleRequest
from mps_dagster.api.error import ApiError
from mps_dagster.workflow.project import Project

TRIGGER = {
    "Type": "CosFileUpload",
    "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "r", "Dir": "/in/", "Formats": ["mp4"]},
}
TRANSCODE = {"ActivityType": "action-trans", "ActivityPara": {"TranscodeTask": {"Definition": 100010}}}
STILLS = {"ActivityType": "action-samplesnapshot", "ActivityPara": {"SampleSnapshotTask": {"Definition": 10}}}
GIF = {
    "ActivityType": "action-animated-graphics",
    "ActivityPara": {"AnimatedGraphicTask": {"Definition": 20000, "StartTimeOffset": 0.0, "EndTimeOffset": 1.0}},
}


def with_para(activity: dict, others: dict) -> dict:
    return activity | {"ActivityPara": activity["ActivityPara"] | others}


WRONG = {"ActivityType": "action-trans", "ActivityPara": {"TranscodeTask": {"Definition": "HD"}}}
GRAPH = [
    {"ActivityType": "input", "ReardriveIndex": [1, 2]},
    TRANSCODE | {"ReardriveIndex": [3]},
    STILLS | {"ReardriveIndex": [4]},
    GIF | {"ReardriveIndex": [4]},
    {"ActivityType": "output"},
]  # fmt: skip
REQUEST = {"ScheduleName": "graph", "Trigger": TRIGGER, "Activities": GRAPH, "OutputDir": "/out/"}


def test_the_graph_is_serial_tasks_of_a_workflow(call, settings):
    """What follows a transcode works on its output."""
    number = call("CreateSchedule", **REQUEST)["ScheduleId"]
    project = Project.load(settings)
    assert project.bad == ()
    [workflow] = project.workflows
    assert (workflow.name, workflow.title, workflow.enabled) == (f"s{number}", "graph", False)
    assert {name: (task.type, task.upstream) for name, task in workflow.tasks.items()} == {
        "t1": ("transcode", "source"), "t2": ("sample_snapshot", "source"), "t3": ("animated_graphics", "t1"),
    }  # fmt: skip


def test_a_schedule_is_shown_as_it_was_asked_for(call):
    """And is no workflow to MPS."""
    number = call("CreateSchedule", **REQUEST)["ScheduleId"]
    [shown] = call("DescribeSchedules", ScheduleIds=[number])["ScheduleInfoSet"]
    assert (shown["ScheduleName"], shown["Status"], shown["OutputDir"]) == ("graph", "Disabled", "/out/")
    assert shown["Trigger"]["CosFileUploadTrigger"]["Bucket"] == "inbox"
    for node, node_request in zip(shown["Activities"], GRAPH, strict=True):
        assert node["ActivityType"] == node_request["ActivityType"]
        assert (node["ReardriveIndex"] or []) == node_request.get("ReardriveIndex", [])
        for member, parameters in node_request.get("ActivityPara", {}).items():
            assert {name: node["ActivityPara"][member][name] for name in parameters} == parameters
    assert call("DescribeWorkflows")["TotalCount"] == 0


INSPECTION = {
    "ActivityType": "action-AIQualityControl",
    "ActivityPara": {"QualityControlTask": {"Definition": 40}},
}


def test_what_follows_an_inspection_works_on_the_inspected_source(call, settings):
    """And is shown as it was asked for."""
    graph = [
        {"ActivityType": "input", "ReardriveIndex": [1]},
        INSPECTION | {"ReardriveIndex": [2, 3]},
        TRANSCODE | {"ReardriveIndex": [4]},
        STILLS | {"ReardriveIndex": [4]},
        {"ActivityType": "output"},
    ]
    number = call("CreateSchedule", **(REQUEST | {"Activities": graph}))["ScheduleId"]
    [workflow] = Project.load(settings).workflows
    assert {name: (task.type, task.upstream) for name, task in workflow.tasks.items()} == {
        "t1": ("quality_inspection", "source"), "t2": ("transcode", "t1"), "t3": ("sample_snapshot", "t1"),
    }  # fmt: skip
    [shown] = call("DescribeSchedules", ScheduleIds=[number])["ScheduleInfoSet"]
    for node, node_request in zip(shown["Activities"], graph, strict=True):
        assert node["ActivityType"] == node_request["ActivityType"]
        assert (node["ReardriveIndex"] or []) == node_request.get("ReardriveIndex", [])
    assert shown["Activities"][1]["ActivityPara"]["QualityControlTask"]["Definition"] == 40


def test_a_schedule_is_changed_in_part_and_its_graph_as_a_whole(call, refused):
    """Only while it is disabled."""
    number = call("CreateSchedule", **REQUEST)["ScheduleId"]
    call("ModifySchedule", ScheduleId=number, ScheduleName="other")
    graph = [
        {"ActivityType": "input", "ReardriveIndex": [1]},
        STILLS | {"ReardriveIndex": [2]},
        {"ActivityType": "output"},
    ]
    call("ModifySchedule", ScheduleId=number, Activities=graph, OutputDir="")
    [shown] = call("DescribeSchedules")["ScheduleInfoSet"]
    assert (shown["ScheduleName"], len(shown["Activities"]), shown["OutputDir"]) == ("other", 3, "")
    call("EnableSchedule", ScheduleId=number)
    assert refused("ModifySchedule", ScheduleId=number, ScheduleName="x") == "InvalidParameterValue"
    assert refused("DeleteSchedule", ScheduleId=number) == "InvalidParameterValue"
    call("DisableSchedule", ScheduleId=number)
    call("DeleteSchedule", ScheduleId=number)
    assert call("DescribeSchedules")["TotalCount"] == 0


def test_a_schedule_may_be_triggered_by_s3_and_its_queue(call, refused, settings):
    """Which MPS offers for schedules only. A queue has one reader."""
    sqs = {"SQSRegion": "us-east-1", "SQSQueueName": "news"}
    trigger = {
        "Type": "AwsS3FileUpload",
        "AwsS3FileUploadTrigger": {"S3Bucket": "media", "S3Region": "us-east-1", "AwsSQS": sqs},
    }
    call("CreateSchedule", **(REQUEST | {"Trigger": trigger}))
    [workflow] = Project.load(settings).workflows
    assert (workflow.trigger.bucket, workflow.trigger.queue, workflow.trigger.queue_region) == (
        "s3://media",
        "news",
        "us-east-1",
    )
    assert workflow.trigger.takes("any.thing")
    [shown] = call("DescribeSchedules")["ScheduleInfoSet"]
    assert shown["Trigger"]["AwsS3FileUploadTrigger"]["AwsSQS"]["SQSQueueName"] == "news"
    assert (
        refused("CreateSchedule", **(REQUEST | {"Trigger": trigger, "ScheduleName": "other"}))
        == "InvalidParameterValue"
    )


def test_schedules_are_counted_and_paged_by_the_trigger_that_is_asked_for(call):
    """One of S3 among those of COS."""
    s3 = {"Type": "AwsS3FileUpload", "AwsS3FileUploadTrigger": {"S3Bucket": "media", "S3Region": "us-east-1"}}
    for name, trigger in (("a", TRIGGER), ("b", s3), ("c", TRIGGER)):
        call("CreateSchedule", **(REQUEST | {"ScheduleName": name, "Trigger": trigger}))
    for kind, names in (("AwsS3FileUpload", ["b"]), ("CosFileUpload", ["c"])):
        page = call("DescribeSchedules", TriggerType=kind, Limit=1)
        assert [schedule["ScheduleName"] for schedule in page["ScheduleInfoSet"]] == names
    assert page["TotalCount"] == 2


def test_keys_of_s3_in_a_trigger_are_not_offered(refused):
    """They are the deployment's."""
    s3 = {"S3Bucket": "media", "S3Region": "us-east-1", "S3SecretId": "id", "S3SecretKey": "key"}
    trigger = {"Type": "AwsS3FileUpload", "AwsS3FileUploadTrigger": s3}
    assert refused("CreateSchedule", **(REQUEST | {"Trigger": trigger})) == "UnsupportedOperation"


@pytest.mark.parametrize(
    ("graph", "code"),
    [
        ([{"ActivityType": "input", "ReardriveIndex": [7]}], "InvalidParameterValue"),
        ([{"ActivityType": "input"}, {"ActivityType": "output"}], "InvalidParameterValue"),
        ([{"ActivityType": "input"}, STILLS], "InvalidParameterValue"),
        ([{"ActivityType": "input", "ReardriveIndex": [1]}, {"ActivityType": "action-trans"}], "InvalidParameterValue"),
        ([{"ActivityType": "input", "ReardriveIndex": [1, 2]}, TRANSCODE | {"ReardriveIndex": [2]}, STILLS], "InvalidParameterValue"),
        ([{"ActivityType": "input", "ReardriveIndex": [1]}, STILLS | {"ReardriveIndex": [2]}, GIF], "InvalidParameterValue"),
        ([{"ActivityType": "input", "ReardriveIndex": [1]}, {"ActivityType": "action-AIAnalysis"}], "UnsupportedOperation"),
        ([{"ActivityType": "input", "ReardriveIndex": [1]}, WRONG | {"ReardriveIndex": []}], "InvalidParameterValue"),
        ([{"ActivityType": "input", "ReardriveIndex": [1]}, with_para(STILLS, TRANSCODE["ActivityPara"])], "InvalidParameterValue"),
        ([{"ActivityType": "input", "ReardriveIndex": [1]}, with_para(STILLS, {"SmartEraseTask": {"Definition": 1}})], "UnsupportedOperation"),
        ([{"ActivityType": "input", "ReardriveIndex": [1]}, with_para(STILLS, {"SampleSnapshotTask": {}})], "MissingParameter"),
        ([STILLS | {"ActivityType": "input", "ReardriveIndex": [1]}, STILLS], "InvalidParameterValue"),
    ],
)  # fmt: skip
def test_an_impossible_graph_is_refused(refused, settings, graph, code):
    """Nothing leads there, it leads nowhere, two lead to one, there is no such work here, or more than one thing is asked."""
    assert refused("CreateSchedule", **(REQUEST | {"Activities": graph})) == code
    assert not list(settings.workflows_dir.glob("*.yaml"))


def test_what_is_wrong_in_a_node_is_named_by_its_path():
    """As in any request."""
    node = {"ActivityType": "action-trans", "ActivityPara": {"TranscodeTask": {"Definition": "HD"}}}
    with pytest.raises(ApiError, match=r"`Activities\.0\.ActivityPara\.TranscodeTask\.Definition`"):
        read_request(CreateScheduleRequest, {**REQUEST, "Activities": [node]})
    with pytest.raises(ApiError, match=r"`Activities\.0\.ActivityPara\.Other` is not recognized"):
        read_request(CreateScheduleRequest, {**REQUEST, "Activities": [{**node, "ActivityPara": {"Other": 1}}]})
