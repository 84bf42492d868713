"""Uploads whose names are as long as a bucket takes: every output is made, and leads back to its upload."""

from __future__ import annotations

import posixpath
import re
import uuid
from urllib.parse import unquote

import pytest

from mps_dagster.execution.assemble import assemble
from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.lineage import record_of, results_of
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.subtask import Members
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.s3 import make_client
from mps_dagster.workflow.model import Task

SMALL = {"video_template": {"height": 90, "effort": "fast"}}
HLS = {"container": "hls", "video_template": {"height": 90, "effort": "fast", "hls_time": 1, "segment_type": 7}}
TASKS = [
    Task(name="web", type="transcode", output={"dir": ""}, outputs=({"name": "small", **SMALL}, {"name": "live", **HLS})),
    Task(name="stills", type="sample_snapshot", outputs=({"name": "s", "sample_interval": 20},)),
    Task(name="sprite", type="image_sprite", outputs=({"name": "s", "sample_interval": 1, "column_count": 3, "row_count": 1},)),
]  # fmt: skip


@pytest.fixture
def place(request, tmp_path, s3_server, cos_settings):
    """A worker, and a bucket of the kind that the test names."""
    name = f"long{uuid.uuid4().hex[:8]}"
    settings = Settings(project=tmp_path, home=tmp_path / "home", settle_s=0)
    settings = settings.model_copy(update={"s3": s3_server.settings, "cos": cos_settings})
    if request.param == "s3":
        s3_server.s3.create_bucket(Bucket=name)
        name = f"s3://{name}"
    if request.param == "cos":
        name = f"{name}-1250000000"
        # moto knows AWS's regions only; nothing but this call looks at it.
        make_client(cos_settings.as_s3().model_copy(update={"region": "us-east-1"})).create_bucket(Bucket=name)
        name = f"cos://{name}"
    return Worker.of(settings, Buckets(settings)), name


def in_folders(size: int, name: str) -> str:
    """A key of just so many bytes."""
    room = size - len(name) - 1
    return f"{('/'.join(['d' * 99] * 11))[:room]}/{name}"


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("local", "n" * 240 + ".mp4"),
        ("local", "影" * 83 + ".mp4"),
        ("local", "🎬" * 62 + ".mp4"),
        ("s3", in_folders(1024, "clip.mp4")),
        ("s3", "n" * 1020 + ".mp4"),
        ("cos", in_folders(850, "clip.mp4")),
    ],
    ids=["244 letters", "Chinese", "emoji", "an S3 key of 1024", "an S3 name of 1024", "a COS key of 850"],
    indirect=["place"],
)
def test_all_outputs_of_a_long_name_are_made_and_lead_back(clips, place, key):
    """Where they were told to be; a playlist and an index name what lies there."""
    worker, name = place
    bucket = worker.buckets.get(name)
    bucket.publish(clips.video(), key)
    source = worker.fetch_source(name, key, None, "run")
    for task in TASKS:
        subtasks = break_down(task, source, worker)
        results = [worker.perform(subtask, "run", lambda *_: None) for subtask in subtasks]
        ids = tuple(result.id for result in results)
        members = Members(workflow="vod", task=task, source=source, ids=ids)
        assemble(members, "run", results, worker.buckets)
        for subtask, result in zip(subtasks, results, strict=True):
            told = subtask.paths["output_object_path"]
            for made_key in result.keys:
                record = record_of(bucket, made_key)
                assert (record.source_bucket, record.source_key) == (name, key)
            for number, output in enumerate(result.main):
                assert posixpath.splitext(f"/{output.key}")[0] == told.replace("{number}", str(number))
    found = [member for made in results_of(name, key, bucket) for result in made.results for member in result.keys]
    assert len(found) == len(set(found)) > 10
    for listing in (made for made in found if made.endswith((".m3u8", ".vtt"))):
        lines = bucket.read(listing).decode().splitlines()
        links = [line for line in lines if line and "--" not in line and not line.startswith(("#", "WEBVTT"))]
        links += re.findall(r'URI="([^"]+)"', "\n".join(lines))
        named = {
            posixpath.normpath(posixpath.join(posixpath.dirname(listing), unquote(link.partition("#")[0])))
            for link in links
        }
        assert named
        assert named <= set(found)


def test_two_long_names_that_differ_in_their_last_letter_are_two_sets_of_outputs(clips, upload, made):
    """And not one that overwrites the other."""
    keys = set()
    for letter in "ab":
        [result] = made(
            upload(clips.video(), "n" * 239 + f"{letter}.mp4"),
            "snapshot_by_time_offset",
            {"name": "s", "ext_time_offset_set": ["0s"]},
        )
        keys.add(result.main[0].key)
    assert len(keys) == 2
