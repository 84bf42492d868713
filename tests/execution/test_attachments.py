"""Watermark pictures: what can pass is tried again, what cannot is told, and the picture is the one that was planned with."""

from __future__ import annotations

import tracemalloc

import pytest
from PIL import Image

from mps_dagster.errors import AttachmentChanged, InvalidConfiguration, StorageFailed, StorageRefused
from mps_dagster.storage.local import LocalBucket

SMALL = {"height": 90, "effort": "fast"}


def marked(image: str, name: str = "w") -> dict:
    return {"name": name, "video_template": SMALL, "watermark_set": [{"image_template": {"image_content": image}}]}


@pytest.fixture
def logos(worker) -> LocalBucket:
    """A bucket of watermarks with a red one."""
    bucket = worker.buckets.get("logos")
    put(bucket, "red.png", (255, 0, 0))
    return bucket


def put(bucket: LocalBucket, key: str, color: tuple[int, int, int], size: tuple[int, int] = (40, 20)) -> None:
    path = bucket.root.parent / "logo.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    bucket.publish(path, key)


def fails(error: Exception):
    def read(*_: object, **__: object) -> bytes:
        raise error

    return read


def test_a_hiccup_while_a_task_is_broken_down_is_tried_again(clips, upload, planned, logos, monkeypatch):
    """It refuses no output; the next attempt plans them all."""
    source = upload(clips.video())
    monkeypatch.setattr(logos, "read", fails(StorageFailed("cannot read logos/red.png: timeout")))
    with pytest.raises(StorageFailed) as caught:
        planned(source, "transcode", marked("logos/red.png"))
    assert caught.value.retryable
    monkeypatch.undo()
    assert planned(source, "transcode", marked("logos/red.png"))[0].refusal is None


def test_a_hiccup_while_a_watermark_is_fetched_is_tried_again(clips, upload, planned, worker, logos, monkeypatch):
    """The subtask's own attempts do that."""
    [subtask] = planned(upload(clips.video()), "transcode", marked("logos/red.png"))
    monkeypatch.setattr(logos, "read", fails(StorageFailed("cannot read logos/red.png: timeout")))
    with pytest.raises(StorageFailed) as caught:
        worker.perform(subtask, "run", lambda *_: None)
    assert caught.value.retryable
    monkeypatch.undo()
    assert worker.perform(subtask, "run", lambda *_: None).main


@pytest.mark.parametrize(
    "error", [StorageRefused("cannot read logos/red.png: AccessDenied"), None], ids=["refused", "not there"]
)
def test_what_no_retry_mends_fails_its_output_alone(clips, upload, planned, worker, logos, monkeypatch, error):
    """The sibling is made."""
    if error:
        monkeypatch.setattr(logos, "read", fails(error))
    else:
        logos.delete("red.png")
    bad, good = planned(
        upload(clips.video()), "transcode", marked("logos/red.png", "bad"), {"name": "good", "video_template": SMALL}
    )
    with pytest.raises(InvalidConfiguration, match=r"red\.png"):
        worker.perform(bad, "run", lambda *_: None)
    assert worker.perform(good, "run", lambda *_: None).main


@pytest.mark.parametrize("place", ["bucket", "templates"])
def test_a_watermark_that_was_replaced_after_the_plan_is_not_used(clips, upload, planned, worker, logos, place):
    """Its outputs would stand for those with the first picture. A new run plans with the new one."""
    if place == "templates":
        (worker.settings.templates_dir / "red.png").write_bytes(logos.read("red.png"))
    image = "logos/red.png" if place == "bucket" else "red.png"
    source = upload(clips.video())
    [subtask] = planned(source, "transcode", marked(image))
    put(logos, "red.png", (0, 0, 255))
    (worker.settings.templates_dir / "red.png").write_bytes(logos.read("red.png"))
    with pytest.raises(AttachmentChanged, match=r"red\.png") as caught:
        worker.perform(subtask, "run", lambda *_: None)
    assert not caught.value.retryable
    [again] = planned(source, "transcode", marked(image))
    assert again.fingerprint != subtask.fingerprint
    assert worker.perform(again, "run", lambda *_: None).main


@pytest.mark.parametrize("place", ["bucket", "templates"])
def test_a_huge_watermark_is_not_read_whole(clips, upload, planned, worker, logos, place):
    """It is refused at its limit, whatever lies there."""
    path = logos.root / "red.png" if place == "bucket" else worker.settings.templates_dir / "red.png"
    with path.open("wb") as file:
        file.truncate(400 * 2**20)
    source = upload(clips.video())
    tracemalloc.start()
    [subtask] = planned(source, "transcode", marked("logos/red.png" if place == "bucket" else "red.png"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than" in subtask.refusal.message
    assert peak < 50 * 2**20


def test_a_moving_watermark_s_pictures_count_together(clips, upload, planned, logos, worker):
    """A small file can hold very many of them, and all are in memory when it is written anew."""
    frames = [Image.new("L", (2000, 2000), shade) for shade in range(40)]
    frames[0].save(logos.root / "red.png", save_all=True, append_images=frames[1:])
    [subtask] = planned(upload(clips.video()), "transcode", marked("logos/red.png"))
    assert "2000 x 2000 in 40 pictures" in subtask.refusal.message
