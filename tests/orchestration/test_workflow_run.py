"""A workflow as Dagster runs it, on a real instance in one process."""

from __future__ import annotations

import json

import dagster as dg

from mps_dagster.control.task_run import task_run
from mps_dagster.mps.event import callback
from mps_dagster.orchestration.runs import run_record
from mps_dagster.settings import Settings


def state(house, result):
    run = house.instance.get_run_by_id(result.run_id)
    return task_run(run_record(house.instance, run, None))


def test_an_upload_becomes_every_output_and_every_asset(house, clips):
    """The seed's picture: source, per task break-down, subtasks, assembly; a serial task after its source."""
    house.upload(clips.video(), "in/clip.mp4")
    result = house.run("in/clip.mp4")
    assert result.success
    keys = {info.key for info in house.buckets.get("outputs").list() if not info.key.startswith("_mps/")}
    assert keys == {
        "vod/clip_transcode_small.mp4", "vod/clip_transcode_sound.mp3",
        "vod/clip_snapshotByTimeOffset_10_0.jpg", "vod/clip_snapshotByTimeOffset_10_1.jpg",
        "vod/clip_transcode_small_animatedGraphic_teaser.gif",
    }  # fmt: skip
    for task in ("source", "web", "stills", "teaser"):
        event = house.instance.get_latest_materialization_event(dg.AssetKey(["vod", task]))
        assert event is not None
        assert event.dagster_event.partition == "in/clip.mp4"


def test_the_graph_is_source_break_down_subtasks_assembly(house, clips):
    """One mapped step per output, named after it."""
    house.upload(clips.video(), "in/clip.mp4")
    steps = {event.step_key for event in house.run("in/clip.mp4").all_events if event.step_key}
    assert {
        "vod__source", "vod__web.break_down", "vod__web.subtask[0_small]", "vod__web.subtask[1_sound]", "vod__web.assemble",
        "vod__stills.subtask[0_10]", "vod__teaser.subtask[0_teaser]",
    } <= steps  # fmt: skip


def test_a_person_sees_what_was_made(house, clips):
    """A picture served over http, a table of outputs, the exact commands, the manifest."""
    house.upload(clips.video(), "in/clip.mp4")
    house.run("in/clip.mp4")
    metadata = house.instance.get_latest_materialization_event(
        dg.AssetKey(["vod", "web"])
    ).asset_materialization.metadata  # fmt: skip
    assert f"]({house.settings.files_url}/outputs/" in metadata["preview"].value
    rows = [record.data for record in metadata["outputs"].records]
    assert [row["output"] for row in rows] == ["small", "sound"]
    assert rows[0]["width x height"] == "160 x 90"
    assert "ffmpeg -f mov" in metadata["commands"].value
    assert metadata["specs"].value["small"]["video_template"]["height"] == 90
    assert "" not in (metadata["revision"].value, metadata["ffmpeg"].value)
    bucket, _, key = metadata["manifest"].value.partition("/")
    manifest = json.loads(house.buckets.get(bucket).read(key))
    assert [member["label"] for member in manifest["results"]] == ["small", "sound"]


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


def test_a_second_run_makes_nothing_again(house, clips):
    """Outputs with the same fingerprint stay, so that a retry of all steps is cheap."""
    house.upload(clips.video(), "in/clip.mp4")
    house.run("in/clip.mp4")
    run = state(house, house.run("in/clip.mp4"))
    assert [subtask.result.reused for subtask in run.subtasks] == [True] * 4


def test_one_task_can_be_made_again_alone(house, clips):
    """ "Materialize" on one asset: it takes the source from the earlier run."""
    house.upload(clips.video(), "in/clip.mp4")
    house.run("in/clip.mp4")
    job = house.defs.resolve_job_def("vod")
    again = job.execute_in_process(
        partition_key="in/clip.mp4", instance=house.instance, asset_selection=[dg.AssetKey(["vod", "stills"])]
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
