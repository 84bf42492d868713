"""Which runs are run again."""

from __future__ import annotations

import pytest

from mps_dagster.control import tags
from mps_dagster.control.causes import NOT_LOADED
from mps_dagster.control.retries import can_help, delay_s, is_due
from mps_dagster.control.steps import StepRecord
from mps_dagster.control.task_run import RunRecord, StoredRun, task_run

ROOT = "b5d28a5a-0c8a-4bd4-9a4c-0f5f0a6a9d11"
SOURCE_AT_FAULT, BUCKET_AWAY, WORKER_DIED = {"retryable": False}, {"retryable": True}, {}


def record(*failures: dict, status: str = "STARTED", cause: str = "") -> RunRecord:
    good = StepRecord("vod__web.subtask[1]", "success", 1.0, 2.0, {"retryable": False})
    failed = [
        StepRecord(f"vod__web.subtask[{number}]", "failure", 1.0, 2.0, facts)
        for number, facts in enumerate(failures, 2)
    ]
    return RunRecord(
        run_id=ROOT, root_run_id=ROOT, workflow="vod", job="vod", status=status, created_s=0.0, started_s=0.0, ended_s=None,
        bucket="inbox", key="a.mp4", steps=(good, *failed), cause=cause,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run", "reason", "helps"),
    [
        (record(SOURCE_AT_FAULT), "STEP_FAILURE", False),
        (record(BUCKET_AWAY), "STEP_FAILURE", True),
        (record(WORKER_DIED), "STEP_FAILURE", True),
        (record(SOURCE_AT_FAULT, BUCKET_AWAY), "STEP_FAILURE", True),
        (record(SOURCE_AT_FAULT, SOURCE_AT_FAULT), "STEP_FAILURE", False),
        (record(), "STEP_FAILURE", True),
        (record(), "", True),
        (record(SOURCE_AT_FAULT), "", True),
        (record(WORKER_DIED), "RUN_EXCEPTION", True),
        (record(), "START_TIMEOUT", True),
        (record(), "JOB_INITIALIZATION_FAILURE", False),
        (record(cause=NOT_LOADED), "", False),
        (record(status="CANCELING"), "", False),
    ],
    ids=[
        "source at fault", "bucket away", "worker died", "one of each", "two for good", "nobody knows", "process died",
        "process died after a failure", "worker died, seen by the run", "never started", "wrong config", "workflow gone",
        "was being aborted",
    ],
)  # fmt: skip
def test_only_what_can_pass_is_run_again(run, reason, helps):
    assert can_help(run, reason) is helps


def test_each_retry_waits_longer():
    assert [delay_s(retries) for retries in range(5)] == [10, 60, 300, 300, 300]


@pytest.mark.parametrize(
    ("run_tags", "due"),
    [
        ({}, True),
        ({tags.NOT_BEFORE: "200"}, True),
        ({tags.NOT_BEFORE: "200", tags.RETRY_NUMBER: "1"}, False),
        ({tags.NOT_BEFORE: "100", tags.RETRY_NUMBER: "1"}, True),
        ({tags.RETRY_NUMBER: "1"}, True),
        ({tags.NOT_BEFORE: "900", tags.RETRY_NUMBER: "1"}, True),
    ],
    ids=[
        "first run",
        "repeated by hand",
        "too soon",
        "time has come",
        "retry of `dagster dev`",
        "by a clock that is wrong",
    ],
)
def test_only_retries_wait_in_the_queue(run_tags, due):
    assert is_due(run_tags, 100.0) is due


def stored(status: str = "FAILURE", run_id: str = ROOT, **run_tags: str) -> StoredRun:
    names = {
        name: getattr(tags, name) for name in ("WILL_RETRY", "RETRIED_BY", "RETRY_NUMBER", "FIRST_RUN", "WORKFLOW")
    }
    own = {names[name]: value for name, value in run_tags.items()}
    return StoredRun(run_id, ROOT, "vod", status, 1.0, 2.0, 3.0, own)


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (stored(), "FINISH"),
        (stored(WILL_RETRY="false"), "FINISH"),
        (stored(WILL_RETRY="true"), "WAITING"),
        (stored(WILL_RETRY="true", RETRIED_BY="deleted"), "FINISH"),
        (stored("SUCCESS", WILL_RETRY="true"), "FINISH"),
        (stored("QUEUED", RETRY_NUMBER="1"), "WAITING"),
    ],
    ids=[
        "failed",
        "failed for good",
        "to be retried",
        "its retry was deleted",
        "succeeded after all",
        "retry in the queue",
    ],
)
def test_a_task_to_be_retried_has_not_ended(run, state):
    found = task_run(run.record())
    assert found.state == state
    assert found.failed is (state == "FINISH" and run.status == "FAILURE")


def test_attempts_are_counted_from_the_first_run():
    """A run that a user repeats is a first one, though it has the tags of its predecessor."""
    retry = stored(run_id="second", RETRY_NUMBER="1", FIRST_RUN=ROOT)
    by_hand = stored(run_id="third", FIRST_RUN=ROOT)
    assert [(run.first_run_id, task_run(run.record()).attempts) for run in (retry, by_hand)] == [
        (ROOT, 2),
        ("third", 1),
    ]
