"""Lineage: from an output to its source and how it was made, from a source to all its outputs."""

from __future__ import annotations

import pytest

from mps_dagster.execution.assemble import assemble
from mps_dagster.execution.lineage import LineageLost, record_of, results_of, state_of, way_up
from mps_dagster.execution.records import record_key
from mps_dagster.execution.subtask import Members
from mps_dagster.workflow.model import Task

STILLS = {"name": "s", "ext_time_offset_set": ["0s", "1s"]}


def members_of(task, source, results, workflow="vod") -> Members:
    return Members(workflow=workflow, task=task, source=source, ids=tuple(result.id for result in results))


def test_every_output_leads_back_to_its_source_and_run(clips, upload, made, worker):
    """Not only the first of a series."""
    source = upload(clips.video())
    [result] = made(source, "snapshot_by_time_offset", STILLS)
    outputs = worker.buckets.get("outputs")
    for output in result.outputs:
        record = record_of(outputs, output.key)
        assert (record.source_bucket, record.source_key, record.source_etag) == (source.bucket, source.key, source.etag)
        assert record.result.run_id
        assert record.result.revision == result.revision != ""


def test_an_upload_has_no_record(clips, upload, worker):
    """So one asks for what was made of it."""
    source = upload(clips.video())
    inbox = worker.buckets.get("inbox")
    assert record_of(inbox, source.key) is None
    inbox.delete(source.key)
    assert record_of(inbox, source.key) is None


def test_an_output_whose_record_is_lost_is_reported(clips, upload, made, worker):
    """And how to get it again."""
    [result] = made(upload(clips.video()), "snapshot_by_time_offset", STILLS)
    outputs = worker.buckets.get("outputs")
    outputs.delete(record_key(result.main[0].key))
    with pytest.raises(LineageLost, match="backfill"):
        record_of(outputs, result.main[0].key)


def test_a_source_leads_to_all_that_was_made_of_it(clips, upload, made, worker):
    """Wherever it lies, and whether it still stands."""
    source = upload(clips.video())
    results = made(source, "snapshot_by_time_offset", STILLS)
    task = Task(name="stills", type="snapshot_by_time_offset", outputs=(STILLS,), output={"bucket": "outputs"})
    assemble(members_of(task, source, results), "run", results, worker.buckets)
    outputs = worker.buckets.get("outputs")
    [found] = results_of("inbox", source.key, outputs)
    assert [member.label for member in found.results] == ["s"]
    assert results_of("inbox", "other.mp4", outputs) == results_of("other", source.key, outputs) == []
    picture = found.results[0].main[0]
    assert state_of(outputs, picture.key, picture.etag) == "unchanged"
    outputs.write(picture.key, b"another")
    assert state_of(outputs, picture.key, picture.etag) == "replaced"
    outputs.delete(picture.key)
    assert state_of(outputs, picture.key, picture.etag) == "gone"


def test_all_that_was_made_of_a_source_is_kept_apart(clips, upload, made, worker):
    """By workflow, be it removed by now, by task and by run: ProcessMedia makes something else each time."""
    source = upload(clips.video())
    results = made(source, "snapshot_by_time_offset", STILLS)
    task = Task(name="stills", type="snapshot_by_time_offset", outputs=(STILLS,), output={"bucket": "outputs"})
    elsewhere = source.model_copy(update={"bucket": "other"})
    for name, run, of in [
        ("vod", "1", source),
        ("process_media", "2", source),
        ("process_media", "3", source),
        ("vod", "4", elsewhere),
    ]:
        assemble(members_of(task, of, results, name), run, results, worker.buckets)
    found = results_of("inbox", source.key, worker.buckets.get("outputs"))
    assert {(result.workflow, result.run_id) for result in found} == {
        ("vod", "1"), ("process_media", "2"), ("process_media", "3"),
    }  # fmt: skip


def test_what_was_made_of_an_output_leads_up_to_the_upload(clips, upload, made, worker):
    """Also over an output that is gone; and the upload leads to it."""
    source = upload(clips.video())
    copy = {"name": "small", "video_template": {"height": 90, "effort": "fast"}}
    results = made(source, "transcode", copy)
    task = Task(name="web", type="transcode", outputs=(copy,), output={"bucket": "outputs"})
    middle = assemble(members_of(task, source, results), "1", results, worker.buckets).as_source("")
    results = made(middle, "snapshot_by_time_offset", STILLS)
    task = Task(name="stills", type="snapshot_by_time_offset", outputs=(STILLS,), output={"bucket": "outputs"})
    assemble(members_of(task, middle, results), "1", results, worker.buckets)
    outputs = worker.buckets.get("outputs")
    outputs.delete(middle.key)
    way = list(way_up("outputs", results[0].main[0].key, worker.buckets))
    assert [(record.source_bucket, record.source_key) for _, _, record in way] == [
        ("outputs", middle.key), ("inbox", source.key),
    ]  # fmt: skip
    assert {result.task for result in results_of("inbox", source.key, outputs)} == {"web", "stills"}
