"""A task as run config has it, broken down: what it works on, and outputs that are wrong."""

from __future__ import annotations

import pytest

from mps_dagster.errors import InvalidConfiguration, InvalidInput
from mps_dagster.execution.break_down import TaskPlan, plan_task
from mps_dagster.execution.subtask import TaskResult, Upload
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.workflow.model import Place, Source

MEDIA = MediaInfo(
    container="mov",
    size_bytes=1,
    duration_s=2,
    video=VideoStream(index=0, codec="h264", width=64, height=36, pixel_format="yuv420p", duration_s=2, last_s=1.9),
)
UPLOAD = Upload(
    source=Source(bucket="inbox", key="in/a.mp4", etag="e", size_bytes=1, media=MEDIA),
    output=Place(bucket="outputs", dir="/out/"),
)


def stills(*outputs: dict, **task) -> dict:
    timed = [{"ext_time_offset_set": ["0s"], **output} for output in outputs]
    return {"name": "stills", "type": "snapshot_by_time_offset", "outputs": timed, **task}


@pytest.mark.parametrize("document", [{"name": "stills", "type": "snapshot_by_time_offset"}, stills()])
def test_a_task_without_outputs_has_no_subtasks_and_nothing_to_assemble(worker, document):
    """A slot of `process_media` that nobody filled, and whatever it works on."""
    for upstream in (UPLOAD, None):
        plan = plan_task(document, upstream, worker)
        assert plan == TaskPlan()
        assert plan.members("vod") is None


def test_outputs_are_planned_in_the_order_asked_for_at_the_place_of_the_upload(worker):
    """And the assembly is told who has to be there."""
    plan = plan_task(stills({"name": "b"}, {"name": "a"}), UPLOAD, worker)
    assert [(subtask.label, subtask.bucket) for subtask in plan.subtasks] == [("b", "outputs"), ("a", "outputs")]
    members = plan.members("vod")
    assert (members.workflow, members.ids) == ("vod", ("0_b", "1_a"))
    assert members.version == f"{plan.task.revision}.e"


def test_an_output_whose_parameters_are_wrong_fails_alone(worker):
    """Its subtask fails with the reason; the others are planned as if it was not there."""
    plan = plan_task(stills({"name": "a"}, {"name": "wrong one", "width": "broad"}, {"name": "c"}), UPLOAD, worker)
    assert [subtask.id for subtask in plan.subtasks] == ["0_a", "1_wrong_one_refused", "1_c"]
    error = plan.subtasks[1].refusal.error()
    assert isinstance(error, InvalidInput)
    assert "broad" in error.message
    assert [bool(subtask.plan) for subtask in plan.subtasks] == [True, False, True]
    assert len(plan.task.outputs) == 2


def test_a_task_of_wrong_outputs_only_has_nothing_to_assemble(worker):
    """All its subtasks fail."""
    plan = plan_task(stills({"definition": 4711}), UPLOAD, worker)
    assert [subtask.id for subtask in plan.subtasks] == ["0_4711_refused"]
    assert plan.members("vod") is None


def test_a_serial_task_works_on_the_output_that_it_names(worker):
    """Named by its label; there has to be one."""
    results = [
        SubtaskResult(
            id=f"0_{label}", task="web", type="transcode", label=label, bucket="outputs", source_uri="inbox/in/a.mp4", spec={},
            outputs=(OutputObject(key=f"out/{label}.mp4", role="main", size_bytes=1, etag=label, md5="", media=MEDIA),),
        )
        for label in ("hd", "sd")
    ]  # fmt: skip
    web = TaskResult(
        workflow="vod", task="web", type="transcode", run_id="run", source=UPLOAD.source, results=tuple(results)
    )
    plan = plan_task(stills({"name": "a"}, source="web/sd"), web, worker)
    assert (plan.source.bucket, plan.source.key, plan.source.upload) == ("outputs", "out/sd.mp4", "in/a.mp4")
    with pytest.raises(InvalidConfiguration, match="has no output 'uhd'"):
        plan_task(stills({"name": "a"}, source="web/uhd"), web, worker)
