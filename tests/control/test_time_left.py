"""How long the subtasks of a task run will take, and how far all of them are."""

from __future__ import annotations

import pytest

from mps_dagster.control.task_run import RunRecord, StepRecord, SubtaskState, task_run
from mps_dagster.control.time_left import time_left_s
from mps_dagster.execution.pace import StepProgress
from mps_dagster.mps.results import workflow_task

ROOT_ID = "00000000-0000-0000-0000-000000000001"


def unit(status: str, kind: str, **facts: object) -> SubtaskState:
    return SubtaskState(task="t", id="0", type=kind, label="x", status=status, **facts)


def running(progress: float, left_s: float | None, kind: str = "transcode") -> SubtaskState:
    return unit("PROCESSING", kind, progress=progress, left_s=left_s, started_s=1.0)


def waiting(kind: str = "transcode") -> SubtaskState:
    return unit("PROCESSING", kind)


def done(seconds: float, kind: str = "transcode") -> SubtaskState:
    return unit("SUCCESS", kind, progress=1.0, started_s=10.0, ended_s=10.0 + seconds)


def whole(*parts: SubtaskState, **facts: object) -> SubtaskState:
    return unit("PROCESSING", "transcode", parts=parts, **facts)


@pytest.mark.parametrize(
    ("subtasks", "expected"),
    [
        pytest.param([], None, id="nothing to do"),
        pytest.param([waiting(), done(5)], None, id="nothing runs"),
        pytest.param([running(0.0, None), waiting()], None, id="nothing is known yet"),
        pytest.param([done(5), unit("FAIL", "transcode")], None, id="all ended"),
        pytest.param([running(0.5, 30), done(60)], 30, id="one"),
        pytest.param([running(0.5, 30), running(0.9, 100)], 100, id="the longest of those that run"),
        pytest.param([running(0.5, 30), waiting()], 90, id="one that waits takes as long as the other"),
        pytest.param([running(0.5, 30), running(0.25, 45), waiting(), waiting()], 97.5, id="two at once"),
        pytest.param([running(0.5, 30), waiting(), done(20), done(100)], 90, id="on average"),
        pytest.param([running(0.5, 30), waiting("stills"), done(4, "stills")], 34, id="as others of its type do"),
        pytest.param([running(0.5, 30), running(0.0, None)], 45, id="one that has just begun"),
        pytest.param([running(1.0, 0), waiting()], None, id="one that is about to end says nothing of others"),
        pytest.param([running(1.0, 0), done(5)], 0, id="one that is about to end"),
        pytest.param([running(0.2, 30)] * 3, 30, id="three that are made together"),
        pytest.param(
            [whole(running(0.5, 10), waiting(), waiting(), done(20))], 50, id="parts, and not the output itself"
        ),
        pytest.param([whole(done(20), done(20), left_s=3, progress=0.96)], 3, id="an output that joins its parts"),
    ],
)
def test_the_time_left(subtasks, expected):
    assert time_left_s(subtasks) == (None if expected is None else pytest.approx(expected))


def planned(number: int, parts: dict[str, str] | None = None) -> dict:
    return {
        "id": f"{number}_x",
        "task": "web",
        "type": "transcode",
        "label": f"x{number}",
        "spec": {},
        "parts": parts or {},
    }


def state(*subtasks: dict, status: str = "STARTED", steps: tuple[StepRecord, ...] = (), **progress: StepProgress):
    plan = StepRecord("vod__web.break_down", "success", 1.0, 2.0, {"subtasks": list(subtasks)})
    record = RunRecord(ROOT_ID, ROOT_ID, "vod", "vod", status, 1.0, 1.0, None, "inbox", "a.mp4", steps=(plan, *steps))
    return task_run(record, progress={f"vod__web.subtask[{name}]": each for name, each in progress.items()})


def begun(name: str) -> StepRecord:
    return StepRecord(f"vod__web.subtask[{name}]", "running", 2.0, None, {})


def test_a_subtask_has_the_speed_and_time_left_of_its_step():
    run = state(planned(0), planned(1), steps=(begun("0_x"),), **{"0_x": StepProgress(0.5, 2.5, 30.0)})
    assert [(each.progress, each.speed, each.left_s) for each in run.subtasks] == [(0.5, 2.5, 30.0), (0.0, None, None)]
    assert (run.progress, run.left_s) == (0.25, 90.0)


@pytest.mark.parametrize(("fraction", "shown"), [(0.0, 0), (0.29, 29), (0.996, 99)])
def test_mps_s_progress_is_100_only_when_it_is_done(fraction, shown):
    """Clients may stop asking then."""
    run = state(planned(0), steps=(begun("0_x"),), **{"0_x": StepProgress(fraction)})
    [result] = workflow_task(run)["MediaProcessResultSet"]
    assert (result["TranscodeTask"]["Status"], result["TranscodeTask"]["Progress"]) == ("PROCESSING", shown)


def test_an_output_with_parts_ends_when_they_have():
    progress = {"p0": StepProgress(0.5, 2.0, 10.0), "p1": StepProgress(0.0, 0.0, None)}
    run = state(planned(0, {"p0": "chunk 0", "p1": "chunk 1"}), steps=(begun("p0"), begun("p1")), **progress)
    [output] = run.subtasks
    assert [(part.speed, part.left_s) for part in output.parts] == [(2.0, 10.0), (None, None)]
    assert (output.speed, output.left_s, run.left_s) == (None, 15.0, 15.0)
    assert output.progress == pytest.approx(0.95 * 0.25)


def test_what_has_ended_has_no_time_left():
    """Though the last report of a failed step is still there."""
    failed = StepRecord("vod__web.subtask[0_x]", "failure", 2.0, 3.0, {"code": "InternalError"})
    run = state(planned(0), status="FAILURE", steps=(failed,), **{"0_x": StepProgress(0.5, 2.5, 30.0)})
    assert [(each.status, each.progress, each.speed, each.left_s) for each in run.subtasks] == [
        ("FAIL", 0.5, None, None)
    ]
    assert (run.progress, run.left_s) == (0.5, None)


def test_a_run_that_waits_has_done_nothing_and_one_that_succeeded_all():
    assert (state(status="QUEUED").progress, state(status="QUEUED").left_s) == (0.0, None)
    assert (state(status="SUCCESS").progress, state(status="SUCCESS").left_s) == (1.0, None)
