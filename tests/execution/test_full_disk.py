"""A disk that is full: the subtask fails with its name, nothing half-written stays, and a retry with room succeeds.

Needs to mount a tmpfs (as root, or in a container that may).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import fill, small_disk

from mps_dagster.errors import DiskFull
from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.subtask import Subtask
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates

MB = 2**20
OUTPUTS = {
    "mp4": ("transcode", {"name": "o", "video_template": {"bitrate": 8000, "effort": "fast"}}),
    "mkv": ("transcode", {"name": "o", "container": "mkv", "video_template": {"bitrate": 8000, "effort": "fast"}}),
    "hls": ("transcode", {"name": "o", "container": "hls", "video_template": {"bitrate": 8000, "effort": "fast"}}),
    "hls mp4": (
        "transcode",
        {"name": "o", "container": "hls", "video_template": {"bitrate": 8000, "effort": "fast", "segment_type": 7}},
    ),
    "hls ranges": (
        "transcode",
        {"name": "o", "container": "hls", "video_template": {"bitrate": 8000, "effort": "fast", "segment_type": 2}},
    ),
    "wav": ("transcode", {"name": "o", "container": "wav", "audio_template": {"sample_rate": 96000}}),
    "stills": ("sample_snapshot", {"name": "o", "format": "png", "width": 1280}),
    "sprite": ("image_sprite", {"name": "o", "format": "png", "sample_type": "Time", "sample_interval": 1, "width": 640, "height": 360}),
    "gif": ("animated_graphics", {"name": "o", "fps": 10}),
    "webp": ("animated_graphics", {"name": "o", "format": "webp", "fps": 25, "width": 1280, "quality": 100}),
}  # fmt: skip


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """The deployment's home, with scratch and local buckets."""
    with small_disk(tmp_path / "home", 40) as path:
        yield path


@pytest.fixture
def worker(tmp_path, disk) -> Worker:
    settings = Settings(project=tmp_path / "project", home=disk, settle_s=0)
    settings.templates_dir.mkdir(parents=True)
    return Worker.of(settings, Buckets(settings))


def planned(worker, clips, kind: str, output: dict, *, estimate: int | None = None, seconds: float = 2) -> Subtask:
    worker.buckets.get("inbox").publish(clips.video(seconds), "clip.mp4")
    source = worker.fetch_source("inbox", "clip.mp4", None, "run")
    templates = Templates.load(worker.settings.templates_dir)
    task = parse_task(
        "task", {"type": kind, "outputs": [output]}, {"bucket": "outputs", "dir": "/out/"}, templates, where="test"
    )
    [subtask] = break_down(task, source, worker)
    assert subtask.plan
    if estimate is None:
        return subtask
    return subtask.model_copy(update={"plan": subtask.plan.model_copy(update={"estimated_bytes": estimate})})


def leftovers(worker) -> list[str]:
    """Everything of outputs, drafts and work folders; records of claims are tiny and needed for the retry."""
    scratch = [
        path for path in worker.settings.scratch_dir.rglob("*") if path.is_file() and path.parent.name != "sources"
    ]
    bucket = [path for path in (worker.settings.buckets_dir / "outputs").rglob("*") if path.is_file()]
    kept = ("lock", ".lock")
    return [
        str(path) for path in [*scratch, *bucket]
        if path.name not in kept and "_mps/records" not in str(path) and ".mps/" not in str(path)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", OUTPUTS)
def test_ffmpeg_meets_a_full_disk(kind, worker, clips, disk):
    """Whatever the muxer makes of it: HLS exits with 0 and says nothing."""
    subtask = planned(worker, clips, *OUTPUTS[kind], estimate=0)
    filler = fill(disk, leave=48 * 1024)
    with pytest.raises(DiskFull) as caught:
        worker.perform(subtask, "run", lambda *_: None)
    assert caught.value.retryable
    assert subtask.plan.primary_key in caught.value.message
    assert str(disk) in caught.value.message
    assert leftovers(worker) == []
    filler.unlink()
    assert worker.perform(subtask, "run", lambda *_: None).outputs


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hls", "hls mp4", "mp4", "stills"])
def test_the_bucket_s_disk_is_full_while_outputs_are_published(kind, worker, clips, disk, monkeypatch):
    """What was published of an incomplete set is removed: it takes room that the retry needs."""
    subtask = planned(worker, clips, *OUTPUTS[kind], estimate=0, seconds=20 if "hls" in kind else 2)
    with small_disk(disk.parent / "other", 20) as other:
        bucket = worker.buckets.get("outputs")
        monkeypatch.setattr(bucket, "root", other)
        (other / "_mps" / "records").mkdir(parents=True)
        filler = fill(other, leave=300 * 1024)
        with pytest.raises(DiskFull) as caught:
            worker.perform(subtask, "run", lambda *_: None)
        assert subtask.plan.primary_key in caught.value.message
        assert str(other) in caught.value.message
        assert [info.key for info in bucket.list() if not info.key.startswith("_mps/")] == []
        assert not list(other.rglob(".mps-*"))
        filler.unlink()
        assert worker.perform(subtask, "run", lambda *_: None).outputs


@pytest.mark.slow
def test_an_output_without_room_fails_before_it_is_encoded(worker, clips, disk):
    """It names what is needed and what is free."""
    subtask = planned(worker, clips, *OUTPUTS["mp4"], estimate=100 * MB)
    ran: list[float] = []
    with pytest.raises(
        DiskFull, match=r"out/.*needs about 209\.7 MB on the disk of .*home.* which has .* free"
    ) as caught:
        worker.perform(subtask, "run", lambda done, _: ran.append(done))
    assert caught.value.hint
    assert ran == []
    assert leftovers(worker) == []


@pytest.mark.slow
def test_a_source_that_does_not_fit_is_named(worker, clips, disk):
    """Before it is copied, and while it is."""
    worker.buckets.get("inbox").publish(clips.video(3), "clip.mp4")
    fill(disk, leave=16 * 1024)
    with pytest.raises(DiskFull, match=r"the source has .* and the scratch disk of .* has .* free"):
        worker.fetch_source("inbox", "clip.mp4", None, "run")
    bucket = worker.buckets.get("inbox")
    with pytest.raises(DiskFull, match=r"cannot copy inbox/clip\.mp4: no space left on the disk of"):
        bucket.fetch("clip.mp4", worker.settings.scratch_dir / "run" / "copy")
    assert leftovers(worker) == []
