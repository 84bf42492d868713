"""Watermark pictures: temporary errors are retried, permanent ones refused, and only the planned picture is used."""

from __future__ import annotations

import tracemalloc

import pytest
from PIL import Image

from mps_dagster.errors import AttachmentChanged, InvalidConfiguration, StorageFailed, StorageRefused
from mps_dagster.storage.local import LocalBucket

SMALL = {"height": 90, "effort": "fast"}


def with_watermark(image: str, name: str = "w") -> dict:
    return {"name": name, "video_template": SMALL, "watermark_set": [{"image_template": {"image_content": image}}]}


@pytest.fixture
def logos(worker) -> LocalBucket:
    """A bucket with a red watermark."""
    bucket = worker.buckets.get("logos")
    publish_logo(bucket, "red.png", (255, 0, 0))
    return bucket


def publish_logo(bucket: LocalBucket, key: str, color: tuple[int, int, int], size: tuple[int, int] = (40, 20)) -> None:
    path = bucket.root.parent / "logo.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    bucket.publish(path, key)


def failing(error: Exception):
    def read(*_: object, **__: object) -> bytes:
        raise error

    return read


def test_a_temporary_error_during_break_down_is_retried(clips, upload, plan_task, logos, monkeypatch):
    """No output is refused; the next attempt plans them all."""
    source = upload(clips.video())
    monkeypatch.setattr(logos, "read", failing(StorageFailed("cannot read logos/red.png: timeout")))
    with pytest.raises(StorageFailed) as caught:
        plan_task(source, "transcode", with_watermark("logos/red.png"))
    assert caught.value.retryable
    monkeypatch.undo()
    assert plan_task(source, "transcode", with_watermark("logos/red.png"))[0].refusal is None


def test_a_temporary_error_while_fetching_a_watermark_is_retried(clips, upload, plan_task, worker, logos, monkeypatch):
    """By the subtask's attempts."""
    [subtask] = plan_task(upload(clips.video()), "transcode", with_watermark("logos/red.png"))
    monkeypatch.setattr(logos, "read", failing(StorageFailed("cannot read logos/red.png: timeout")))
    with pytest.raises(StorageFailed) as caught:
        worker.perform(subtask, "run", lambda *_: None)
    assert caught.value.retryable
    monkeypatch.undo()
    assert worker.perform(subtask, "run", lambda *_: None).main


@pytest.mark.parametrize(
    "error", [StorageRefused("cannot read logos/red.png: AccessDenied"), None], ids=["refused", "not there"]
)
def test_a_permanent_error_fails_only_its_output(clips, upload, plan_task, worker, logos, monkeypatch, error):
    """The other output succeeds."""
    if error:
        monkeypatch.setattr(logos, "read", failing(error))
    else:
        logos.delete("red.png")
    bad, good = plan_task(
        upload(clips.video()),
        "transcode",
        with_watermark("logos/red.png", "bad"),
        {"name": "good", "video_template": SMALL},
    )
    with pytest.raises(InvalidConfiguration, match=r"red\.png"):
        worker.perform(bad, "run", lambda *_: None)
    assert worker.perform(good, "run", lambda *_: None).main


@pytest.mark.parametrize("place", ["bucket", "templates"])
def test_a_watermark_that_was_replaced_after_the_plan_is_not_used(clips, upload, plan_task, worker, logos, place):
    """Its outputs would pass for those with the first picture. A new run plans with the new one."""
    if place == "templates":
        (worker.settings.templates_dir / "red.png").write_bytes(logos.read("red.png"))
    image = "logos/red.png" if place == "bucket" else "red.png"
    source = upload(clips.video())
    [subtask] = plan_task(source, "transcode", with_watermark(image))
    publish_logo(logos, "red.png", (0, 0, 255))
    (worker.settings.templates_dir / "red.png").write_bytes(logos.read("red.png"))
    with pytest.raises(AttachmentChanged, match=r"red\.png") as caught:
        worker.perform(subtask, "run", lambda *_: None)
    assert not caught.value.retryable
    [again] = plan_task(source, "transcode", with_watermark(image))
    assert again.fingerprint != subtask.fingerprint
    assert worker.perform(again, "run", lambda *_: None).main


@pytest.mark.parametrize("place", ["bucket", "templates"])
def test_a_huge_watermark_is_not_read_completely(clips, upload, plan_task, worker, logos, place):
    """It is refused at the limit."""
    path = logos.root / "red.png" if place == "bucket" else worker.settings.templates_dir / "red.png"
    with path.open("wb") as file:
        file.truncate(400 * 2**20)
    source = upload(clips.video())
    tracemalloc.start()
    [subtask] = plan_task(source, "transcode", with_watermark("logos/red.png" if place == "bucket" else "red.png"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than" in subtask.refusal.message
    assert peak < 50 * 2**20


def test_the_pictures_of_an_animated_watermark_count_together(clips, upload, plan_task, logos, worker):
    """A small file can hold very many, and all are in memory when it is rewritten."""
    frames = [Image.new("L", (2000, 2000), shade) for shade in range(40)]
    frames[0].save(logos.root / "red.png", save_all=True, append_images=frames[1:])
    [subtask] = plan_task(upload(clips.video()), "transcode", with_watermark("logos/red.png"))
    assert "2000 x 2000 in 40 pictures" in subtask.refusal.message
