"""Triggers, places, and the names by which Dagster knows an upload."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from dagster._core.definitions.partitions.utils.base import raise_error_on_invalid_partition_key_substring
from dagster._utils.schedules import is_valid_cron_string
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mps_dagster.media.info import MediaInfo
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.workflow.model import Backfill, Place, Source, Task, Trigger, key_prefix
from mps_dagster.workflow.naming import object_key, partition_key, upload_id


@pytest.mark.parametrize(
    ("trigger", "key", "taken"),
    [
        ({}, "a.mp4", True),
        ({}, "deep/er/a.MOV", True),
        ({}, "a.srt", False),
        ({}, "_mps/previews/a.mp4", False),
        ({"dir": "/in/"}, "in/a.mp4", True),
        ({"dir": "in"}, "in/a.mp4", True),
        ({"dir": "/in/"}, "in-2/a.mp4", False),
        ({"formats": [".MP4"]}, "a.mp4", True),
        ({"formats": ["mp4"]}, "a.mov", False),
        ({"formats": ["*"]}, "a.anything", True),
        ({"formats": ["*"]}, "none", True),
        ({"formats": []}, "a.webm", True),
    ],
)
def test_a_trigger_takes_uploads_by_place_and_format(trigger, key, taken):
    """Reference C.1; our own records never."""
    assert Trigger(bucket="inbox", **trigger).takes(key) is taken


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, Place(bucket="inbox", dir="/in/2026/")),
        ({"bucket": "out"}, Place(bucket="out", dir="/in/2026/")),
        ({"dir": "/vod/"}, Place(bucket="inbox", dir="/vod/")),
        ({"dir": "{inputDir}/{inputName}.{inputFormat}"}, Place(bucket="inbox", dir="/in/2026/clip.x.mp4/")),
    ],
)
def test_outputs_go_beside_the_upload_or_to_the_configured_place(place, expected):
    """Bucket and dir are inherited one by one; the dir may be of the upload's names."""
    task = Task(name="t", type="sample_snapshot", output=place, outputs=({},))
    source = Source(
        bucket="inbox", key="other/made.mp4", etag="1", size_bytes=1, upload_key="in/2026/clip.x.mp4",
        media=MediaInfo(container="mov", size_bytes=1, duration_s=1),
    )  # fmt: skip
    assert task.place(source) == expected


def test_dirs_are_prefixes():
    """However they are written."""
    assert [key_prefix(text) for text in ("/", "", "/in/", "in", "/in/2026")] == ["", "", "in/", "in/", "in/2026/"]


@given(st.text(min_size=1))
def test_any_object_key_becomes_a_partition_that_dagster_takes_and_back(key):
    """Only what Dagster refuses is escaped."""
    partition = partition_key(key)
    raise_error_on_invalid_partition_key_substring([partition])
    assert object_key(partition) == key


@given(st.text(), st.text())
def test_different_keys_are_different_partitions(one, other):
    """Or one upload would stand in for another."""
    assert (partition_key(one) == partition_key(other)) is (one == other)


def test_an_upload_is_its_place_content_and_time():
    """A new etag, another key or another bucket is another upload, and so is the same content put there once more."""
    uploads = [("s3://b", "a.mp4", "e1", 1), ("s3://c", "a.mp4", "e1", 1), ("s3://b", "a.mp4", "e2", 1),
               ("s3://b", "A.mp4", "e1", 1), ("s3://b", "a.mp4", "e1", 2)]  # fmt: skip
    assert len({upload_key(*upload) for upload in uploads}) == 5


def test_an_upload_s_time_is_in_whole_seconds_and_a_folder_s_in_its_etag():
    """HTTP's headers have no more; and a `chmod` or a link makes no upload of a file that is there."""
    assert upload_key("cos://b-12345", "a.mp4", "e1", 1.0) == upload_key("cos://b-12345", "a.mp4", "e1", 1.9)
    assert upload_key("inbox", "a.mp4", "e1", 1) == upload_key("inbox", "a.mp4", "e1", 2)


def upload_key(bucket: str, key: str, etag: str, time: float) -> str:
    return upload_id(bucket, ObjectInfo(key, 1, etag, datetime.fromtimestamp(time, UTC)))


def test_a_revision_changes_with_anything_of_the_task_and_with_nothing_else():
    """What makes earlier outputs out of date: a spec, or where they go."""
    task = Task(name="t", type="sample_snapshot", outputs=({"sample_interval": 10},))
    assert task.revision == Task.model_validate(task.model_dump()).revision
    changed = [{"outputs": ({"sample_interval": 20},)}, {"output": {"dir": "/x/"}}, {"source": "web/small"}]
    revisions = {Task.model_validate(task.model_dump() | change).revision for change in changed}
    assert len({task.revision, *revisions}) == 4


@pytest.mark.parametrize(
    ("backfill", "says"),
    [
        ({"cron": "0 3 * *"}, "no cron expression"),
        ({"cron": "nightly"}, "no cron expression"),
        ({"cron": "0 3 * * *", "timezone": "Mars/North"}, "no time zone"),
        ({"cron": "0 3 * * *", "timezone": "Europe"}, "no time zone"),
        ({"cron": "0 3 * * *", "max_sources": 0}, "greater than or equal to 1"),
    ],
)
def test_an_invalid_schedule_is_refused(backfill, says):
    """With an example of one that can."""
    with pytest.raises(ValidationError, match=says):
        Backfill(**backfill)


@pytest.mark.parametrize(
    ("cron", "taken"),
    [
        ("*/7 * * * *", True),
        ("0 3 1,15 * mon-fri", True),
        ("0-59/5  3 * JUL *", True),
        ("0 0 L * *", True),
        ("0 0 * * 1#2", True),
        ("0 0 31 2-3 *", True),
        ("0 3 * * * *", False),
        ("0 0 LW * *", False),
        ("0 0 L/2 * *", False),
        ("0 0 * * 5L", False),
        ("0 0 * * 1,2#1", False),
        ("0 0 30 2 1", False),
        ("@daily", False),
        ("0 22-2 * * *", False),
    ],
)
def test_a_schedule_is_one_that_dagster_takes(cron, taken):
    """Another one would keep all workflows from being loaded. What only Dagster takes is refused with an example."""
    try:
        Backfill(cron=cron)
    except ValidationError:
        assert not taken
    else:
        assert taken
        assert is_valid_cron_string(cron)
