"""What every store of values does, and that hosts share those in a bucket."""

from __future__ import annotations

import time

import dagster as dg
import pytest
from projects import VOD, make_project
from pydantic import ValidationError

from mps_dagster.orchestration.value_store import ASSETS, PREFIX, BucketStore, FolderStore
from mps_dagster.settings import Settings
from mps_dagster.storage.memory import MemoryBucket

from .conftest import furnished


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    return FolderStore(tmp_path / "values") if request.param == "folder" else BucketStore(MemoryBucket("s3://media"))


def test_what_was_written_is_read_and_what_was_not_is_none(store):
    store.write("run/a.json", b"1", "cannot keep it")
    store.write("run/a.json", b"2", "cannot keep it")
    assert store.read("run/a.json") == b"2"
    assert store.read("run/b.json") is None
    assert store.read("gone/a.json") is None


def test_groups_and_values_are_listed_with_their_times(store):
    for key in ("run/a.json", "run/b.json", f"{ASSETS}/a.json"):
        store.write(key, b"{}", "cannot keep it")
    assert {group for group, _ in store.groups()} == {"run", ASSETS}
    assert {name for name, _ in store.values("run")} == {"a.json", "b.json"}
    times = [written_s for _, written_s in (*store.groups(), *store.values("run"))]
    assert times == pytest.approx([time.time()] * 4, abs=60)
    assert list(store.values("gone")) == []


def test_a_group_has_the_time_of_its_newest_value():
    """In a folder, that of the folder: a value that is replaced is renamed into it."""
    bucket = MemoryBucket("s3://media")
    store = BucketStore(bucket)
    for key in ("run/a.json", "run/b.json"):
        store.write(key, b"{}", "cannot keep it")
    newest = bucket.head(f"{PREFIX}run/b.json").modified.timestamp()
    assert list(store.groups()) == [("run", newest)]


def test_one_value_or_a_group_is_removed(store):
    for key in ("run/a.json", "run/b.json", "other/a.json"):
        store.write(key, b"{}", "cannot keep it")
    store.remove("run", "a.json")
    assert {name for name, _ in store.values("run")} == {"b.json"}
    store.remove("run")
    store.remove("gone")
    assert {group for group, _ in store.groups()} == {"other"}


def test_an_empty_store_has_no_groups(store):
    assert list(store.groups()) == []


@pytest.mark.slow
def test_a_task_is_run_alone_on_another_host_than_its_workflow_was(tmp_path, instance, clips, s3_server):
    """It reads what the source's step left in the shared bucket; in the folder of its own host, there is nothing."""
    for name in ("media", "made", "shared"):
        s3_server.s3.create_bucket(Bucket=name)
    text = VOD.replace("bucket: inbox", "bucket: s3://media").replace("bucket: outputs", "bucket: s3://made")
    settings = make_project(tmp_path, vod=text).model_copy(
        update={"s3": s3_server.settings, "shared_bucket": "s3://shared"}
    )
    first, other = (
        furnished(settings.model_copy(update={"home": tmp_path / name}), instance) for name in ("first", "other")
    )
    first.buckets.get("s3://media").publish(clips.video(), "in/clip.mp4")
    assert first.run("in/clip.mp4").success
    alone = other.defs.resolve_job_def("vod").execute_in_process(
        partition_key="in/clip.mp4", instance=instance, asset_selection=[dg.AssetKey(["vod", "stills"])]
    )
    assert alone.success
    assert {event.step_key for event in alone.all_node_events if event.is_step_success} >= {"vod__stills.assemble"}
    assert "vod__source" not in {event.step_key for event in alone.all_node_events}
    assert not list((tmp_path / "first").rglob("values")) + list((tmp_path / "other").rglob("values"))


def test_a_folder_of_this_host_is_no_shared_bucket(tmp_path):
    with pytest.raises(ValidationError, match="'inbox' is a folder of this host"):
        Settings(project=tmp_path, home=tmp_path, shared_bucket="inbox")
