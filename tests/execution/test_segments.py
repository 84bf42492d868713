"""HLS segments as one value: its facts, its publishing, and detection of lost or replaced segments."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mps_dagster.cli.lineage import lineage
from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.errors import OutputTaken, StorageFailed
from mps_dagster.execution import segments as module
from mps_dagster.execution import verify
from mps_dagster.execution.lineage import record_of
from mps_dagster.execution.records import read_record, record_key
from mps_dagster.execution.segments import publish_segments, segments_unchanged
from mps_dagster.execution.verify import SAMPLE
from mps_dagster.ffmpeg.plan import Segments
from mps_dagster.mps.results import workflow_task
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.local import LocalBucket
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.storage.s3 import S3Bucket
from mps_dagster.tasks.result import OutputObject, SegmentSet, SubtaskResult

HLS = {"name": "h", "container": "hls", "video_template": {"height": 90, "hls_time": 1, "effort": "fast"}}


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow), "memory"])
def bucket(request, tmp_path) -> Bucket:
    if request.param == "memory":
        return MemoryBucket("out")
    if request.param == "local":
        return LocalBucket("out", tmp_path / "out", settle_s=0)
    name = f"out-{uuid.uuid4().hex[:12]}"
    client = request.getfixturevalue("s3_server").s3
    client.create_bucket(Bucket=name)
    return S3Bucket(f"s3://{name}", name, client)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    folder = tmp_path / "made"
    folder.mkdir()
    paths = [folder / f"segment_{number:05d}.ts" for number in range(150)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * (number + 1))
    return paths


def segments(key_pattern: str = "out/a_{number}.ts", **numbers: Any) -> Segments:
    return Segments(
        pattern="segment_%05d.ts", key_pattern=key_pattern, playlist="out.m3u8",
        **{"first": 0, "step": 1, "width": 1, "placeholder": "0", **numbers},
    )  # fmt: skip


def publish(bucket: Bucket, files: list[Path], segments_plan: Segments | None = None) -> SegmentSet:
    return put_segments(segments_plan or segments(), files, bucket.publish, lambda: None)


NUMBERINGS = [
    pytest.param(segments(), id="MPS's"),
    pytest.param(segments("out/{number}/a.ts", first=7, step=3, width=4), id="in the middle, with steps"),
    pytest.param(segments("{number}.ts", width=12, placeholder="-"), id="alone"),
]


@pytest.mark.parametrize("segments_plan", NUMBERINGS)
def test_every_segment_is_published_under_its_number(bucket, files, segments_plan):
    """In parallel."""
    published = publish(bucket, files, segments_plan)
    assert published.keys == [segments_plan.key(number) for number in range(150)]
    assert [len(bucket.read(key)) for key in published.keys[::37]] == [1, 38, 75, 112, 149]
    assert (published.count, published.size_bytes) == (150, 150 * 151 // 2)


@pytest.mark.parametrize("segments_plan", NUMBERINGS)
def test_a_lost_or_replaced_segment_is_detected(bucket, files, segments_plan):
    """The first, the last and one between. New neighbouring objects do not matter."""
    published = publish(bucket, files, segments_plan)
    assert segments_stand(published, bucket)
    bucket.write(f"{published.keys[0]}.txt", b"a neighbour")
    bucket.write("zzz", b"a neighbour")
    assert segments_stand(published, bucket)
    for key in (published.keys[0], published.keys[99], published.keys[-1]):
        bucket.delete(key)
        assert not segments_stand(published, bucket)
        bucket.write(key, b"another" * 20)
        assert not segments_stand(published, bucket)
        published = publish(bucket, files, segments_plan)
        assert segments_stand(published, bucket)


def test_checking_all_segments_costs_one_listing(s3_server, files):
    """S3 lists a thousand objects per request."""
    name = f"out-{uuid.uuid4().hex[:12]}"
    s3_server.s3.create_bucket(Bucket=name)
    bucket = S3Bucket("s3://out", name, s3_server.s3)
    published = publish(bucket, files)
    methods: list[str] = []
    s3_server.s3.meta.events.register("before-send.s3", lambda request, **_: methods.append(request.method), "count")
    try:
        assert segments_stand(published, bucket)
    finally:
        s3_server.s3.meta.events.unregister("before-send.s3", unique_id="count")
    assert methods == ["GET"]


def test_a_limited_number_of_segments_is_published_at_a_time(files):
    """One after another would mostly wait for answers; too many at once need memory and connections."""
    active, most = 0, 0
    lock = threading.Lock()

    def slow(path: Path, key: str) -> ObjectInfo:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        time.sleep(0.005)
        with lock:
            active -= 1
        return ObjectInfo(key, path.stat().st_size, "e", None)

    put_segments(segments(), files, slow, lambda: None)
    assert 4 <= most <= module.AT_ONCE


def test_a_run_that_lost_its_path_stops_between_segments(files):
    """Before its playlist, or it would overwrite the other run's segments."""
    keys: list[str] = []

    def note(path: Path, key: str) -> ObjectInfo:
        keys.append(key)
        return ObjectInfo(key, path.stat().st_size, "e", None)

    def lost() -> None:
        raise OutputTaken("taken")

    with pytest.raises(OutputTaken):
        put_segments(segments(), files, note, lost)
    assert len(keys) == module.BATCH


def test_a_publishing_error_is_raised(files):

    def broken(path: Path, key: str) -> ObjectInfo:
        if key.endswith("_3.ts"):
            raise StorageFailed("cannot write: timeout")
        return ObjectInfo(key, path.stat().st_size, "e", None)

    with pytest.raises(StorageFailed):
        put_segments(segments(), files, broken, lambda: None)


# -------------------------------------------------------------------------------------------------- in a result


def test_a_result_does_not_grow_with_its_segments(clips, upload, run_task, worker):
    """It is in step values, events, records, manifests and answers of DescribeTaskDetail."""
    long = run_task(upload(clips.video(8), "long.mp4"), "transcode", HLS)[0]
    short = run_task(upload(clips.video(2), "clip.mp4"), "transcode", HLS)[0]
    assert (short.segments.count, long.segments.count) == (2, 8)
    assert [output.role for output in long.outputs] == ["main"]
    assert abs(len(long.model_dump_json()) - len(short.model_dump_json())) < 100
    bucket = worker.buckets.get("outputs")
    assert long.size_bytes == sum(bucket.head(key).size for key in long.keys)


def test_mps_s_answer_describes_the_whole_set(clips, upload, run_task, worker):
    """The playlist's path and md5, the total size, and the pattern of the segments, but no single segment."""
    result = run_task(upload(clips.video(4)), "transcode", HLS)[0]
    state = SubtaskState(
        task="web", id="0", type="transcode", label="h", status="SUCCESS", spec=result.spec, result=result,
        paths={"segment_object_name": "/out/video4_transcode_h_{number}"},
    )  # fmt: skip
    run = TaskRun(
        "mps-WorkflowTask-1",
        "1",
        "vod",
        "FINISH",
        "SUCCESS",
        "",
        0,
        "",
        0.0,
        0.0,
        1.0,
        "inbox",
        "video4.mp4",
        0,
        None,
        (state,),
    )
    detail = workflow_task(run)["MediaProcessResultSet"][0]["TranscodeTask"]
    bucket = worker.buckets.get("outputs")
    playlist = bucket.read("out/video4_transcode_h.m3u8")
    output = detail["Output"]
    assert output["Path"] == "/out/video4_transcode_h.m3u8"
    assert output["Md5"] == hashlib.md5(playlist).hexdigest()
    assert output["Size"] == sum(info.size for info in bucket.list("out/"))
    assert detail["Input"]["SegmentObjectName"] == "/out/video4_transcode_h_{number}"
    assert ".ts" not in str(detail)


def test_a_lost_segment_means_a_new_set(clips, upload, plan_task, worker):
    """Otherwise the set is reused."""
    [subtask] = plan_task(upload(clips.video(4)), "transcode", HLS)
    first = worker.perform(subtask, "run", lambda *_: None)
    assert worker.perform(subtask, "run", lambda *_: None).reused
    worker.buckets.get("outputs").delete(first.segments.keys[2])
    assert not worker.perform(subtask, "run", lambda *_: None).reused
    assert worker.perform(subtask, "run", lambda *_: None).reused


def test_a_single_segment_leads_to_its_source(clips, upload, run_task, worker):
    """Although no record lists it."""
    source = upload(clips.video())
    result = run_task(source, "transcode", {**HLS, "video_template": {**HLS["video_template"], "segment_type": 7}})[0]
    assert len(result.keys) == 1 + 1 + 2
    for key in result.keys:
        record = record_of(worker.buckets.get("outputs"), key)
        assert (record.source_key, record.result) == (source.key, result)


def test_lineage_of_a_segment_describes_its_set(clips, upload, run_task, worker, monkeypatch):
    """Its source, and whether the set is complete."""
    [key, lost] = run_task(upload(clips.video()), "transcode", HLS)[0].segments.keys
    monkeypatch.setenv("MPS_HOME", str(worker.settings.home))
    monkeypatch.setenv("MPS_PROJECT", str(worker.settings.project))
    output = CliRunner().invoke(lineage, [f"outputs/{key}"]).output
    assert "was made of inbox/video2.mp4" in output
    assert "2: all stand" in output
    worker.buckets.get("outputs").delete(lost)
    assert "2: some replaced or gone" in CliRunner().invoke(lineage, [f"outputs/{key}"]).output


def test_a_result_of_an_earlier_version_is_reused(clips, upload, plan_task, worker):
    """Although it lists each segment."""
    [subtask] = plan_task(upload(clips.video()), "transcode", HLS)
    new = worker.perform(subtask, "run", lambda *_: None)
    bucket = worker.buckets.get("outputs")
    infos = [bucket.head(key) for key in new.segments.keys]
    each = tuple(
        OutputObject(key=info.key, role="segment", size_bytes=info.size, etag=info.etag, md5="") for info in infos
    )
    old = new.model_copy(update={"outputs": (*new.outputs, *each), "segments": None})
    record = read_record(bucket, subtask.plan.primary_key).model_copy(update={"result": old})
    document = record.model_dump(mode="json", exclude={"claim": True, "result": {"segments"}})
    bucket.write(record_key(subtask.plan.primary_key), json.dumps(document).encode())
    again = worker.perform(subtask, "run", lambda *_: None)
    assert (again.reused, again.size_bytes) == (True, new.size_bytes)
    bucket.delete(each[1].key)
    assert not worker.perform(subtask, "run", lambda *_: None).reused


@pytest.mark.parametrize("segment_type", [2, 5], ids=["ts ranges", "mp4 ranges"])
def test_only_the_first_segment_of_a_single_file_is_probed(clips, upload, plan_task, worker, segment_type, monkeypatch):
    """The file may be gigabytes, too much for a copy in memory or on the scratch disk."""
    sizes: dict[str, int] = {}
    probed = verify._probed

    def note(path: Path, key: str) -> Any:
        sizes[path.name] = path.stat().st_size
        return probed(path, key)

    monkeypatch.setattr(verify, "_probed", note)
    video = {**HLS["video_template"], "segment_type": segment_type}
    [subtask] = plan_task(upload(clips.video(8)), "transcode", {**HLS, "video_template": video})
    result: SubtaskResult = worker.perform(subtask, "run", lambda *_: None)
    assert result.main[0].media.video.display_size == (160, 90)
    assert 0 < sizes[SAMPLE] < result.segments.size_bytes / 4
