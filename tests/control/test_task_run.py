"""The state of a task run, out of what Dagster recorded."""

from __future__ import annotations

import pytest

from mps_dagster.control.task_run import RunRecord, StepRecord, task_run
from mps_dagster.mps.event import callback
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Task

ROOT_ID = "00000000-0000-0000-0000-000000000001"
WEB = Task(name="web", type="transcode", outputs=({"name": "small", "video_template": {"height": 90}},))
STILLS = Task(name="stills__b", type="sample_snapshot", outputs=({"definition": 10, "format": "jpg"},))


def record(*steps: StepRecord, status: str = "FAILURE", workflow: str = "vod") -> RunRecord:
    return RunRecord(ROOT_ID, ROOT_ID, workflow, workflow, status, 1.0, 1.0, 3.0, "inbox", "a.mp4", steps=steps)


def died(key: str) -> StepRecord:
    """A step whose process was killed: Dagster says so, and the step says nothing."""
    return StepRecord(key, "failure", 1.0, 2.0, {}, "terminated by signal 9 (SIGKILL)")


@pytest.mark.parametrize(
    ("workflow", "key", "tasks", "kind"),
    [
        ("vod", "vod__web.break_down", [WEB], "Transcode"),
        ("vod", "vod__stills__b.break_down", [STILLS], "SampleSnapshot"),
        ("process_media", "transcode.break_down", [], "Transcode"),
        ("vod", "vod__gone.break_down", [WEB], "gone"),
    ],
)
def test_a_task_whose_process_died_is_shown_as_its_type(workflow, key, tasks, kind):
    """Though it left no metadata; and also if its type is unknown."""
    state = task_run(record(died(key), workflow=workflow), tasks=tasks)
    results = callback(state, Settings())["WorkflowTaskEvent"]["MediaProcessResultSet"]
    result = next(result for result in results if result["Type"] == kind)
    detail = next(value for value in result.values() if isinstance(value, dict))
    assert (result["Type"], detail["Status"], detail["ErrCode"]) == (kind, "FAIL", 70000)
    assert "SIGKILL" in detail["Message"]
    assert [subtask.task for subtask in state.subtasks].count(state.subtasks[0].task) == 1


@pytest.mark.parametrize(("status", "expected"), [("SUCCESS", []), ("FAILURE", ["FAIL"]), ("STARTED", ["PROCESSING"])])
def test_a_task_that_is_newer_than_a_run_that_succeeded_is_no_failure_of_it(status, expected):
    """Otherwise tasks that the run left out are shown, too."""
    state = task_run(record(status=status), tasks=[WEB])
    assert [subtask.status for subtask in state.subtasks] == expected


def test_the_path_of_an_output_is_shown_before_it_is_made():
    """As MPS does: resolved but for its number, without extension."""
    planned = {
        "id": "0_10", "task": "stills", "type": "sample_snapshot", "label": "10", "spec": {"definition": 10}, "override": None,
        "bucket": "outputs", "paths": {"output_object_path": "/out/a_{number}"},
    }  # fmt: skip
    step = StepRecord("vod__stills.break_down", "success", 1.0, 2.0, {"subtasks": [planned]})
    event = callback(task_run(record(step, status="STARTED")), Settings())
    [result] = event["WorkflowTaskEvent"]["MediaProcessResultSet"]
    detail = result["SampleSnapshotTask"]
    assert (detail["Status"], detail["Output"]) == ("PROCESSING", None)
    assert detail["Input"]["OutputObjectPath"] == "/out/a_{number}"
    assert detail["Input"]["OutputStorage"]["CosOutputStorage"]["Bucket"] == "outputs"
