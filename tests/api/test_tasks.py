"""ProcessMedia, up to where Dagster takes over; tests/cli has a real one."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
import yaml

from mps_dagster.control.graphql import Dagster
from mps_dagster.control.task_run import StoredRun


def test_the_password_in_a_url_stays_in_the_run(call, monkeypatch):
    """Which needs it. What queries and notifications tell of the input comes from the tag."""
    launched = []
    run_id = "00000000-0000-0000-0000-000000000000"
    monkeypatch.setattr(Dagster, "launch", lambda _, *launch, **__: launched.append(launch) or run_id)
    call(
        "ProcessMedia",
        InputInfo={"Type": "URL", "UrlInputInfo": {"Url": "https://anna:secret@films.example/film.mp4?a=@b"}},
        MediaProcessTask={"TranscodeTaskSet": [{"Definition": 100030}]},
    )
    [(_, config, tags)] = launched
    assert tags["mps/url"] == "https://films.example/film.mp4?a=@b"
    assert "secret" not in str(tags)
    assert config["ops"]["source"]["config"]["url"] == "https://anna:secret@films.example/film.mp4?a=@b"


def test_a_url_whose_name_is_longer_than_a_folder_takes_is_processed_under_a_shorter_one(call, monkeypatch):
    """With its beginning and its extension."""
    launched = []
    run_id = "00000000-0000-0000-0000-000000000000"
    monkeypatch.setattr(Dagster, "launch", lambda _, *launch, **__: launched.append(launch) or run_id)
    address = f"https://films.example/{quote('影' * 100)}.mp4"
    call(
        "ProcessMedia",
        InputInfo={"Type": "URL", "UrlInputInfo": {"Url": address}},
        MediaProcessTask={"TranscodeTaskSet": [{"Definition": 100030}]},
    )
    [(_, config, _)] = launched
    name = config["ops"]["source"]["config"]["key"].rpartition("/")[2]
    assert len(name.encode()) <= 255
    assert name.startswith("影" * 70)
    assert name.endswith(".mp4")


def test_an_inspection_is_a_member_of_its_own(call, refused, monkeypatch):
    """With a template and nothing else; it may be the only task."""
    launched = []
    run_id = "00000000-0000-0000-0000-000000000000"
    monkeypatch.setattr(Dagster, "launch", lambda _, *launch, **__: launched.append(launch) or run_id)
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "r", "Object": "/a.mp4"}}
    call("ProcessMedia", InputInfo=source, AiQualityControlTask={"Definition": 10})
    [(_, config, _)] = launched
    assert config["ops"]["quality_inspection"]["config"]["task"]["outputs"] == [{"definition": 10}]
    channel = {"Definition": 10, "ChannelExtPara": "{}"}
    assert refused("ProcessMedia", InputInfo=source, AiQualityControlTask=channel) == "UnsupportedOperation"
    assert refused("ProcessMedia", InputInfo=source) == "InvalidParameter"


@pytest.mark.parametrize(
    "url", ["ftp://films.example/a", "http://", "http://[x", "http:///a", "http://@/a", "http://a b/"]
)
def test_what_is_no_address_is_refused_at_once(refused, url):
    """By the parameter's name."""
    source = {"Type": "URL", "UrlInputInfo": {"Url": url}}
    tasks = {"TranscodeTaskSet": [{"Definition": 100030}]}
    assert refused("ProcessMedia", InputInfo=source, MediaProcessTask=tasks) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("bucket", "code"),
    [("a/b", "ResourceNotFound.CosBucketNameInvalid"), ("..", "ResourceNotFound.CosBucketNameInvalid")],
)
def test_a_bucket_that_cannot_be_is_refused_at_once(refused, bucket, code):
    """Nothing is launched for it."""
    source = {"Type": "COS", "CosInputInfo": {"Bucket": bucket, "Region": "r", "Object": "/a.mp4"}}
    assert (
        refused("ProcessMedia", InputInfo=source, MediaProcessTask={"SampleSnapshotTaskSet": [{"Definition": 10}]})
        == code
    )


def run_of(number: int, status: str = "SUCCESS", config: str = "{}", **tags: str) -> StoredRun:
    """One of ProcessMedia."""
    run_id = f"{number:08d}-0000-0000-0000-000000000000"
    named = {"mps/workflow": "process_media", "mps/bucket": "inbox", "mps/key": "a.mp4", **tags}
    return StoredRun(run_id, run_id, "process_media", status, 0.0, None, None, named, config=yaml.safe_load(config))


def test_tasks_are_listed_with_what_they_make(call, monkeypatch):
    """A time without a zone is UTC, as all of MPS's are."""
    queries = []
    runs = [run_of(1, **{"mps/types": "transcode,watermark,sample_snapshot"}), run_of(2)]
    monkeypatch.setattr(Dagster, "runs", lambda _, query, **__: queries.append(query) or runs)
    monkeypatch.setattr(Dagster, "count", lambda *_: 2)
    monkeypatch.setattr(Dagster, "without_retried", lambda _, runs: runs)
    answer = call("DescribeTasks", Status="FINISH", EndTime="2026-11-24T08:00:00")
    assert [task["SubTaskTypes"] for task in answer["TaskSet"]] == [["Transcode", "SampleSnapshot"], []]
    assert queries[0]["createdBefore"] == datetime(2026, 11, 24, 8, tzinfo=UTC).timestamp()
    assert call("DescribeTasks", Status="FINISH", StartTime="0001-01-01T00:00:00")["TotalCount"] == 2


CONFIG = """
ops:
  source: {config: {bucket: inbox, key: a.mp4}}
  transcode: {config: {task: {outputs: [{definition: 100030}, {definition: 100020}]}}}
  sample_snapshot: {config: {task: {outputs: [{definition: 10}]}}}
"""


def test_a_task_that_waits_tells_what_it_was_asked_for(call, monkeypatch):
    """As all of MPS's do; it need not have begun."""
    waiting = run_of(1, "QUEUED", CONFIG)
    monkeypatch.setattr(Dagster, "newest_of", lambda *_: waiting)
    monkeypatch.setattr(Dagster, "events", lambda *_: iter(()))
    detail = call("DescribeTaskDetail", TaskId="mps-WorkflowTask-00000001000000000000000000000000")
    assert detail["Status"] == "WAITING"
    results = detail["WorkflowTask"]["MediaProcessResultSet"]
    assert [(result["Type"], (result["TranscodeTask"] or result["SampleSnapshotTask"])["Status"]) for result in results] == [
        ("Transcode", "PROCESSING"), ("Transcode", "PROCESSING"), ("SampleSnapshot", "PROCESSING"),
    ]  # fmt: skip
    assert [result["TranscodeTask"]["Input"]["Definition"] for result in results[:2]] == [100030, 100020]


@pytest.mark.parametrize(
    "config",
    [
        {"NotifyMode": "Finish"}, {"NotifyType": "TDMQ-CMQ", "QueueName": "1 2"}, {"NotifyType": "URL", "NotifyUrl": "ftp://x"},
        {"NotifyType": "CMQ", "QueueName": "events", "CmqRegion": "127.0.0.1:80/x?"}, {"NotifyType": "AWS-SQS", "AwsSQS": {"SQSRegion": "a b", "SQSQueueName": "q"}},
    ],
)  # fmt: skip
def test_an_unusable_sink_is_refused_at_the_call(refused, config):
    """And not found out when the task has ended."""
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "r", "Object": "/a.mp4"}}
    tasks = {"SampleSnapshotTaskSet": [{"Definition": 10}]}
    assert (
        refused("ProcessMedia", InputInfo=source, MediaProcessTask=tasks, TaskNotifyConfig=config)
        == "InvalidParameterValue"
    )


@pytest.mark.parametrize(
    "sets",
    [
        {"TranscodeTaskSet": [{"Definition": 100010}, {"Definition": 100010, "StartTimeOffset": 1.0}]},
        {
            "SampleSnapshotTaskSet": [{"Definition": 10, "OutputObjectPath": "p_{number}"}],
            "SnapshotByTimeOffsetTaskSet": [
                {"Definition": 10, "ExtTimeOffsetSet": ["0s"], "OutputObjectPath": "p_{number}"}
            ],
        },
    ],
)
def test_two_outputs_on_one_path_are_refused_at_the_call(refused, sets):
    """As in a workflow: both would be reported as made, and only one exist."""
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "r", "Object": "/a.mp4"}}
    assert refused("ProcessMedia", InputInfo=source, MediaProcessTask=sets) == "InvalidParameterValue"
