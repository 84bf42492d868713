"""Lineage: from an output to its source and its parameters, from a source to all its outputs."""

from __future__ import annotations

import pytest

from mps_dagster.execution.assemble import assemble
from mps_dagster.execution.lineage import LineageLost, record_of, results_of, state_of, way_up
from mps_dagster.execution.records import record_key
from mps_dagster.execution.subtask import Members
from mps_dagster.workflow.model import Task

STILLS = {"name": "s", "ext_time_offset_set": ["0s", "1s"]}


def test_every_output_leads_back_to_its_source_and_run(clips, upload, run_task, worker):
    """Also from later members of a series."""
    source = upload(clips.video())
    [result] = run_task(source, "snapshot_by_time_offset", STILLS)
    outputs = worker.buckets.get("outputs")
    for output in result.outputs:
        record = record_of(outputs, output.key)
        assert (record.source_bucket, record.source_key, record.source_etag) == (source.bucket, source.key, source.etag)
        assert record.result.run_id
        assert record.result.revision == result.revision != ""


def test_an_upload_has_no_record(clips, upload, worker):
    """So the CLI lists its outputs instead."""
    source = upload(clips.video())
    inbox = worker.buckets.get("inbox")
    assert record_of(inbox, source.key) is None
    inbox.delete(source.key)
    assert record_of(inbox, source.key) is None


def test_a_lost_record_is_reported(clips, upload, run_task, worker):
    """With how to restore it."""
    [result] = run_task(upload(clips.video()), "snapshot_by_time_offset", STILLS)
    outputs = worker.buckets.get("outputs")
    outputs.delete(record_key(result.main[0].key))
    with pytest.raises(LineageLost, match="backfill"):
        record_of(outputs, result.main[0].key)


def test_a_source_leads_to_all_its_outputs(clips, upload, run_task, worker):
    """Wherever they are, with their state."""
    source = upload(clips.video())
    results = run_task(source, "snapshot_by_time_offset", STILLS)
    task = Task(name="stills", type="snapshot_by_time_offset", outputs=(STILLS,), output={"bucket": "outputs"})
    assemble(members_of(task, source, results), "run", results, worker.buckets)
    outputs = worker.buckets.get("outputs")
    [task_results] = results_of("inbox", source.key, outputs)
    assert [member.label for member in task_results.results] == ["s"]
    assert results_of("inbox", "other.mp4", outputs) == results_of("other", source.key, outputs) == []
    picture = task_results.results[0].main[0]
    assert state_of(outputs, picture.key, picture.etag) == "stands"
    outputs.write(picture.key, b"another")
    assert state_of(outputs, picture.key, picture.etag) == "replaced"
    outputs.delete(picture.key)
    assert state_of(outputs, picture.key, picture.etag) == "gone"


def test_results_of_a_source_are_kept_apart(clips, upload, run_task, worker):
    """By workflow (even a removed one), task and run, because ProcessMedia is different each time."""
    source = upload(clips.video())
    results = run_task(source, "snapshot_by_time_offset", STILLS)
    task = Task(name="stills", type="snapshot_by_time_offset", outputs=(STILLS,), output={"bucket": "outputs"})
    elsewhere = source.model_copy(update={"bucket": "other"})
    for name, run, of in [
        ("vod", "1", source),
        ("process_media", "2", source),
        ("process_media", "3", source),
        ("vod", "4", elsewhere),
    ]:
        assemble(name, run, task, of, [results[0].id], results, worker.buckets)
    task_results = results_of("inbox", source.key, worker.buckets.get("outputs"))
    assert {(result.workflow, result.run_id) for result in task_results} == {
        ("vod", "1"), ("process_media", "2"), ("process_media", "3"),
    }  # fmt: skip


def test_an_output_of_an_output_leads_to_the_upload(clips, upload, run_task, worker):
    """Also if the output between them is gone; and the upload leads to it."""
    source = upload(clips.video())
    copy = {"name": "small", "video_template": {"height": 90, "effort": "fast"}}
    results = run_task(source, "transcode", copy)
    task = Task(name="web", type="transcode", outputs=(copy,), output={"bucket": "outputs"})
    middle = assemble("vod", "1", task, source, [results[0].id], results, worker.buckets).as_source("")
    results = run_task(middle, "snapshot_by_time_offset", STILLS)
    task = Task(name="stills", type="snapshot_by_time_offset", outputs=(STILLS,), output={"bucket": "outputs"})
    assemble(members_of(task, middle, results), "1", results, worker.buckets)
    outputs = worker.buckets.get("outputs")
    outputs.delete(middle.key)
    ancestors = list(way_up("outputs", results[0].main[0].key, worker.buckets))
    assert [(record.source_bucket, record.source_key) for _, _, record in ancestors] == [
        ("outputs", middle.key), ("inbox", source.key),
    ]  # fmt: skip
    assert {result.task for result in results_of("inbox", source.key, outputs)} == {"web", "stills"}
