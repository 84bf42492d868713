"""A workflow as Dagster runs it, on a real instance in one process."""

from __future__ import annotations

import json
import logging
import re

import dagster as dg
import pytest
from projects import make_project

from mps_dagster.control.task_run import task_run
from mps_dagster.execution import pace
from mps_dagster.mps.event import callback
from mps_dagster.orchestration.runs import run_record
from mps_dagster.settings import Settings

from .conftest import furnished


def state(house, result):
    run = house.instance.get_run_by_id(result.run_id)
    return task_run(run_record(house.instance, run, None))


@pytest.fixture(scope="module")
def done(tmp_path_factory, clips):
    """A run of the workflow on an upload, with notes on each subtask however short it is."""
    folder = tmp_path_factory.mktemp("done")
    with dg.DagsterInstance.local_temp(str(folder)) as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "NOTE_EVERY_S", 0)
        house = furnished(make_project(folder), instance)
        house.upload(clips.video(), "in/clip.mp4")
        house.result = house.run("in/clip.mp4")
        assert house.result.success
        yield house


def test_an_upload_becomes_every_output_and_every_asset(done):
    """The seed's picture: source, per task break-down, subtasks, assembly; a serial task after its source."""
    keys = {info.key for info in done.buckets.get("outputs").list() if not info.key.startswith("_mps/")}
    assert keys == {
        "vod/clip_transcode_small.mp4", "vod/clip_transcode_sound.mp3",
        "vod/clip_snapshotByTimeOffset_10_0.jpg", "vod/clip_snapshotByTimeOffset_10_1.jpg",
        "vod/clip_transcode_small_animatedGraphic_teaser.gif",
    }  # fmt: skip
    for task in ("source", "web", "stills", "teaser"):
        event = done.instance.get_latest_materialization_event(dg.AssetKey(["vod", task]))
        assert event is not None
        assert event.dagster_event.partition == "in/clip.mp4"


def test_the_graph_is_source_break_down_subtasks_assembly(done):
    """One mapped step per output, named after it."""
    steps = {event.step_key for event in done.result.all_events if event.step_key}
    assert {
        "vod__source", "vod__web.break_down", "vod__web.subtask[0_small]", "vod__web.subtask[1_sound]", "vod__web.assemble",
        "vod__stills.subtask[0_10]", "vod__teaser.subtask[0_teaser]",
    } <= steps  # fmt: skip


def test_the_page_of_a_run_shows_progress_in_its_log(done):
    """It shows nothing else of a running step."""
    logged = done.instance.all_logs(done.result.run_id)
    notes = [
        entry.user_message
        for entry in logged
        if entry.step_key == "vod__web.subtask[0_small]" and entry.level == logging.INFO
    ]
    assert 1 <= len(notes) <= 9
    assert re.fullmatch(r"\d+ %, \d+\.\d×(, 0:00:\d\d left)?", notes[-1])


def test_a_person_sees_what_was_made(done):
    """A picture served over http, a table of outputs, the exact commands, the manifest."""
    metadata = done.instance.get_latest_materialization_event(
        dg.AssetKey(["vod", "web"])
    ).asset_materialization.metadata  # fmt: skip
    assert f"]({done.settings.files_url}/outputs/" in metadata["preview"].value
    rows = [record.data for record in metadata["outputs"].records]
    assert [row["output"] for row in rows] == ["small", "sound"]
    assert rows[0]["width x height"] == "160 x 90"
    assert "ffmpeg -f mov" in metadata["commands"].value
    assert metadata["specs"].value["small"]["video_template"]["height"] == 90
    assert "" not in (metadata["revision"].value, metadata["ffmpeg"].value)
    bucket, _, key = metadata["manifest"].value.partition("/")
    manifest = json.loads(done.buckets.get(bucket).read(key))
    assert [member["label"] for member in manifest["results"]] == ["small", "sound"]


SCORED = """
name: vod
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs, dir: /vod/}
tasks:
  web:
    type: transcode
    outputs:
      - name: small
        video_template: {height: 90, effort: fast, quality_target: 90, quality: {short_side: 360}}
        audio_template: {loudness: {target_lufs: -16}}
"""


def test_figures_are_numbers_of_the_asset_and_in_the_manifest(tmp_path, instance, clips):
    """So Dagster plots them over the partitions."""
    house = furnished(make_project(tmp_path, vod=SCORED), instance)
    house.upload(clips.video(), "in/clip.mp4")
    assert house.run("in/clip.mp4").success
    event = house.instance.get_latest_materialization_event(dg.AssetKey(["vod", "web"]))
    metadata = event.asset_materialization.metadata
    assert isinstance(metadata["vmaf_small"], dg.FloatMetadataValue)
    assert metadata["vmaf_small"].value == pytest.approx(90, abs=1)
    assert metadata["loudness_lufs_small"].value == pytest.approx(-16, abs=0.5)
    bucket, _, key = metadata["manifest"].value.partition("/")
    [member] = json.loads(house.buckets.get(bucket).read(key))["results"]
    assert {"quality", "quality_search", "loudness"} <= member["facts"].keys()


def test_a_subtask_that_fails_leaves_its_siblings_whole(house, clips):
    """A silent clip has no sound to extract: that output fails with MPS's code, the others are published."""
    house.upload(clips.no_audio(), "in/silent.mp4")
    result = house.run("in/silent.mp4")
    assert not result.success
    run = state(house, result)
    by_label = {subtask.label: subtask for subtask in run.subtasks}
    assert by_label["small"].status == "SUCCESS"
    assert (by_label["sound"].status, by_label["sound"].code) == ("FAIL", "SourceFileError.ContentUnsupported")
    assert by_label["10"].status == "SUCCESS"
    assert (run.state, run.number, run.failed) == ("FINISH", 0, True)
    assert house.buckets.get("outputs").head("vod/silent_transcode_small.mp4").size > 0


def test_a_source_that_is_no_media_fails_the_run_with_its_code(house, clips):
    """At the source, once, with what was wrong; no task is tried."""
    house.upload(clips.text(), "in/notes.mp4")
    run = state(house, house.run("in/notes.mp4"))
    assert (run.code, run.number) == ("SourceFileError.ContentMalformed", 60000)
    assert "text" in run.message
    body = callback(run, Settings())["WorkflowTaskEvent"]
    assert (body["Status"], body["ErrCode"], body["MediaProcessResultSet"]) == ("FINISH", 60000, [])


def test_a_second_run_makes_nothing_again(done):
    """Outputs with the same fingerprint stay, so that a retry of all steps is cheap."""
    run = state(done, done.run("in/clip.mp4"))
    assert [subtask.result.reused for subtask in run.subtasks] == [True] * 4


def test_one_task_can_be_made_again_alone(done):
    """ "Materialize" on one asset: it takes the source from the earlier run."""
    job = done.defs.resolve_job_def("vod")
    again = job.execute_in_process(
        partition_key="in/clip.mp4", instance=done.instance, asset_selection=[dg.AssetKey(["vod", "stills"])]
    )
    assert again.success
    assert {event.step_key for event in again.all_events if event.is_step_success} == {
        "vod__stills.break_down", "vod__stills.subtask[0_10]", "vod__stills.assemble",
    }  # fmt: skip


def test_odd_object_keys_are_partitions(house, clips):
    """Whatever Dagster refuses in a partition key is escaped, and undone."""
    for key in ("in/a b...c\n%41.mp4", "in/小电影🎬.mp4"):
        house.upload(clips.video(), key)
        assert house.run(key).success


def test_process_media_is_filled_by_run_config(house, clips):
    """A slot per task type; an empty one does nothing. The launchpad's templates are looked up in the run."""
    house.upload(clips.video(), "elsewhere/clip.mp4")
    job = house.defs.resolve_job_def("process_media")
    result = job.execute_in_process(
        instance=house.instance,
        run_config={
            "ops": {
                "source": {
                    "config": {"bucket": "inbox", "key": "elsewhere/clip.mp4", "output": {"bucket": "outputs", "dir": "/hand/"}}
                },
                "sample_snapshot": {"config": {"task": {"outputs": [{"definition": 10, "height": 90}]}}},
            }
        },
    )  # fmt: skip
    assert result.success
    run = state(house, result)
    assert [(subtask.task, len(subtask.result.main)) for subtask in run.subtasks] == [("sample_snapshot", 10)]
    assert run.subtasks[0].result.main[0].key == "hand/clip_sampleSnapshot_10_0.jpg"


def test_a_launchpad_mistake_is_reported_in_the_run(house, clips):
    """With the field, and what is allowed there."""
    house.upload(clips.video(), "clip.mp4")
    job = house.defs.resolve_job_def("process_media")
    result = job.execute_in_process(
        instance=house.instance,
        raise_on_error=False,
        run_config={
            "ops": {
                "source": {"config": {"bucket": "inbox", "key": "clip.mp4"}},
                "transcode": {"config": {"task": {"outputs": [{"container": "mp5"}]}}},
            }
        },
    )
    failed = state(house, result).subtasks[0]
    assert (failed.task, failed.code) == ("transcode", "InvalidInput.ConfigurationUnsupported")
    assert "container" in failed.message
    assert "mp5" in failed.message
