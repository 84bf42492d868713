"""Records of outputs that are gone go; whatever may still be of use to somebody stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mps_dagster.errors import StorageFailed, StorageRefused
from mps_dagster.execution.outdated import Outdated
from mps_dagster.execution.records import Claimant, Record, record_key
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.media.info import MediaInfo
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import READ_BYTES, Bucket, ObjectInfo
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.local import LocalBucket
from mps_dagster.storage.s3 import S3Bucket
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.workflow.model import Source

LATER = datetime.now(UTC) + timedelta(days=2)
SOURCE = Source(
    bucket="inbox", key="a.mp4", etag="1", size_bytes=1, media=MediaInfo(container="mov", size_bytes=1, duration_s=1)
)


@pytest.fixture
def buckets(tmp_path) -> Buckets:
    settings = Settings(project=tmp_path, home=tmp_path / "home", settle_s=0)
    for name in ("outputs", "elsewhere"):
        (settings.buckets_dir / name).mkdir(parents=True)
    return Buckets(settings)


def result_of(keys: tuple[str, ...], bucket: str = "outputs") -> SubtaskResult:
    outputs = tuple(OutputObject(key=key, role="main", size_bytes=1, etag="", md5="") for key in keys)
    return SubtaskResult(
        id="0", task="web", type="transcode", label="a", bucket=bucket, source_uri="", spec={}, outputs=outputs,
        preview_key=f"_mps/previews/{keys[0]}.jpg",
    )  # fmt: skip


def write_record(bucket: Bucket, key: str, record: Record) -> None:
    bucket.write(record_key(key), record.model_dump_json().encode())


def put(buckets: Buckets, *keys: str, stand: tuple[str, ...] = ()) -> None:
    """Outputs as they were published: record, preview, manifest; those that stand, too."""
    outputs = buckets.get("outputs")
    for key in stand:
        outputs.write(key, b"x", record=record_key(keys[0]))
    result = result_of(keys)
    outputs.write(result.preview_key, b"x")
    write_record(outputs, keys[0], Record(source_bucket="inbox", source_key="a.mp4", result=result))
    manifest(buckets, keys[0], result)


def manifest(buckets: Buckets, name: str, *results: SubtaskResult) -> str:
    task = TaskResult(workflow="vod", task="web", type="transcode", run_id="r", source=SOURCE, results=results)
    key = f"_mps/manifests/{name}/vod.r/web.json"
    buckets.get("outputs").write(key, task.model_dump_json().encode())
    return key


def left(buckets: Buckets) -> set[str]:
    return {info.key for info in buckets.get("outputs").list("_mps/")}


def swept(buckets: Buckets, before: datetime = LATER, **more) -> Outdated:
    look = Outdated(buckets.get("outputs"), buckets, before, **more)
    look.remove(lambda: False)
    return look


def test_what_is_of_outputs_that_are_gone_goes_and_what_is_of_others_stays(buckets):
    """Also where one of several stands, be it the last."""
    put(buckets, "stands.mp4", stand=("stands.mp4",))
    put(buckets, "half.jpg", "half2.jpg", stand=("half2.jpg",))
    kept = left(buckets)
    put(buckets, "gone.mp4", "gone2.mp4")
    assert len(left(buckets) - kept) == 3
    assert (swept(buckets).removed, left(buckets)) == (2, kept)
    assert {info.key for info in buckets.get("outputs").list() if "_mps" not in info.key} == {"stands.mp4", "half2.jpg"}


def test_what_was_written_lately_stays(buckets):
    """Its outputs may be about to be made."""
    put(buckets, "gone.mp4")
    assert swept(buckets, datetime.now(UTC) - timedelta(days=1)).removed == 0


def test_what_cannot_be_read_stays(buckets):
    """It may be of another version."""
    outputs = buckets.get("outputs")
    outputs.write(record_key("other.mp4"), b'{"of": "another version"}')
    outputs.write("_mps/manifests/x/vod.r/web.json", b"no JSON")
    kept = left(buckets)
    assert (swept(buckets).removed, left(buckets)) == (0, kept)


@pytest.mark.parametrize("claim", [True, False], ids=["claim", "claim of an earlier version"])
def test_a_claim_stays_for_as_long_as_its_source(buckets, claim):
    """Of a run that failed, or is about to publish."""
    claimant = Claimant(bucket="inbox", key="a.mp4", run_id="r", subtask="web.0", path="a.mp4") if claim else None
    record = Record(source_bucket="inbox", source_key="a.mp4", claim=claimant)
    write_record(buckets.get("outputs"), "claimed.mp4", record)
    buckets.get("inbox").write("a.mp4", b"x")
    assert swept(buckets).removed == 0
    buckets.get("inbox").delete("a.mp4")
    assert (swept(buckets).removed, left(buckets)) == (1, set())


def test_storage_that_fails_in_the_middle_removes_nothing_and_is_gone_on_with(buckets, monkeypatch):
    """From where it failed."""
    for name in "abc":
        put(buckets, f"{name}.mp4")
    kept, head = left(buckets), LocalBucket.head

    def failing(self, key: str) -> ObjectInfo:
        if key == "b.mp4":
            raise StorageFailed("the bucket did not answer")
        return head(self, key)

    look = Outdated(buckets.get("outputs"), buckets, LATER)
    with monkeypatch.context() as patch:
        patch.setattr(LocalBucket, "head", failing)
        with pytest.raises(StorageFailed):
            look.remove(lambda: False)
    assert look.after == "_mps/manifests/a.mp4/vod.r/web.json"
    assert kept - left(buckets) == {look.after, "_mps/previews/a.mp4.jpg"}
    assert (swept(buckets, after=look.after).removed, left(buckets)) == (5, set())


def test_a_look_is_bounded_and_the_next_one_goes_on(buckets):
    """Through all of them, and then from the beginning."""
    for number in range(4):
        put(buckets, f"{number}.mp4")
    looks, after, removed = 0, "", 0
    while looks == 0 or after:
        look = Outdated(buckets.get("outputs"), buckets, LATER, after)
        seen = iter(range(3))
        look.remove(lambda seen=seen: next(seen, None) is None)
        looks, after, removed = looks + 1, look.after, removed + look.removed
    assert (looks, removed, left(buckets)) == (3, 8, set())


@pytest.mark.parametrize("mounted", [True, False])
def test_outputs_in_a_bucket_that_is_empty_are_not_taken_for_gone(buckets, mounted):
    """It may be a disk that is not mounted; in one that is in use they are gone."""
    key = manifest(buckets, "x", result_of(("a.mp4",), "elsewhere"))
    if mounted:
        buckets.get("elsewhere").write("other.mp4", b"x")
    swept(buckets)
    assert (key in left(buckets)) is not mounted


def test_a_record_that_is_written_meanwhile_stays(buckets, monkeypatch):
    """Somebody makes the outputs once more."""
    outputs, head = buckets.get("outputs"), LocalBucket.head
    earlier = Record(source_bucket="inbox", source_key="a.mp4", result=result_of(("gone.mp4",)))
    write_record(outputs, "gone.mp4", earlier)

    def racing(self, key: str) -> ObjectInfo:
        if key == "gone.mp4":
            write_record(outputs, "gone.mp4", Record(source_bucket="inbox", source_key="b.mp4"))
        return head(self, key)

    monkeypatch.setattr(LocalBucket, "head", racing)
    swept(buckets)
    assert record_key("gone.mp4") in left(buckets)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (StorageRefused("there is no such bucket"), "s3://inbox-that-was"),
        (StorageFailed("the bucket does not answer"), "s3://inbox-that-was"),
        (StorageRefused("this object may not be looked at"), "outputs"),
    ],
    ids=["gone", "silent", "refused object"],
)
def test_a_source_that_cannot_be_looked_at_keeps_its_record_and_no_other(buckets, monkeypatch, fault, name):
    """Its bucket may be gone for good: the look passes over it and ends."""
    outputs, asked = buckets.get("outputs"), []
    for number in range(3):
        write_record(outputs, f"{number}.mp4", Record(source_bucket=name, source_key="a.mp4"))
    kept = left(buckets)
    put(buckets, *(f"gone{number}.mp4" for number in range(9)))
    put(buckets, "zzz.mp4")

    def head(bucket: Bucket, key: str) -> ObjectInfo:
        if (bucket.name, key) == (name, "a.mp4"):
            asked.append(key)
            raise fault
        return local_head(bucket, key)

    local_head = LocalBucket.head
    monkeypatch.setattr(LocalBucket, "head", head)
    monkeypatch.setattr(S3Bucket, "head", head)
    look = swept(buckets)
    assert (look.after, look.unseen, left(buckets)) == ("", {name: fault}, kept)
    # One that is gone is asked once, not once a record.
    assert len(asked) == (3 if name == "outputs" else 1)


@pytest.mark.parametrize("gone", ["nowhere", "s3://Not A Bucket"])
def test_outputs_in_a_bucket_that_is_gone_are_passed_over(buckets, gone):
    """Its folder was removed, or nobody knows such a name any more: what is said of it stays, and the look ends."""
    kept = {manifest(buckets, "a", result_of(("a.mp4",), gone))}
    put(buckets, "zzz.mp4")
    look = swept(buckets)
    assert (look.after, set(look.unseen), left(buckets)) == ("", {gone}, kept)


def test_a_manifest_that_is_too_large_to_be_read_stays(buckets):
    """Nobody wrote such a one; it keeps the look from nothing."""
    put(buckets, "zzz.mp4")
    kept = "_mps/manifests/a/vod.r/web.json"
    buckets.get("outputs").write(kept, b" " * (READ_BYTES + 1))
    assert (swept(buckets).removed, left(buckets)) == (2, {kept})
