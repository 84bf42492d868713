"""What every bucket promises (storage/bucket.py), held against a folder, an S3 server and the fake alike."""

from __future__ import annotations

import itertools
import os
import threading

import pytest

from mps_dagster.errors import InvalidConfiguration, SourceChanged, SourceNotAccessible
from mps_dagster.storage import s3 as s3_module

ODD_KEYS = [
    "a b.mp4", "-y.mp4", "100%.mp4", "a#b?c&d=e+f.mp4", "it's \"q\".mp4", "line\nbreak.mp4", "影片/小电影.mp4", "🎬.mp4",
    "a..b/c...d.mp4", "%03d.jpg", "a:b.mp4", "$(id).mp4", "trailing .mp4", "Clip.mp4", "clip.mp4", "clip.MP4",
]  # fmt: skip


def test_what_was_published_is_there(bucket, tmp_path):
    """Content, size and etag are of the file."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    info = bucket.publish(path, "a/b.mp4")
    assert (info.key, info.size) == ("a/b.mp4", 7)
    assert bucket.head("a/b.mp4").etag == info.etag
    assert bucket.read("a/b.mp4") == b"content"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_name_that_people_give_files_works(bucket, tmp_path, key):
    """Spaces, quotes, dashes, percent, newlines, emoji, case: a key is never a pattern, an option or an address."""
    if "\n" in key and "s3" in bucket.name:
        pytest.skip("the moto server has no route for a key with a newline")
    bucket.write(key, b"x")
    bucket.fetch(key, tmp_path / "copy")
    assert [info.key for info in bucket.list()] == [key]
    assert (tmp_path / "copy").read_bytes() == b"x"


def test_names_that_differ_in_case_only_are_two_objects(bucket):
    """Where the file system can tell them apart."""
    bucket.write("Clip.mp4", b"1")
    bucket.write("clip.mp4", b"2")
    if bucket.read("Clip.mp4") == b"2":
        pytest.skip("this file system does not tell case apart")
    assert [info.key for info in bucket.list()] == ["Clip.mp4", "clip.mp4"]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "./a", "a/.", "a\0b", "x" * 1025])
def test_a_key_that_no_bucket_can_hold_is_refused(bucket, key):
    """Above all one that would leave the bucket."""
    for call in (bucket.head, bucket.read, bucket.delete, lambda key: bucket.write(key, b"")):
        with pytest.raises(InvalidConfiguration, match="no object key"):
            call(key)


def test_a_listing_is_by_prefix_and_in_key_order(bucket):
    """A prefix is text, not a folder; keys come in the order of their characters."""
    for key in ("in/b.mp4", "in/a/z.mp4", "in-2/a.mp4", "in/a.mp4", "out/a.mp4"):
        bucket.write(key, b"x")
    assert [info.key for info in bucket.list("in/")] == ["in/a.mp4", "in/a/z.mp4", "in/b.mp4"]
    assert [info.key for info in bucket.list("in")] == ["in-2/a.mp4", "in/a.mp4", "in/a/z.mp4", "in/b.mp4"]
    assert list(bucket.list("none/")) == []


def test_more_objects_than_a_page_are_all_listed(bucket):
    """S3 answers a thousand at a time."""
    if "s3" not in bucket.name:
        pytest.skip("only S3 has pages")
    for number in range(1005):
        bucket.write(f"{number:04d}", b"")
    assert sum(1 for _ in bucket.list()) == 1005


def test_a_missing_object_is_told(bucket, tmp_path):
    """And nothing is left where it should have gone."""
    for call in (bucket.head, bucket.read, lambda key: bucket.fetch(key, tmp_path / "copy")):
        with pytest.raises(SourceNotAccessible, match=r"none\.mp4"):
            call("none.mp4")
    assert not list(tmp_path.glob("copy*"))


def test_new_content_has_a_new_etag(bucket):
    """Of the same size, too."""
    first = bucket.write("a.mp4", b"one").etag
    assert bucket.write("a.mp4", b"two").etag != first


def test_an_object_that_was_replaced_is_not_fetched_for_the_old_one(bucket, tmp_path):
    """The run is of what was announced, or fails saying so."""
    announced = bucket.write("a.mp4", b"one").etag
    bucket.write("a.mp4", b"two")
    with pytest.raises(SourceChanged):
        bucket.fetch("a.mp4", tmp_path / "copy", etag=announced)
    assert not (tmp_path / "copy").exists()


def test_readers_never_see_a_part(bucket, tmp_path):
    """While one object is replaced again and again, every read is one of the versions, whole."""
    versions = [bytes([value]) * 200_000 for value in (1, 2)]
    paths = []
    for number, content in enumerate(versions):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(content)
    bucket.publish(paths[0], "a.bin")
    stop = threading.Event()

    def replace() -> None:
        for path in itertools.cycle(paths):
            bucket.publish(path, "a.bin")
            if stop.is_set():
                return

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        assert all(bucket.read("a.bin") in versions for _ in range(30))
    finally:
        stop.set()
        writer.join()


def test_a_publish_that_fails_leaves_the_old_object(bucket, tmp_path):
    """And no draft beside it."""
    bucket.write("dir/a.mp4", b"old")
    with pytest.raises((OSError, Exception)):
        bucket.publish(tmp_path / "missing", "dir/a.mp4")
    assert bucket.read("dir/a.mp4") == b"old"
    assert [info.key for info in bucket.list()] == ["dir/a.mp4"]


def test_a_deleted_object_is_gone(bucket):
    """Deleting it again is no error."""
    bucket.write("a.mp4", b"x")
    bucket.delete("a.mp4")
    bucket.delete("a.mp4")
    assert list(bucket.list()) == []


def test_a_large_object_survives_in_parts(bucket, tmp_path, monkeypatch):
    """S3 takes and gives it in parts; every byte arrives."""
    small = s3_module.TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
    monkeypatch.setattr(s3_module, "TRANSFER", small)
    content = os.urandom(11 * 2**20)
    (tmp_path / "big").write_bytes(content)
    info = bucket.publish(tmp_path / "big", "big.bin")
    bucket.fetch("big.bin", tmp_path / "copy", etag=info.etag)
    assert (tmp_path / "copy").read_bytes() == content
