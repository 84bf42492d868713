"""Records of deleted outputs are removed; everything that may still be needed stays."""

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


def publish(buckets: Buckets, *keys: str, existing: tuple[str, ...] = ()) -> None:
    """Write the record, preview and manifest of published outputs, and those outputs that still exist."""
    outputs = buckets.get("outputs")
    for key in existing:
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


def remaining(buckets: Buckets) -> set[str]:
    return {info.key for info in buckets.get("outputs").list("_mps/")}


def remove_outdated(buckets: Buckets, before: datetime = LATER, **options) -> Outdated:
    cleanup = Outdated(buckets.get("outputs"), buckets, before, **options)
    cleanup.remove(lambda: False)
    return cleanup


def test_only_records_of_deleted_outputs_are_removed(buckets):
    """A record stays if any of its outputs exists, even the last one."""
    publish(buckets, "stands.mp4", existing=("stands.mp4",))
    publish(buckets, "half.jpg", "half2.jpg", existing=("half2.jpg",))
    expected = remaining(buckets)
    publish(buckets, "gone.mp4", "gone2.mp4")
    assert len(remaining(buckets) - expected) == 3
    assert (remove_outdated(buckets).removed, remaining(buckets)) == (2, expected)
    assert {info.key for info in buckets.get("outputs").list() if "_mps" not in info.key} == {"stands.mp4", "half2.jpg"}


def test_recent_records_stay(buckets):
    """Their outputs may be published soon."""
    publish(buckets, "gone.mp4")
    assert remove_outdated(buckets, datetime.now(UTC) - timedelta(days=1)).removed == 0


def test_unreadable_records_stay(buckets):
    """They may be from another version."""
    outputs = buckets.get("outputs")
    outputs.write(record_key("other.mp4"), b'{"of": "another version"}')
    outputs.write("_mps/manifests/x/vod.r/web.json", b"no JSON")
    expected = remaining(buckets)
    assert (remove_outdated(buckets).removed, remaining(buckets)) == (0, expected)


@pytest.mark.parametrize("claim", [True, False], ids=["claim", "claim of an earlier version"])
def test_a_claim_stays_as_long_as_its_source(buckets, claim):
    """It may be from a failed run, or from one that will publish."""
    claimant = Claimant(bucket="inbox", key="a.mp4", run_id="r", subtask="web.0", path="a.mp4") if claim else None
    record = Record(source_bucket="inbox", source_key="a.mp4", claim=claimant)
    write_record(buckets.get("outputs"), "claimed.mp4", record)
    buckets.get("inbox").write("a.mp4", b"x")
    assert remove_outdated(buckets).removed == 0
    buckets.get("inbox").delete("a.mp4")
    assert (remove_outdated(buckets).removed, remaining(buckets)) == (1, set())


def test_after_a_storage_error_the_cleanup_continues(buckets, monkeypatch):
    """From the record at which it failed."""
    for name in "abc":
        publish(buckets, f"{name}.mp4")
    expected, head = remaining(buckets), LocalBucket.head

    def failing(self, key: str) -> ObjectInfo:
        if key == "b.mp4":
            raise StorageFailed("the bucket did not answer")
        return head(self, key)

    cleanup = Outdated(buckets.get("outputs"), buckets, LATER)
    with monkeypatch.context() as patch:
        patch.setattr(LocalBucket, "head", failing)
        with pytest.raises(StorageFailed):
            cleanup.remove(lambda: False)
    assert cleanup.after == "_mps/manifests/a.mp4/vod.r/web.json"
    assert expected - remaining(buckets) == {cleanup.after, "_mps/previews/a.mp4.jpg"}
    assert (remove_outdated(buckets, after=cleanup.after).removed, remaining(buckets)) == (5, set())


def test_a_cleanup_is_bounded_and_the_next_one_continues(buckets):
    """To the end, and then from the beginning."""
    for number in range(4):
        publish(buckets, f"{number}.mp4")
    cleanups, after, removed = 0, "", 0
    while cleanups == 0 or after:
        cleanup = Outdated(buckets.get("outputs"), buckets, LATER, after)
        seen = iter(range(3))
        cleanup.remove(lambda seen=seen: next(seen, None) is None)
        cleanups, after, removed = cleanups + 1, cleanup.after, removed + cleanup.removed
    assert (cleanups, removed, remaining(buckets)) == (3, 8, set())


@pytest.mark.parametrize("mounted", [True, False])
def test_outputs_in_an_empty_bucket_do_not_count_as_deleted(buckets, mounted):
    """It may be a disk that is not mounted."""
    key = manifest(buckets, "x", result_of(("a.mp4",), "elsewhere"))
    if mounted:
        buckets.get("elsewhere").write("other.mp4", b"x")
    remove_outdated(buckets)
    assert (key in remaining(buckets)) is not mounted


def test_a_record_that_is_rewritten_meanwhile_stays(buckets, monkeypatch):
    """Another run publishes the outputs again."""
    outputs, head = buckets.get("outputs"), LocalBucket.head
    earlier = Record(source_bucket="inbox", source_key="a.mp4", result=result_of(("gone.mp4",)))
    write_record(outputs, "gone.mp4", earlier)

    def racing(self, key: str) -> ObjectInfo:
        if key == "gone.mp4":
            write_record(outputs, "gone.mp4", Record(source_bucket="inbox", source_key="b.mp4"))
        return head(self, key)

    monkeypatch.setattr(LocalBucket, "head", racing)
    remove_outdated(buckets)
    assert record_key("gone.mp4") in remaining(buckets)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (StorageRefused("there is no such bucket"), "s3://inbox-that-was"),
        (StorageFailed("the bucket does not answer"), "s3://inbox-that-was"),
        (StorageRefused("this object may not be looked at"), "outputs"),
    ],
    ids=["gone", "silent", "refused object"],
)
def test_an_inaccessible_source_keeps_only_its_own_records(buckets, monkeypatch, fault, name):
    """Its bucket may be gone for ever, so the cleanup skips it."""
    outputs, heads = buckets.get("outputs"), []
    for number in range(3):
        write_record(outputs, f"{number}.mp4", Record(source_bucket=name, source_key="a.mp4"))
    expected = remaining(buckets)
    publish(buckets, *(f"gone{number}.mp4" for number in range(9)))
    publish(buckets, "zzz.mp4")

    def head(bucket: Bucket, key: str) -> ObjectInfo:
        if (bucket.name, key) == (name, "a.mp4"):
            heads.append(key)
            raise fault
        return local_head(bucket, key)

    local_head = LocalBucket.head
    monkeypatch.setattr(LocalBucket, "head", head)
    monkeypatch.setattr(S3Bucket, "head", head)
    cleanup = remove_outdated(buckets)
    assert (cleanup.after, cleanup.unseen, remaining(buckets)) == ("", {name: fault}, expected)
    # A bucket that is gone is asked once, not once per record.
    assert len(heads) == (3 if name == "outputs" else 1)


@pytest.mark.parametrize("gone", ["nowhere", "s3://Not A Bucket"])
def test_manifests_of_outputs_in_a_missing_bucket_stay(buckets, gone):
    """Its folder was removed, or its name is no longer valid; the cleanup skips it."""
    expected = {manifest(buckets, "a", result_of(("a.mp4",), gone))}
    publish(buckets, "zzz.mp4")
    cleanup = remove_outdated(buckets)
    assert (cleanup.after, set(cleanup.unseen), remaining(buckets)) == ("", {gone}, expected)


def test_a_manifest_that_is_too_large_stays(buckets):
    """The cleanup skips it."""
    publish(buckets, "zzz.mp4")
    expected = "_mps/manifests/a/vod.r/web.json"
    buckets.get("outputs").write(expected, b" " * (READ_BYTES + 1))
    assert (remove_outdated(buckets).removed, remaining(buckets)) == (2, {expected})
