"""An inspection in a workflow: what it finds stops the other tasks, is shown to people, and is what MPS's SDK reads."""

from __future__ import annotations

import json
import warnings

import dagster as dg
import pytest
from clips import pattern, tone
from projects import VOD, make_project
from tencentcloud.mps.v20190612 import models

from mps_dagster.control.task_run import task_run
from mps_dagster.mps.results import schedule_task, workflow_task
from mps_dagster.orchestration.runs import run_record
from mps_dagster.workflow.project import Project

from .conftest import furnished

CHECK = """  check:
    type: quality_inspection
    outputs: [{definition: 10, required: REQUIRED, fail_on: [black, silence]}]
"""
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-ac", "2")
REPORT = "vod/clip_qualityInspection_10.json"


def inspected(tmp_path, instance, required: str):
    """A house whose workflow inspects, last in the file."""
    return furnished(make_project(tmp_path, vod=VOD + CHECK.replace("REQUIRED", required)), instance)


@pytest.fixture
def black(clips):
    """Black from 1 to 2 s, and black borders, which are tolerated."""
    filters = "drawbox=h=20:t=fill,drawbox=y=160:h=20:t=fill,drawbox=t=fill:enable='between(t,1,1.999)'"
    return clips._ffmpeg("black.mp4", *pattern(seconds=6), *tone(6), "-vf", filters, *H264)


def state(house, result):
    run = house.instance.get_run_by_id(result.run_id)
    [workflow] = Project.load(house.settings).workflows
    return task_run(run_record(house.instance, run, None), tasks=workflow.tasks.values())


def published(house) -> set[str]:
    return {info.key for info in house.buckets.get("outputs").list() if not info.key.startswith("_mps/")}


def read_by_the_sdk(kind: str, body: dict) -> object:
    """As the SDK's own model; a member that it does not know is an error."""
    model = getattr(models, kind)()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model._deserialize(body)
    return model


def test_a_source_that_fails_a_required_inspection_costs_nothing_more(tmp_path, instance, black):
    """The other tasks do not begin and say why; the report is there."""
    house = inspected(tmp_path, instance, "true")
    house.upload(black, "in/clip.mp4")
    result = house.run("in/clip.mp4")
    assert not result.success
    begun = {event.step_key.split(".")[0] for event in result.all_events if event.is_step_start}
    assert begun == {"vod__source", "vod__check"}
    assert published(house) == {REPORT}
    subtasks = {subtask.task: subtask for subtask in state(house, result).subtasks}
    check = subtasks.pop("check")
    assert (check.status, check.code) == ("FAIL", "SourceFileError.InspectionFailed")
    assert "black 1.00–2.00 s" in check.message
    assert REPORT in check.hint
    assert {task: subtask.status for task, subtask in subtasks.items()} == dict.fromkeys(
        ("web", "stills", "teaser"), "FAIL"
    )
    assert "because check did not succeed: the source did not pass its inspection" in subtasks["stills"].message


def test_a_source_that_passes_a_required_inspection_is_processed(tmp_path, instance, clips):
    """All outputs are where they would be without it, as the tasks work on the upload itself."""
    house = inspected(tmp_path, instance, "true")
    house.upload(clips.video(), "in/clip.mp4")
    assert house.run("in/clip.mp4").success
    assert published(house) == {
        REPORT, "vod/clip_transcode_small.mp4", "vod/clip_transcode_sound.mp3", "vod/clip_snapshotByTimeOffset_10_0.jpg",
        "vod/clip_snapshotByTimeOffset_10_1.jpg", "vod/clip_transcode_small_animatedGraphic_teaser.gif",
    }  # fmt: skip


@pytest.mark.parametrize(("required", "expected"), [("true", "check"), ("false", "source")])
def test_tasks_on_the_upload_are_downstream_of_a_required_inspection(tmp_path, instance, required, expected):
    """Those on another task's output stay downstream of it alone."""
    graph = inspected(tmp_path, instance, required).defs.resolve_asset_graph()
    parents = {
        name: {key.path[-1] for key in graph.get(dg.AssetKey(["vod", name])).parent_keys}
        for name in ("web", "stills", "teaser", "check")
    }
    assert parents == {"web": {expected}, "stills": {expected}, "teaser": {"web"}, "check": {"source"}}


def test_an_inspection_that_is_not_required_only_reports(tmp_path, instance, black):
    """A person sees a line and a table in the UI."""
    house = inspected(tmp_path, instance, "false")
    house.upload(black, "in/clip.mp4")
    result = house.run("in/clip.mp4")
    assert result.success
    assert REPORT in published(house)
    assert not json.loads(house.buckets.get("outputs").read(REPORT))["passed"]
    shown = house.instance.get_latest_materialization_event(
        dg.AssetKey(["vod", "check"])
    ).asset_materialization.metadata
    assert "black 1.00–2.00 s" in shown["verdict 10"].value
    rows = [record.data for record in shown["findings 10"].records]
    assert {row["check"] for row in rows} >= {"black", "black_borders"}


@pytest.mark.parametrize("kind", ["WorkflowTask", "ScheduleTask"])
def test_mps_s_sdk_reads_what_was_found(tmp_path, instance, black, kind):
    """In the member that MPS has for it, and in no other."""
    house = inspected(tmp_path, instance, "false")
    house.upload(black, "in/clip.mp4")
    run = state(house, house.run("in/clip.mp4"))
    if kind == "WorkflowTask":
        task = read_by_the_sdk(kind, workflow_task(run))
        found = task.AiQualityControlTaskResult
        assert {result.Type for result in task.MediaProcessResultSet} == {
            "Transcode",
            "SnapshotByTimeOffset",
            "AnimatedGraphics",
        }
    else:
        task = read_by_the_sdk(kind, schedule_task(run))
        [found] = [
            result.ActivityResItem.QualityControlTask
            for result in task.ActivityResultSet
            if result.ActivityType == "AiQualityControl"
        ]
    assert (found.Status, found.ErrCodeExt, found.ErrCode, found.Progress) == ("SUCCESS", "SUCCESS", 0, 100)
    assert found.Input.Definition == 10
    assert (found.Output.NoAudio, found.Output.NoVideo) == (False, False)
    results = {result.Type: result.QualityControlItems for result in found.Output.QualityControlResultSet}
    [item] = results["SolidColorScreen"]
    assert item.StartTimeOffset == pytest.approx(1, abs=0.04)
    assert item.EndTimeOffset == pytest.approx(2, abs=0.04)
    assert 50 <= item.Confidence <= 100
    [area, *_] = [item.AreaCoordSet for item in results["BlackWhiteEdge"]]
    assert area == [0, 20, 320, 160]
