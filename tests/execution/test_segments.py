"""HLS segments as one value: what it tells, how soon it is put, and that no segment is lost or replaced unseen."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mps_dagster.cli.lineage import lineage
from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.errors import DiskFull, OutputTaken, StorageFailed
from mps_dagster.execution import segments as module
from mps_dagster.execution import verify
from mps_dagster.execution.lineage import record_of
from mps_dagster.execution.records import read_record, record_key
from mps_dagster.execution.segments import check_whole, publish_segments, segments_unchanged
from mps_dagster.execution.verify import SAMPLE
from mps_dagster.mps.results import workflow_task
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.local import LocalBucket
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.storage.s3 import S3Bucket
from mps_dagster.streaming.segments import Segments
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


def names(key_pattern: str = "out/a_{number}.ts", **numbers: Any) -> Segments:
    return Segments(
        pattern="segment_%05d.ts", key_pattern=key_pattern, playlist="out.m3u8",
        **{"first": 0, "step": 1, "width": 1, "placeholder": "0", **numbers},
    )  # fmt: skip


def put(bucket: Bucket, files: list[Path], named: Segments | None = None) -> SegmentSet:
    return publish_segments(named or names(), files, bucket.publish, lambda: None)


NUMBERINGS = [
    pytest.param(names(), id="MPS's"),
    pytest.param(names("out/{number}/a.ts", first=7, step=3, width=4), id="in the middle, with steps"),
    pytest.param(names("{number}.ts", width=12, placeholder="-"), id="alone"),
]


@pytest.mark.parametrize("named", NUMBERINGS)
def test_every_segment_is_put_under_its_number(bucket, files, named):
    """However many go at a time."""
    made = put(bucket, files, named)
    assert made.keys == [named.key(number) for number in range(150)]
    assert [len(bucket.read(key)) for key in made.keys[::37]] == [1, 38, 75, 112, 149]
    assert (made.count, made.size_bytes) == (150, 150 * 151 // 2)


@pytest.mark.parametrize("named", NUMBERINGS)
def test_a_segment_that_is_lost_or_replaced_is_noticed(bucket, files, named):
    """The first, the last, one between; a new neighbour is none of them."""
    made = put(bucket, files, named)
    assert segments_unchanged(made, bucket)
    bucket.write(f"{made.keys[0]}.txt", b"a neighbour")
    bucket.write("zzz", b"a neighbour")
    assert segments_unchanged(made, bucket)
    for key in (made.keys[0], made.keys[99], made.keys[-1]):
        bucket.delete(key)
        assert not segments_unchanged(made, bucket)
        bucket.write(key, b"another" * 20)
        assert not segments_unchanged(made, bucket)
        made = put(bucket, files, named)
        assert segments_unchanged(made, bucket)


def test_whether_they_stand_costs_a_listing_and_not_a_question_each(s3_server, files):
    """S3 lists a thousand at once."""
    name = f"out-{uuid.uuid4().hex[:12]}"
    s3_server.s3.create_bucket(Bucket=name)
    bucket = S3Bucket("s3://out", name, s3_server.s3)
    made = put(bucket, files)
    asked: list[str] = []
    s3_server.s3.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.method), "count")
    try:
        assert segments_unchanged(made, bucket)
    finally:
        s3_server.s3.meta.events.unregister("before-send.s3", unique_id="count")
    assert asked == ["GET"]


def test_several_are_put_at_a_time_and_no_more(files):
    """Waiting for one answer after another is what takes the time; too many at once take memory and connections."""
    at_once, most = 0, 0
    lock = threading.Lock()

    def slow(path: Path, key: str) -> ObjectInfo:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.005)
        with lock:
            at_once -= 1
        return ObjectInfo(key, path.stat().st_size, "e", None)

    publish_segments(names(), files, slow, lambda: None)
    assert 4 <= most <= module.AT_ONCE


def test_a_run_that_has_lost_its_path_stops_in_the_middle(files):
    """Not only before its playlist: it would overwrite the other one's segments until then."""
    done: list[str] = []

    def note(path: Path, key: str) -> ObjectInfo:
        done.append(key)
        return ObjectInfo(key, path.stat().st_size, "e", None)

    def lost() -> None:
        raise OutputTaken("taken")

    with pytest.raises(OutputTaken):
        publish_segments(names(), files, note, lost)
    assert len(done) == module.BATCH


def test_an_upload_that_fails_raises(files):
    """And what comes after it is not begun."""

    def broken(path: Path, key: str) -> ObjectInfo:
        if key.endswith("_3.ts"):
            raise StorageFailed("cannot write: timeout")
        return ObjectInfo(key, path.stat().st_size, "e", None)

    with pytest.raises(StorageFailed):
        publish_segments(names(), files, broken, lambda: None)


# -------------------------------------------------------------------------------------------------- in a result


def test_a_result_does_not_grow_with_its_segments(clips, upload, made, worker):
    """It travels as step value, event, record and manifest, and in every answer of DescribeTaskDetail."""
    long = made(upload(clips.video(8), "long.mp4"), "transcode", HLS)[0]
    short = made(upload(clips.video(2), "clip.mp4"), "transcode", HLS)[0]
    assert (short.segments.count, long.segments.count) == (2, 8)
    assert [output.role for output in long.outputs] == ["main"]
    assert abs(len(long.model_dump_json()) - len(short.model_dump_json())) < 100
    bucket = worker.buckets.get("outputs")
    assert long.size_bytes == sum(bucket.head(key).size for key in long.keys)


def test_mps_s_answer_tells_of_the_whole_set(clips, upload, made, worker):
    """The playlist's path and md5, the size of all of it; it names no segment, the input has their pattern."""
    result = made(upload(clips.video(4)), "transcode", HLS)[0]
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


def test_a_lost_segment_makes_the_set_again(clips, upload, planned, worker):
    """And nothing else does."""
    [subtask] = planned(upload(clips.video(4)), "transcode", HLS)
    first = worker.perform(subtask, "run", lambda *_: None)
    assert worker.perform(subtask, "run", lambda *_: None).reused
    worker.buckets.get("outputs").delete(first.segments.keys[2])
    assert not worker.perform(subtask, "run", lambda *_: None).reused
    assert worker.perform(subtask, "run", lambda *_: None).reused


def test_a_single_segment_leads_to_its_source(clips, upload, made, worker):
    """Though no record lists it."""
    source = upload(clips.video())
    result = made(source, "transcode", {**HLS, "video_template": {**HLS["video_template"], "segment_type": 7}})[0]
    assert len(result.keys) == 1 + 1 + 2
    for key in result.keys:
        record = record_of(worker.buckets.get("outputs"), key)
        assert (record.source_key, record.result) == (source.key, result)


def test_the_lineage_of_a_segment_is_that_of_the_set(clips, upload, made, worker, monkeypatch):
    """What it was made of and how, and whether the set still is as it was made."""
    [key, lost] = made(upload(clips.video()), "transcode", HLS)[0].segments.keys
    monkeypatch.setenv("MPS_HOME", str(worker.settings.home))
    monkeypatch.setenv("MPS_PROJECT", str(worker.settings.project))
    told = CliRunner().invoke(lineage, [f"outputs/{key}"]).output
    assert "was made of inbox/video2.mp4" in told
    assert "2: unchanged" in told
    worker.buckets.get("outputs").delete(lost)
    assert "2: some replaced or gone" in CliRunner().invoke(lineage, [f"outputs/{key}"]).output


def test_a_result_of_an_earlier_version_is_still_up_to_date(clips, upload, planned, worker):
    """It tells of each segment; nothing is made again because of that."""
    [subtask] = planned(upload(clips.video()), "transcode", HLS)
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
def test_of_a_file_that_holds_all_segments_the_first_is_looked_at(
    clips, upload, planned, worker, segment_type, monkeypatch
):
    """The whole may be gigabytes: neither memory nor the scratch disk is to hold it twice."""
    sizes: dict[str, int] = {}
    probed = verify._probed

    def note(path: Path, key: str) -> Any:
        sizes[path.name] = path.stat().st_size
        return probed(path, key)

    monkeypatch.setattr(verify, "_probed", note)
    video = {**HLS["video_template"], "segment_type": segment_type}
    [subtask] = planned(upload(clips.video(8)), "transcode", {**HLS, "video_template": video})
    result: SubtaskResult = worker.perform(subtask, "run", lambda *_: None)
    assert result.main[0].media.video.display_size == (160, 90)
    assert 0 < sizes[SAMPLE] < result.segments.size_bytes / 4


PLAYLIST = "#EXTM3U\n#EXTINF:4.0,\n#EXT-X-BYTERANGE:376@0\n#EXTINF:4.0,\n#EXT-X-BYTERANGE:188@376\n#EXT-X-ENDLIST\n"
BOX = (24).to_bytes(4) + b"moof" + bytes(16)
LARGE_BOX = (1).to_bytes(4) + b"mdat" + (32).to_bytes(8) + bytes(16)


@pytest.mark.parametrize(
    ("pattern", "content", "playlist", "cut"),
    [
        pytest.param("segment_%05d.ts", bytes(376), "#EXTINF:4.0,\n#EXT-X-ENDLIST", False, id="whole TS packets"),
        pytest.param("segment_%05d.ts", bytes(4096), "#EXTINF:4.0,\n#EXT-X-ENDLIST", True, id="a part of a TS packet"),
        pytest.param("segment_%05d.ts", b"", "#EXTINF:4.0,\n#EXT-X-ENDLIST", True, id="empty"),
        pytest.param("segment_%05d.ts", bytes(376), "#EXTINF:4.0,\n", True, id="the playlist has no end"),
        pytest.param("segment.ts", bytes(564), PLAYLIST, False, id="all ranges are there"),
        pytest.param("segment.ts", bytes(376), PLAYLIST, True, id="the last range is not there"),
        pytest.param("segment_%05d.m4s", BOX + LARGE_BOX, "#EXT-X-ENDLIST", False, id="whole boxes"),
        pytest.param("segment_%05d.m4s", BOX + LARGE_BOX[:-1], "#EXT-X-ENDLIST", True, id="a part of a box"),
        pytest.param("segment_%05d.m4s", BOX + LARGE_BOX[:5], "#EXT-X-ENDLIST", True, id="a part of a box's header"),
    ],
)
def test_hls_that_a_full_disk_cut_off_is_not_published(pattern, content, playlist, cut, tmp_path):
    """ffmpeg writes the rest of the set, says nothing and exits with 0. The disk may have room again by then."""
    (tmp_path / "out.m3u8").write_text(playlist)
    (tmp_path / pattern.replace("%05d", "00000")).write_bytes(content)
    segments = Segments(
        pattern=pattern, key_pattern="{number}", first=0, step=1, width=1, placeholder="0", playlist="out.m3u8"
    )
    with pytest.raises(DiskFull, match="is cut off") if cut else nullcontext():
        check_whole(tmp_path / "out.m3u8", segments, tmp_path)
