"""Two outputs never fight over one path: whose it is, is settled before the work, and looked at again while publishing."""

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
from mps_dagster.media.info import MediaInfo
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
class Runs:
    """ffmpeg that says that it ran."""

    ffmpeg: Ffmpeg
    ran: list[str]
    name: str

    @property
    def version(self) -> str:
        return self.ffmpeg.version

    def probe(self, path: Path) -> Any:
        return self.ffmpeg.probe(path)

    def time_limit_s(self, media: MediaInfo) -> float:
        return self.ffmpeg.time_limit_s(media)

    def run(self, *args: Any, **options: Any) -> Any:
        self.ran.append(self.name)
        return self.ffmpeg.run(*args, **options)


class Memory:
    """Buckets of a process's own."""

    def __init__(self) -> None:
        self.made: dict[str, MemoryBucket] = {}

    def get(self, name: str) -> MemoryBucket:
        return self.made.setdefault(name, MemoryBucket(name))


class Together:
    """A bucket whose callers all look before any of them swaps."""

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
class With:
    """Buckets of which one is given."""

    bucket: Bucket
    buckets: Buckets

    def get(self, name: str) -> Bucket:
        return self.bucket if name == self.bucket.name else self.buckets.get(name)


@dataclass(frozen=True)
class House:
    """A worker over one kind of bucket."""

    worker: Worker
    output: str

    def upload(self, path: Path, key: str) -> Source:
        self.worker.buckets.get("inbox").publish(path, key)
        return self.worker.fetch_source("inbox", key, None, "run")

    def planned(self, source: Source, kind: str, *outputs: dict[str, Any], task: str = "task") -> tuple[Subtask, ...]:
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


def house(settings: Settings, kind: str, request: pytest.FixtureRequest) -> House:
    settings.templates_dir.mkdir(parents=True)
    if kind == "memory":
        return House(Worker.of(settings, Memory()), "outputs")
    if kind == "local":
        return House(Worker.of(settings, Buckets(settings)), "outputs")
    if kind == "s3":
        name = f"out-{uuid.uuid4().hex[:12]}"
        settings = settings.model_copy(update={"s3": request.getfixturevalue("s3_server").settings})
        make_client(settings.s3).create_bucket(Bucket=name)
        return on_s3(settings, settings.s3, f"s3://{name}")
    cos = request.getfixturevalue("cos_settings")
    name = f"out{uuid.uuid4().hex[:8]}-1250000000"
    make_client(cos.as_s3().model_copy(update={"region": "us-east-1"})).create_bucket(Bucket=name)
    settings = settings.model_copy(update={"cos": cos})
    return on_s3(settings, cos.as_s3(), f"cos://{name}")


def on_s3(settings: Settings, service: S3Settings, name: str) -> House:
    """A server in this process answers soon."""
    bucket = S3Bucket(name, name.partition("://")[2], make_client(service), settle_s=0.3)
    return House(Worker.of(settings, With(bucket, Buckets(settings))), name)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path / "project", home=tmp_path / "home", settle_s=0)


@pytest.fixture
def local(settings, request) -> House:
    return house(settings, "local", request)


@pytest.fixture(params=["local", "s3", "cos", "memory"])
def any_house(request, settings) -> House:
    return house(settings, request.param, request)


def at_once(house: House, *subtasks: Subtask) -> tuple[list[SubtaskResult | OutputTaken], list[str]]:
    """What each of them ends with, run by a worker of its own, all looking before any claims; and whose ffmpeg ran."""
    together = Together(house.bucket, len(subtasks))
    ran: list[str] = []

    def perform(subtask: Subtask) -> SubtaskResult | OutputTaken:
        ffmpeg = Runs(house.worker.ffmpeg, ran, subtask.source.key)
        worker = Worker(house.worker.settings, With(together, house.worker.buckets), ffmpeg)
        try:
            return worker.perform(subtask, f"run-{subtask.source.key}", lambda *_: None)
        except OutputTaken as error:
            return error

    with ThreadPoolExecutor(len(subtasks)) as pool:
        return list(pool.map(perform, subtasks)), ran


def objects(house: House) -> dict[str, bytes]:
    return {info.key: house.bucket.read(info.key) for info in house.bucket.list("out/")}


# -------------------------------------------------------------------------------------------------- two sources


def test_of_two_sources_at_once_one_has_the_path(clips, any_house):
    """The other one is told before its ffmpeg has run, and what stands is the winner's."""
    uploads = [any_house.upload(clips.video(), "clip.mp4"), any_house.upload(clips.rotated(90), "clip.mov")]
    subtasks = [any_house.planned(upload, "snapshot_by_time_offset", STILL)[0] for upload in uploads]
    ended, ran = at_once(any_house, *subtasks)
    [won] = [number for number, end in enumerate(ended) if isinstance(end, SubtaskResult)]
    assert ran == [uploads[won].key]
    assert f"inbox/{uploads[won].key}" in str(ended[1 - won])
    sizes = [(320, 180), (180, 320)]
    with Image.open(io.BytesIO(any_house.bucket.read("out/one.png"))) as picture:
        assert picture.size == sizes[won]
    record = read_record(any_house.bucket, "out/one.png")
    assert (record.source_key, record.result, record.claim) == (uploads[won].key, ended[won], None)


def test_two_hls_sets_at_once_never_mix(clips, local):
    """Playlist, header and all segments are of one source."""
    fmp4 = {**HLS, "video_template": {**HLS["video_template"], "segment_type": 7}}
    uploads = [local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(4), "clip.mov")]
    ended, ran = at_once(local, *(local.planned(upload, "transcode", fmp4)[0] for upload in uploads))
    [won] = [number for number, end in enumerate(ended) if isinstance(end, SubtaskResult)]
    assert set(ran) == {uploads[won].key}
    assert len(objects(local)) == 2 + (2, 4)[won]


def test_two_playlists_never_share_segments(clips, local):
    """Their own paths differ; those of their segments do not."""
    other = {
        **HLS,
        "output_object_path": "{inputName}_{inputFormat}.{format}",
        "segment_object_name": "part_{number}.ts",
    }
    uploads = [local.upload(clips.video(), "a.mp4"), local.upload(clips.video(4), "b.mov")]
    ended, ran = at_once(local, *(local.planned(upload, "transcode", other)[0] for upload in uploads))
    [lost] = [end for end in ended if isinstance(end, OutputTaken)]
    assert "out/part_{number}.ts" in str(lost)
    assert len(set(ran)) == 1
    assert len(objects(local)) == 1 + (2, 4)[ran[0] == "b.mov"]


def test_a_header_is_claimed_with_its_playlist(clips, local):
    """It has a name that nobody chose."""
    fmp4 = {**HLS, "video_template": {**HLS["video_template"], "segment_type": 7}, "output_object_path": "x.m3u8"}
    first, second = local.upload(clips.video(), "a.mp4"), local.upload(clips.video(), "b.mp4")
    result = local.perform(local.planned(first, "transcode", fmp4)[0])
    assert "out/x_init.mp4" in result.keys
    [subtask] = local.planned(second, "transcode", {"name": "m", "output_object_path": "x_init.mp4"})
    with pytest.raises(OutputTaken, match=r"inbox/a\.mp4"):
        local.perform(subtask)


def test_two_series_of_pictures_never_mix(clips, local):
    """Also if one begins at another number, and so by another name."""
    series = {"name": "s", "ext_time_offset_set": ["0s", "1s", "1.5s"], "output_object_path": "p_{number}.{format}"}
    first, second = local.upload(clips.video(), "a.mp4"), local.upload(clips.video(), "b.mp4")
    local.perform(local.planned(first, "snapshot_by_time_offset", series)[0])
    later = {**series, "object_number_format": {"initial_value": 1}}
    with pytest.raises(OutputTaken, match=r"inbox/a\.mp4"):
        local.perform(local.planned(second, "snapshot_by_time_offset", later)[0])


def _perform(settings: Settings, output: str, subtask: Subtask, go: Any, said: Any) -> None:
    """In a process of its own."""
    worker = Worker.of(settings, Buckets(settings))
    ran: list[str] = []
    worker = replace(worker, ffmpeg=Runs(worker.ffmpeg, ran, subtask.source.key))
    go.wait()
    try:
        worker.perform(subtask, f"run-{subtask.source.key}", lambda *_: None)
        said.put((subtask.source.key, "won", bool(ran)))
    except OutputTaken:
        said.put((subtask.source.key, "OutputTaken", bool(ran)))


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_of_several_processes_one_has_the_path(clips, settings, request, kind):
    """As on one host or on several, with nothing but the bucket between them."""
    context = multiprocessing.get_context("spawn")
    here = house(settings, kind, request)
    uploads = [here.upload(clips.video(), f"clip.{name}") for name in ("mp4", "mov", "mkv")]
    go, said = context.Barrier(len(uploads)), context.Queue()
    processes = [
        context.Process(
            target=_perform,
            args=(
                here.worker.settings,
                here.output,
                here.planned(upload, "snapshot_by_time_offset", STILL)[0],
                go,
                said,
            ),
        )
        for upload in uploads
    ]
    for process in processes:
        process.start()
    ended = sorted(said.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert sorted(end[1:] for end in ended) == [("OutputTaken", False), ("OutputTaken", False), ("won", True)]
    [won] = [key for key, end, _ in ended if end == "won"]
    assert read_record(here.bucket, "out/one.png").source_key == won


# -------------------------------------------------------------------------------------------------- owners that are gone


def left_claim(house: House, subtask: Subtask, run_id: str) -> None:
    """What a process leaves that is killed while ffmpeg runs."""
    Claim.of(subtask, subtask.plan, run_id, house.worker.buckets).take()


def test_a_path_whose_source_is_gone_is_free_for_one(clips, any_house):
    """Taking it over is a race like any other."""
    first = any_house.upload(clips.video(), "clip.mp4")
    any_house.perform(any_house.planned(first, "snapshot_by_time_offset", STILL)[0])
    uploads = [any_house.upload(clips.rotated(90), f"clip.{name}") for name in ("mov", "mkv")]
    subtasks = [any_house.planned(upload, "snapshot_by_time_offset", STILL)[0] for upload in uploads]
    any_house.worker.buckets.get("inbox").delete("clip.mp4")
    ended, ran = at_once(any_house, *subtasks)
    assert sorted(type(end).__name__ for end in ended) == ["OutputTaken", "SubtaskResult"]
    assert len(ran) == 1
    assert read_record(any_house.bucket, "out/one.png").source_key == ran[0]


def test_a_claim_of_a_killed_process_holds_for_its_source_alone(clips, local):
    """Its next run goes on at once, another source does not while the first is there."""
    mine, other = local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(), "clip.mov")
    [subtask] = local.planned(mine, "snapshot_by_time_offset", STILL)
    [theirs] = local.planned(other, "snapshot_by_time_offset", STILL)
    left_claim(local, subtask, "killed")
    with pytest.raises(OutputTaken):
        local.perform(theirs)
    assert not local.perform(subtask, "next").reused
    left_claim(local, subtask, "killed")
    local.worker.buckets.get("inbox").delete("clip.mp4")
    assert not local.perform(theirs).reused


@pytest.mark.parametrize("gone", [False, True], ids=["its source is there", "its source is gone"])
def test_a_run_that_was_killed_while_it_published_does_not_block_others_for_long(clips, local, gone):
    """Its source's next run waits a little whether it ends; another source need not, once that one is gone."""
    local = local.waiting(0.6)
    mine, other = local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(), "clip.mov")
    [subtask] = local.planned(mine, "snapshot_by_time_offset", STILL)
    [theirs] = local.planned(other, "snapshot_by_time_offset", STILL)
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
def test_a_conflict_without_another_writer_is_no_loss(clips, local, monkeypatch, number):
    """S3 may refuse a conditional write though nothing has changed."""
    [subtask] = local.planned(local.upload(clips.video(), "clip.mp4"), "snapshot_by_time_offset", STILL)
    swap, asked = local.bucket.swap, []

    def conflict(*what: Any) -> bool:
        asked.append(what)
        return swap(*what) if len(asked) != number + 1 else False

    monkeypatch.setattr(local.bucket, "swap", conflict)
    result = local.perform(subtask)
    assert len(asked) == 4
    assert read_record(local.bucket, "out/one.png").result == result


def test_a_claim_leaves_existing_outputs_as_they_are(clips, local):
    """Until something else is published: it can be traced, and it need not be made again."""
    source = local.upload(clips.video(), "clip.mp4")
    [subtask] = local.planned(source, "snapshot_by_time_offset", STILL)
    first = local.perform(subtask)
    [changed] = local.planned(source, "snapshot_by_time_offset", {**STILL, "width": 100})
    left_claim(local, changed, "killed")
    assert read_record(local.bucket, "out/one.png").result == first
    assert local.perform(subtask).reused
    assert local.perform(changed).main[0].width == 100


def test_a_bucket_that_does_not_answer_does_not_make_a_path_free(clips, local, monkeypatch):
    """It is asked again in the next attempt; nothing is made meanwhile."""
    first, second = local.upload(clips.video(), "clip.mp4"), local.upload(clips.video(), "clip.mov")
    local.perform(local.planned(first, "snapshot_by_time_offset", STILL)[0])
    [subtask] = local.planned(second, "snapshot_by_time_offset", STILL)
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


def test_a_record_of_another_version_still_says_whose_the_path_is(clips, local):
    """Whatever else it holds that this version does not know."""
    local.upload(clips.video(), "clip.mp4")
    old = b'{"source_bucket": "inbox", "source_key": "clip.mp4", "source_etag": "x", "result": {"new": 1}, "more": 2}'
    local.bucket.write(record_key("out/one.png"), old)
    [subtask] = local.planned(local.upload(clips.video(), "clip.mov"), "snapshot_by_time_offset", STILL)
    with pytest.raises(OutputTaken, match=r"inbox/clip\.mp4"):
        local.perform(subtask)
    local.bucket.write(record_key("out/one.png"), b"no record at all")
    assert local.perform(subtask).main


# -------------------------------------------------------------------------------------------------- one source


def test_two_outputs_of_one_run_do_not_take_turns_on_a_path(clips, local):
    """The second is told; as within one task, where it is known before the run."""
    source = local.upload(clips.video(), "clip.mp4")
    [first] = local.planned(source, "snapshot_by_time_offset", STILL, task="one")
    [second] = local.planned(source, "snapshot_by_time_offset", {**STILL, "width": 100}, task="two")
    local.perform(first, "run")
    with pytest.raises(OutputTaken, match=r"one\.0_s"):
        local.perform(second, "run")
    assert local.perform(second, "another run").main[0].width == 100


def test_new_content_of_a_source_takes_its_own_path(clips, local):
    """It is the same source."""
    local.perform(local.planned(local.upload(clips.video(), "a.mp4"), "snapshot_by_time_offset", STILL)[0], "1")
    again = local.planned(local.upload(clips.rotated(90), "a.mp4"), "snapshot_by_time_offset", STILL)[0]
    assert local.perform(again, "2").main[0].width == 180


def test_a_run_of_content_that_was_replaced_takes_nothing(clips, local):
    """Nor does it claim the path away from the run of the new content."""
    old = local.planned(local.upload(clips.video(), "a.mp4"), "snapshot_by_time_offset", STILL)[0]
    new = local.planned(local.upload(clips.rotated(90), "a.mp4"), "snapshot_by_time_offset", STILL)[0]
    left_claim(local, new, "new")
    with pytest.raises(SourceNotAccessible):
        local.perform(old, "old")
    assert read_record(local.bucket, "out/one.png").claim.run_id == "new"


def test_the_same_asked_for_twice_at_once_succeeds_twice(clips, local):
    """ProcessMedia sent again by its client: one publishes, the other finds that done."""
    source = local.upload(clips.video(), "clip.mp4")
    [subtask] = local.planned(source, "transcode", HLS)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda run: local.perform(subtask, run), ["run1", "run2"]))
    assert results[0].outputs == results[1].outputs
    assert read_record(local.bucket, subtask.plan.primary_key).result.outputs == results[0].outputs


def test_two_workflows_on_one_path_take_turns(clips, local):
    """The source is the same: each publishes its whole set, also if both do at once, and the last one stands."""
    source = local.upload(clips.video(), "clip.mp4")
    [web] = local.planned(source, "transcode", {**HLS, "output_object_path": "x.m3u8"}, task="web")
    [tv] = local.planned(
        source,
        "transcode",
        {**HLS, "output_object_path": "x.m3u8", "video_template": {**HLS["video_template"], "height": 60}},
        task="tv",
    )
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(local.perform, [web, tv], ["1", "2"]))
    stands = read_record(local.bucket, "out/x.m3u8").result
    assert stands in results
    assert local.perform(web if stands.task == "web" else tv, "3").reused


def test_a_run_that_was_overtaken_while_it_publishes_leaves_the_path_to_the_other(clips, local, monkeypatch):
    """One that takes too long was most likely killed. If not, it stops before its playlist, and what stands in the end is whole and of the later run."""
    source = local.upload(clips.video(), "clip.mp4")
    [slow] = local.planned(source, "transcode", HLS)
    [other] = local.planned(source, "transcode", {**HLS, "video_template": {**HLS["video_template"], "height": 60}})
    local = local.waiting(0)
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
    # Some of the slow run's segments came last: the set is no longer the one that was published, and is made again.
    assert not local.perform(other, "again").reused
    assert local.perform(other, "and again").reused


# -------------------------------------------------------------------------------------------------- half done


@pytest.mark.parametrize("breaks", ["_1.ts", ".m3u8"])
def test_publishing_that_breaks_off_shows_no_playlist(clips, local, monkeypatch, breaks):
    """Neither its own, whose segments are not all there, nor an earlier one, whose segments were overwritten; again, it heals."""
    source = local.upload(clips.video(), "clip.mp4")
    local.perform(local.planned(source, "transcode", HLS)[0], "1")
    [subtask] = local.planned(source, "transcode", {**HLS, "video_template": {**HLS["video_template"], "height": 60}})
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


@pytest.mark.parametrize("again", [False, True], ids=["made for the first time", "made anew"])
def test_an_index_never_exists_without_its_sheets(clips, local, monkeypatch, again):
    """A player that finds one looks its pictures up at once."""
    sprite = {"name": "s", "sample_interval": 1, "row_count": 1, "column_count": 2, "width": 96, "height": 54}
    source = local.upload(clips.video(4), "clip.mp4")
    if again:
        local.perform(local.planned(source, "image_sprite", {**sprite, "width": 64, "height": 36})[0], "1")
    [subtask] = local.planned(source, "image_sprite", sprite)
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
