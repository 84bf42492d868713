"""Two outputs never overwrite each other on one path: it is claimed before the work, and checked again while publishing."""

from __future__ import annotations

import io
import multiprocessing
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mps_dagster.errors import OutputTaken, SourceNotAccessible, StorageFailed
from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.claims import Claim
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.records import read_record, record_key
from mps_dagster.execution.subtask import Subtask
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import S3Settings, Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.storage.s3 import S3Bucket, make_client
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates

STILL = {"name": "s", "ext_time_offset_set": ["0s"], "format": "png", "output_object_path": "one.{format}"}
HLS = {"name": "h", "container": "hls", "video_template": {"height": 90, "hls_time": 1, "effort": "fast"}}


@dataclass(frozen=True)
class RecordingFfmpeg:
    """ffmpeg that records its runs."""

    ffmpeg: Ffmpeg
    ran: list[str]
    name: str

    @property
    def version(self) -> str:
        return self.ffmpeg.version

    def probe(self, path: Path) -> Any:
        return self.ffmpeg.probe(path)

    def run(self, *args: Any, **options: Any) -> Any:
        self.ran.append(self.name)
        return self.ffmpeg.run(*args, **options)


class Memory:
    """Buckets in this process's memory."""

    def __init__(self) -> None:
        self.buckets: dict[str, MemoryBucket] = {}

    def get(self, name: str) -> MemoryBucket:
        return self.buckets.setdefault(name, MemoryBucket(name))


class BarrierBucket:
    """A bucket in which all callers read before any of them swaps."""

    def __init__(self, bucket: Bucket, callers: int) -> None:
        self._bucket = bucket
        self._barrier = threading.Barrier(callers)
        self._seen = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def swap(self, key: str, old: bytes | None, new: bytes) -> bool:
        if not getattr(self._seen, "swapped", False):
            self._seen.swapped = True
            self._barrier.wait(20)
        return self._bucket.swap(key, old, new)


@dataclass(frozen=True)
class Setup:
    """A worker with one kind of output bucket."""

    worker: Worker
    output: str

    def upload(self, path: Path, key: str) -> Source:
        self.worker.buckets.get("inbox").publish(path, key)
        return self.worker.fetch_source("inbox", key, None, "run")

    def plan(self, source: Source, kind: str, *outputs: dict[str, Any], task: str = "task") -> tuple[Subtask, ...]:
        templates_dir = self.worker.settings.templates_dir
        document = {"type": kind, "outputs": list(outputs)}
        templates = Templates.load(self.worker.settings.templates_dir)
        parsed = parse_task(task, document, {"bucket": self.output, "dir": "/out/"}, templates, where="test")
        return break_down(parsed, source, self.worker)

    def perform(self, subtask: Subtask, run_id: str = "run") -> SubtaskResult:
        return self.worker.perform(subtask, run_id, lambda *_: None)

    def waiting(self, seconds: float) -> House:
        """So long for another run that publishes."""
        return replace(self, worker=replace(self.worker, claim_wait_s=seconds))

    @property
    def bucket(self) -> Bucket:
        return self.worker.buckets.get(self.output)


def make_setup(settings: Settings, kind: str, request: pytest.FixtureRequest) -> Setup:
    settings.templates_dir.mkdir(parents=True)
    if kind == "memory":
        return Setup(Worker.of(settings, Memory()), "outputs")
    if kind == "local":
        return Setup(Worker.of(settings, Buckets(settings)), "outputs")
    if kind == "s3":
        name = f"out-{uuid.uuid4().hex[:12]}"
        settings = settings.model_copy(update={"s3": request.getfixturevalue("s3_server").settings})
        make_client(settings.s3).create_bucket(Bucket=name)
        return Setup(Worker.of(settings, Buckets(settings)), f"s3://{name}")
    cos = request.getfixturevalue("cos_settings")
    name = f"out{uuid.uuid4().hex[:8]}-1250000000"
    make_client(cos.as_s3().model_copy(update={"region": "us-east-1"})).create_bucket(Bucket=name)
    settings = settings.model_copy(update={"cos": cos})
    return Setup(Worker.of(settings, Buckets(settings)), f"cos://{name}")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path / "project", home=tmp_path / "home", settle_s=0)


@pytest.fixture
def local(settings, request) -> Setup:
    return make_setup(settings, "local", request)


@pytest.fixture(params=["local", "s3", "cos", "memory"])
def any_setup(request, settings, monkeypatch) -> Setup:
    monkeypatch.setattr(s3_swap, "SETTLE_S", 0.3)
    return make_setup(settings, request.param, request)


def at_once(setup: Setup, *subtasks: Subtask) -> tuple[list[SubtaskResult | OutputTaken], list[str]]:
    """Run each subtask in its own worker, all reading before any claims; returns the results, and whose ffmpeg ran."""
    bucket = BarrierBucket(setup.bucket, len(subtasks))
    ran: list[str] = []

    class Shared:
        def get(self, name: str) -> Any:
            return bucket if name == setup.output else setup.worker.buckets.get(name)

    def perform(subtask: Subtask) -> SubtaskResult | OutputTaken:
        ffmpeg = RecordingFfmpeg(setup.worker.ffmpeg, ran, subtask.source.key)
        worker = Worker(setup.worker.settings, Shared(), ffmpeg)
        try:
            return worker.perform(subtask, f"run-{subtask.source.key}", lambda *_: None)
        except OutputTaken as error:
            return error

    with ThreadPoolExecutor(len(subtasks)) as pool:
        return list(pool.map(perform, subtasks)), ran


def objects(setup: Setup) -> dict[str, bytes]:
    return {info.key: setup.bucket.read(info.key) for info in setup.bucket.list("out/")}


# -------------------------------------------------------------------------------------------------- two sources


def test_of_two_concurrent_sources_one_gets_the_path(clips, any_setup):
    """The other one fails before its ffmpeg runs, and the output is the winner's."""
    uploads = [any_setup.upload(clips.video(), "clip.mp4"), any_setup.upload(clips.rotated(90), "clip.mov")]
    subtasks = [any_setup.plan(upload, "snapshot_by_time_offset", STILL)[0] for upload in uploads]
    ends, ran = at_once(any_setup, *subtasks)
    [won] = [number for number, end in enumerate(ends) if isinstance(end, SubtaskResult)]
    assert ran == [uploads[won].key]
    assert f"inbox/{uploads[won].key}" in str(ends[1 - won])
    sizes = [(320, 180), (180, 320)]
    with Image.open(io.BytesIO(any_setup.bucket.read("out/one.png"))) as picture:
        assert picture.size == sizes[won]
    record = read_record(any_setup.bucket, "out/one.png")
    assert (record.source_key, record.result, record.claim) == (uploads[won].key, ends[won], None)


def test_two_concurrent_hls_sets_never_mix(clips, local):
    """Playlist, header and segments are from one source."""
    fmp4 = {**HLS, "video_template": {**HLS["video_template"], "segment_type": 7}}
    uploads = [local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(4), "clip.mov")]
    ends, ran = at_once(local, *(local.plan(upload, "transcode", fmp4)[0] for upload in uploads))
    [won] = [number for number, end in enumerate(ends) if isinstance(end, SubtaskResult)]
    assert set(ran) == {uploads[won].key}
    assert len(objects(local)) == 2 + (2, 4)[won]


def test_two_playlists_never_share_segments(clips, local):
    """The playlists' paths differ, but not the segments'."""
    other = {
        **HLS,
        "output_object_path": "{inputName}_{inputFormat}.{format}",
        "segment_object_name": "part_{number}.ts",
    }
    uploads = [local.upload(clips.video(), "a.mp4"), local.upload(clips.video(4), "b.mov")]
    ends, ran = at_once(local, *(local.plan(upload, "transcode", other)[0] for upload in uploads))
    [lost] = [end for end in ends if isinstance(end, OutputTaken)]
    assert "out/part_{number}.ts" in str(lost)
    assert len(set(ran)) == 1
    assert len(objects(local)) == 1 + (2, 4)[ran[0] == "b.mov"]


def test_a_header_is_claimed_with_its_playlist(clips, local):
    """Its name is derived from the playlist's."""
    fmp4 = {**HLS, "video_template": {**HLS["video_template"], "segment_type": 7}, "output_object_path": "x.m3u8"}
    first, second = local.upload(clips.video(), "a.mp4"), local.upload(clips.video(), "b.mp4")
    result = local.perform(local.plan(first, "transcode", fmp4)[0])
    assert "out/x_init.mp4" in result.keys
    [subtask] = local.plan(second, "transcode", {"name": "m", "output_object_path": "x_init.mp4"})
    with pytest.raises(OutputTaken, match=r"inbox/a\.mp4"):
        local.perform(subtask)


def test_two_series_of_pictures_never_mix(clips, local):
    """Also if one starts at another number, so that the first names differ."""
    series = {"name": "s", "ext_time_offset_set": ["0s", "1s", "1.5s"], "output_object_path": "p_{number}.{format}"}
    first, second = local.upload(clips.video(), "a.mp4"), local.upload(clips.video(), "b.mp4")
    local.perform(local.plan(first, "snapshot_by_time_offset", series)[0])
    later = {**series, "object_number_format": {"initial_value": 1}}
    with pytest.raises(OutputTaken, match=r"inbox/a\.mp4"):
        local.perform(local.plan(second, "snapshot_by_time_offset", later)[0])


def _perform(settings: Settings, output: str, subtask: Subtask, go: Any, queue: Any) -> None:
    """Runs in a separate process."""
    worker = Worker.of(settings, Buckets(settings))
    ran: list[str] = []
    worker = replace(worker, ffmpeg=RecordingFfmpeg(worker.ffmpeg, ran, subtask.source.key))
    go.wait()
    try:
        worker.perform(subtask, f"run-{subtask.source.key}", lambda *_: None)
        queue.put((subtask.source.key, "won", bool(ran)))
    except OutputTaken:
        queue.put((subtask.source.key, "OutputTaken", bool(ran)))


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_of_several_processes_one_gets_the_path(clips, settings, request, kind):
    """On one host or several; they share only the bucket."""
    context = multiprocessing.get_context("spawn")
    setup = make_setup(settings, kind, request)
    uploads = [setup.upload(clips.video(), f"clip.{name}") for name in ("mp4", "mov", "mkv")]
    go, queue = context.Barrier(len(uploads)), context.Queue()
    processes = [
        context.Process(
            target=_perform,
            args=(
                setup.worker.settings,
                setup.output,
                setup.plan(upload, "snapshot_by_time_offset", STILL)[0],
                go,
                queue,
            ),
        )
        for upload in uploads
    ]
    for process in processes:
        process.start()
    ends = sorted(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert sorted(end[1:] for end in ends) == [("OutputTaken", False), ("OutputTaken", False), ("won", True)]
    [won] = [key for key, end, _ in ends if end == "won"]
    assert read_record(setup.bucket, "out/one.png").source_key == won


# -------------------------------------------------------------------------------------------------- owners that no longer exist


def leave_claim(setup: Setup, subtask: Subtask, run_id: str) -> None:
    """Leave what a process leaves that is killed while ffmpeg runs."""
    Claim.of(subtask, subtask.plan, run_id, setup.worker.buckets).take()


def test_a_path_whose_source_is_gone_goes_to_one_source(clips, any_setup):
    """Also if two want to take it over."""
    first = any_setup.upload(clips.video(), "clip.mp4")
    any_setup.perform(any_setup.plan(first, "snapshot_by_time_offset", STILL)[0])
    uploads = [any_setup.upload(clips.rotated(90), f"clip.{name}") for name in ("mov", "mkv")]
    subtasks = [any_setup.plan(upload, "snapshot_by_time_offset", STILL)[0] for upload in uploads]
    any_setup.worker.buckets.get("inbox").delete("clip.mp4")
    ends, ran = at_once(any_setup, *subtasks)
    assert sorted(type(end).__name__ for end in ends) == ["OutputTaken", "SubtaskResult"]
    assert len(ran) == 1
    assert read_record(any_setup.bucket, "out/one.png").source_key == ran[0]


def test_a_claim_of_a_killed_process_is_valid_for_its_source_only(clips, local):
    """Its next run continues at once; another source gets the path only after the first source is gone."""
    mine, other = local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(), "clip.mov")
    [subtask] = local.plan(mine, "snapshot_by_time_offset", STILL)
    [theirs] = local.plan(other, "snapshot_by_time_offset", STILL)
    leave_claim(local, subtask, "killed")
    with pytest.raises(OutputTaken):
        local.perform(theirs)
    assert not local.perform(subtask, "next").reused
    leave_claim(local, subtask, "killed")
    local.worker.buckets.get("inbox").delete("clip.mp4")
    assert not local.perform(theirs).reused


@pytest.mark.parametrize("gone", [False, True], ids=["its source is there", "its source is gone"])
def test_a_run_that_was_killed_while_publishing_does_not_block_for_long(clips, local, monkeypatch, gone):
    """The next run of its source waits a little for its end; another source need not wait once that source is gone."""
    monkeypatch.setattr(claims, "WAIT_S", 0.6)
    mine, other = local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(), "clip.mov")
    [subtask] = local.plan(mine, "snapshot_by_time_offset", STILL)
    [theirs] = local.plan(other, "snapshot_by_time_offset", STILL)
    claim = Claim.of(subtask, subtask.plan, "killed", local.worker.buckets)
    claim.take()
    claim.begin()
    if gone:
        local.worker.buckets.get("inbox").delete("clip.mp4")
        assert not local.perform(theirs, "next").reused
    else:
        with pytest.raises(OutputTaken):
            local.perform(theirs, "next")
        assert not local.perform(subtask, "next").reused


@pytest.mark.parametrize("number", range(3), ids=["taken", "begun", "ended"])
def test_a_spurious_conflict_does_not_lose_the_path(clips, local, monkeypatch, number):
    """S3 may refuse a conditional write although nothing changed."""
    [subtask] = local.plan(local.upload(clips.video(), "clip.mp4"), "snapshot_by_time_offset", STILL)
    swap, calls = local.bucket.swap, []

    def conflict(*what: Any) -> bool:
        calls.append(what)
        return swap(*what) if len(calls) != number + 1 else False

    monkeypatch.setattr(local.bucket, "swap", conflict)
    result = local.perform(subtask)
    assert len(calls) == 4
    assert read_record(local.bucket, "out/one.png").result == result


def test_a_claim_does_not_invalidate_the_published_output(clips, local):
    """Until another one is published, it can be traced and need not be made again."""
    source = local.upload(clips.video(), "clip.mp4")
    [subtask] = local.plan(source, "snapshot_by_time_offset", STILL)
    first = local.perform(subtask)
    [changed] = local.plan(source, "snapshot_by_time_offset", {**STILL, "width": 100})
    leave_claim(local, changed, "killed")
    assert read_record(local.bucket, "out/one.png").result == first
    assert local.perform(subtask).reused
    assert local.perform(changed).main[0].width == 100


def test_a_bucket_that_does_not_answer_does_not_make_a_path_free(clips, local, monkeypatch):
    """The next attempt asks again; until then nothing is published."""
    first, second = local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(), "clip.mov")
    local.perform(local.plan(first, "snapshot_by_time_offset", STILL)[0])
    [subtask] = local.plan(second, "snapshot_by_time_offset", STILL)
    inbox = local.worker.buckets.get("inbox")
    head = inbox.head

    def down(key: str) -> Any:
        if key == "clip.mp4":
            raise StorageFailed("cannot look at inbox/clip.mp4: timeout")
        return head(key)

    monkeypatch.setattr(inbox, "head", down)
    with pytest.raises(StorageFailed) as caught:
        local.perform(subtask)
    assert caught.value.retryable
    monkeypatch.undo()
    with pytest.raises(OutputTaken):
        local.perform(subtask)


def test_a_record_of_another_version_still_protects_the_path(clips, local):
    """Even with members that this version does not know."""
    local.upload(clips.video(), "clip.mp4")
    old = b'{"source_bucket": "inbox", "source_key": "clip.mp4", "source_etag": "x", "result": {"new": 1}, "more": 2}'
    local.bucket.write(record_key("out/one.png"), old)
    [subtask] = local.plan(local.upload(clips.video(), "clip.mov"), "snapshot_by_time_offset", STILL)
    with pytest.raises(OutputTaken, match=r"inbox/clip\.mp4"):
        local.perform(subtask)
    local.bucket.write(record_key("out/one.png"), b"no record at all")
    assert local.perform(subtask).main


# -------------------------------------------------------------------------------------------------- one source


def test_two_outputs_of_one_run_do_not_share_a_path(clips, local):
    """The second one fails. Within one task, this is already refused before the run."""
    source = local.upload(clips.video(), "clip.mp4")
    [first] = local.plan(source, "snapshot_by_time_offset", STILL, task="one")
    [second] = local.plan(source, "snapshot_by_time_offset", {**STILL, "width": 100}, task="two")
    local.perform(first, "run")
    with pytest.raises(OutputTaken, match=r"one\.0_s"):
        local.perform(second, "run")
    assert local.perform(second, "another run").main[0].width == 100


def test_new_content_of_a_source_reuses_the_path(clips, local):
    """It is still the same source."""
    local.perform(local.plan(local.upload(clips.video(), "a.mp4"), "snapshot_by_time_offset", STILL)[0], "1")
    again = local.plan(local.upload(clips.rotated(90), "a.mp4"), "snapshot_by_time_offset", STILL)[0]
    assert local.perform(again, "2").main[0].width == 180


def test_a_run_of_replaced_content_claims_nothing(clips, local):
    """The path stays with the run of the new content."""
    old = local.plan(local.upload(clips.video(), "a.mp4"), "snapshot_by_time_offset", STILL)[0]
    new = local.plan(local.upload(clips.rotated(90), "a.mp4"), "snapshot_by_time_offset", STILL)[0]
    leave_claim(local, new, "new")
    with pytest.raises(SourceNotAccessible):
        local.perform(old, "old")
    assert read_record(local.bucket, "out/one.png").claim.run_id == "new"


def test_two_identical_concurrent_requests_both_succeed(clips, local):
    """As when a client repeats ProcessMedia: one publishes, the other reuses the output."""
    source = local.upload(clips.video(), "clip.mp4")
    [subtask] = local.plan(source, "transcode", HLS)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda run: local.perform(subtask, run), ["run1", "run2"]))
    assert results[0].outputs == results[1].outputs
    assert read_record(local.bucket, subtask.plan.primary_key).result.outputs == results[0].outputs


def test_two_workflows_on_one_path_take_turns(clips, local):
    """With the same source, each publishes its complete set, also concurrently; the last one remains."""
    source = local.upload(clips.video(), "clip.mp4")
    [web] = local.plan(source, "transcode", {**HLS, "output_object_path": "x.m3u8"}, task="web")
    [tv] = local.plan(
        source,
        "transcode",
        {**HLS, "output_object_path": "x.m3u8", "video_template": {**HLS["video_template"], "height": 60}},
        task="tv",
    )
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(local.perform, [web, tv], ["1", "2"]))
    published = read_record(local.bucket, "out/x.m3u8").result
    assert published in results
    assert local.perform(web if published.task == "web" else tv, "3").reused


def test_a_run_that_was_overtaken_while_publishing_gives_up_the_path(clips, local, monkeypatch):
    """A run that takes too long was probably killed. If not, it stops before its playlist, and the later run's set remains."""
    source = local.upload(clips.video(), "clip.mp4")
    [slow] = local.plan(source, "transcode", HLS)
    [other] = local.plan(source, "transcode", {**HLS, "video_template": {**HLS["video_template"], "height": 60}})
    monkeypatch.setattr(claims, "WAIT_S", 0)
    bucket, publish = local.bucket, local.bucket.publish
    later: list[SubtaskResult] = []

    def publish_late(path: Path, key: str, **options: Any) -> Any:
        if not later:
            monkeypatch.setattr(bucket, "publish", publish)
            later.append(local.perform(other, "later"))
        return publish(path, key, **options)

    monkeypatch.setattr(bucket, "publish", publish_late)
    with pytest.raises(OutputTaken, match="run later"):
        local.perform(slow, "slow")
    # The slow run overwrote some segments, so the set is no longer the published one and is made again.
    assert not local.perform(other, "again").reused
    assert local.perform(other, "and again").reused


# -------------------------------------------------------------------------------------------------- interrupted


@pytest.mark.parametrize("breaks", ["_1.ts", ".m3u8"])
def test_interrupted_publishing_leaves_no_playlist(clips, local, monkeypatch, breaks):
    """Neither the new one, with missing segments, nor the old one, with overwritten segments. A retry repairs it."""
    source = local.upload(clips.video(), "clip.mp4")
    local.perform(local.plan(source, "transcode", HLS)[0], "1")
    [subtask] = local.plan(source, "transcode", {**HLS, "video_template": {**HLS["video_template"], "height": 60}})
    publish = local.bucket.publish

    def broken(path: Path, key: str, **options: Any) -> Any:
        if key.endswith(breaks):
            raise StorageFailed("cannot write: timeout")
        return publish(path, key, **options)

    monkeypatch.setattr(local.bucket, "publish", broken)
    with pytest.raises(StorageFailed):
        local.perform(subtask, "2")
    assert "out/clip_transcode_h.m3u8" not in objects(local)
    monkeypatch.undo()
    result = local.perform(subtask, "2")
    assert (result.reused, result.main[0].height) == (False, 60)
    assert local.perform(subtask, "3").reused


@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
def test_an_index_never_exists_without_its_sheets(clips, local, monkeypatch, again):
    """A player that gets an index loads its pictures at once."""
    sprite = {"name": "s", "sample_interval": 1, "row_count": 1, "column_count": 2, "width": 96, "height": 54}
    source = local.upload(clips.video(4), "clip.mp4")
    if again:
        local.perform(local.plan(source, "image_sprite", {**sprite, "width": 64, "height": 36})[0], "1")
    [subtask] = local.plan(source, "image_sprite", sprite)
    index = subtask.plan.texts[0].key
    publish = local.bucket.publish

    def broken(path: Path, key: str, **options: Any) -> Any:
        if key == subtask.plan.primary_key:
            raise StorageFailed("cannot write: timeout")
        return publish(path, key, **options)

    monkeypatch.setattr(local.bucket, "publish", broken)
    with pytest.raises(StorageFailed):
        local.perform(subtask, "2")
    assert index not in objects(local)
    monkeypatch.undo()
    local.perform(subtask, "2")
    assert index in objects(local)
