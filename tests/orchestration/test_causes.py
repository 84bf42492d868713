"""The reported cause of death of a run whose outputs did not fail."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster import DagsterInstance
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._daemon.monitoring.run_monitoring import check_run_timeout, monitor_started_run, monitor_starting_run
from dagster._utils import get_run_crash_explanation

from mps_dagster.control.steps import StepEvent, steps_of
from mps_dagster.control.task_run import RunRecord, TaskRun, task_run
from mps_dagster.orchestration.graphs import uploads
from mps_dagster.orchestration.runs import run_record
from mps_dagster.workflow.project import Project

LOG = logging.getLogger(__name__)
LAUNCHER = SimpleNamespace(
    supports_check_run_worker_health=True,
    supports_resume_run=False,
    check_run_worker_health=lambda _: CheckRunHealthResult(
        WorkerStatus.NOT_FOUND, msg="the run's process 4711 is gone"
    ),
    get_run_worker_debug_info=lambda *_, **__: "",
    terminate=lambda **_: True,
)


def failed_after(remark: str):
    """As the code server and the daemons tell it: a remark, and then a failure without a word."""

    def report(instance: DagsterInstance, run: dg.DagsterRun) -> None:
        instance.report_engine_event(remark, run)
        instance.report_run_failed(run)

    return report


def crashed(exit_code: int):
    return failed_after(get_run_crash_explanation("[DagsterApiServer] Run execution process", exit_code))


def monitored(monitor):
    """As Dagster's run monitoring tells it."""
    return lambda instance, run: monitor(instance, instance.get_run_record_by_id(run.run_id))


CASES = {
    "killed": (crashed(-9), "the run's process was killed (SIGKILL), by hand or because the host ran out of memory"),
    "told to end": (crashed(-15), "the run's process was ended by SIGTERM"),
    "crashed": (crashed(3), "the run's process ended with code 3"),
    "gone with its host": (
        monitored(lambda instance, record: monitor_started_run(instance, None, record, LOG)),
        "the run's process is gone: it was killed, or its host went down",
    ),
    "too long": (
        monitored(lambda instance, record: check_run_timeout(instance, record, LOG, 0.000001)), "the run took longer than 0 s",
    ),
    "file gone": (
        failed_after("Could not load job definition."), "the workflow could not be loaded: its file is gone or not valid",
    ),
    "no code": (
        failed_after("Run dequeue failed to reach the user code server after 100 attempts, failing run"),
        "the run could not be started: the project's code could not be reached",
    ),
    "not dequeued": (
        failed_after("Caught an unrecoverable error while dequeuing the run. Marking the run as failed and dropping it"),
        "the run could not be started; its page in Dagster says why",
    ),
    "aborted": (lambda instance, run: instance.report_run_canceled(run), "the task was aborted"),
}  # fmt: skip


def state_of(house, run: dg.DagsterRun) -> TaskRun:
    [workflow] = Project.load(house.settings).workflows
    stored = house.instance.get_run_by_id(run.run_id)
    return task_run(run_record(house.instance, stored, workflow), tasks=workflow.tasks.values())


def new_run(house) -> dg.DagsterRun:
    job = house.defs.resolve_job_def("vod")
    return house.instance.create_run_for_job(job, tags={"mps/workflow": "vod", "dagster/partition": "in/a.mp4"})


@pytest.mark.parametrize(("report", "says"), CASES.values(), ids=CASES)
def test_a_run_that_died_says_of_what_and_so_does_all_that_it_left_undone(house, monkeypatch, report, says):
    """In Dagster's own reports of it, read from its own log."""
    monkeypatch.setattr(DagsterInstance, "run_launcher", property(lambda _: LAUNCHER))
    run = new_run(house)
    for kind in ("PIPELINE_STARTING", "PIPELINE_START"):
        house.instance.report_dagster_event(dg.DagsterEvent(kind, "vod"), run.run_id)
    report(house.instance, house.instance.get_run_by_id(run.run_id))
    state = state_of(house, run)
    assert (state.state, state.code, state.number, state.message) == ("FINISH", "InternalError", 70000, says)
    assert {subtask.message for subtask in state.subtasks} == {f"it was not run: {says}"}


def test_a_run_that_never_began_says_so(house, monkeypatch):
    """Such as on a host that is too busy to start a process."""
    monkeypatch.setattr(DagsterInstance, "run_launcher", property(lambda _: LAUNCHER))
    monkeypatch.setattr(DagsterInstance, "run_monitoring_start_timeout_seconds", property(lambda _: 0))
    run = new_run(house)
    house.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", "vod"), run.run_id)
    monitored(lambda instance, record: monitor_starting_run(instance, record, LOG))(house.instance, run)
    assert state_of(house, run).message == "the run's process did not start within 0 s"


def test_a_task_that_is_run_alone_when_its_source_is_not_kept_says_so(house):
    """And what to do; not that a file of Dagster's is not there."""
    house.instance.add_dynamic_partitions(uploads("vod").name, ["in/a.mp4"])
    job = house.defs.resolve_job_def("vod")
    result = job.execute_in_process(
        partition_key="in/a.mp4",
        asset_selection=[dg.AssetKey(["vod", "stills"])],
        instance=house.instance,
        raise_on_error=False,
    )
    [stills] = [subtask for subtask in state_of(house, result.dagster_run).subtasks if subtask.task == "stills"]
    assert stills.message == "the result of source for this upload was removed; run the whole workflow on it"


STEP = "vod__web.subtask[0_small]"
CRASH = get_run_crash_explanation(f"Multiprocess executor: child process for step {STEP}", -9)
PLANNED = {"id": "0_small", "task": "web", "type": "transcode", "label": "small"}


def record(*events: StepEvent, status: str, cause: str = "") -> RunRecord:
    plan = [
        StepEvent("vod__web.break_down", "STEP_OUTPUT", 1, {"subtasks": [PLANNED]}),
        StepEvent(STEP, "STEP_START", 2),
    ]
    steps = steps_of([*plan, *events])
    return RunRecord(
        "0" * 36, "0" * 36, "vod", "vod", status, 1.0, 1.0, 3.0, "inbox", "a.mp4", steps=steps, cause=cause
    )


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (record(StepEvent(STEP, "ENGINE_EVENT", 3, error=CRASH), StepEvent(STEP, "STEP_FAILURE", 4), status="FAILURE"),
         "its process was killed (SIGKILL), by hand or because the host ran out of memory"),
        (record(StepEvent(STEP, "STEP_UP_FOR_RETRY", 3), status="FAILURE", cause="the run's process is gone"),
         "the run's process is gone"),
        (record(StepEvent(STEP, "STEP_FAILURE", 3), status="CANCELED"), "the task was aborted"),
        (record(StepEvent(STEP, "STEP_FAILURE", 3, {"message": "the bucket is full"}), status="CANCELED"), "the bucket is full"),
        (record(StepEvent(STEP, "ENGINE_EVENT", 3, error=f"Launching subprocess for {STEP}"), status="FAILURE"),
         "it was ended before it was done"),
    ],
    ids=["killed alone", "killed with its run", "aborted", "failed before it was aborted", "nobody knows"],
)  # fmt: skip
def test_a_subtask_that_was_ended_says_by_what(run, says):
    [subtask] = task_run(run).subtasks
    assert (subtask.status, subtask.message) == ("FAIL", says)


def test_what_was_not_run_tells_the_reason_of_what_it_waited_for(house, clips):
    """Not only that it did not succeed."""
    house.upload(clips.no_audio(), "in/clip.mp4")
    result = house.run("in/clip.mp4")
    subtasks = {subtask.label or subtask.task: subtask for subtask in state_of(house, result.dagster_run).subtasks}
    assert subtasks["teaser"].message == f"it was not run, because web did not succeed: {subtasks['sound'].message}"
