"""What every bucket promises (storage/bucket.py), held against a folder, an S3 server and the fake alike."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, SourceChanged, SourceNotAccessible

ODD_KEYS = [
    "a b.mp4", "-y.mp4", "100%.mp4", "a#b?c&d=e+f.mp4", "it's \"q\".mp4", "line\nbreak.mp4", "影片/小电影.mp4", "🎬.mp4",
    "a..b/c...d.mp4", "%03d.jpg", "a:b.mp4", "$(id).mp4", "trailing .mp4", "trailing ", " leading", "a..%2fb", "a%20b+c",
    "~$.tmp", "back\\slash", "سلام.mp4", "*?[a].mp4", "影" * 85, "a/" * 100 + "a",
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
    if "\n" in key and "://" in bucket.name:
        pytest.skip("the moto server has no route for a key with a newline")
    bucket.write(key, b"x")
    bucket.fetch(key, tmp_path / "copy")
    assert [info.key for info in bucket.list()] == [key]
    assert (tmp_path / "copy").read_bytes() == b"x"


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(["Clip.mp4", "clip.mp4"], id="case"),
        pytest.param(["cafe\u0301.mp4", "caf\u00e9.mp4"], id="composed and decomposed"),
        pytest.param(["a%20b", "a b"], id="escaped and not"),
    ],
)
def test_names_that_look_alike_are_two_objects(bucket, keys):
    """Where the file system can tell them apart."""
    bucket.write(keys[0], b"1")
    bucket.write(keys[1], b"2")
    if bucket.read(keys[0]) == b"2":
        pytest.skip("this file system does not tell them apart")
    assert [info.key for info in bucket.list()] == sorted(keys)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a//b", "a/", "../a", "a/../b", "./a", "a/.", "a\0b", "x" * 1025, "é" * 513, "\udcff.mp4", "\ud800"],
)
def test_a_key_that_no_bucket_can_hold_is_refused(bucket, key, tmp_path):
    """Above all one that would leave the bucket."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    writers = (lambda key: bucket.write(key, b""), lambda key: bucket.publish(file, key))
    for call in (bucket.head, bucket.read, bucket.delete, lambda key: bucket.fetch(key, tmp_path / "copy"), *writers):
        with pytest.raises(InvalidConfiguration, match="no object key"):
            call(key)


def test_a_listing_is_by_prefix_and_in_key_order(bucket):
    """A prefix is text, not a folder; keys come in the order of their characters, and `-` and `.` are before `/`."""
    for key in ("in/b.mp4", "in/a/z.mp4", "in-2/a.mp4", "in/a.mp4", "in.mp4", "in/a-b.mp4", "out/a.mp4"):
        bucket.write(key, b"x")
    inside = ["in/a-b.mp4", "in/a.mp4", "in/a/z.mp4", "in/b.mp4"]
    assert [info.key for info in bucket.list("in/")] == inside
    assert [info.key for info in bucket.list("in")] == ["in-2/a.mp4", "in.mp4", *inside]
    assert [info.key for info in bucket.list("in/a/")] == ["in/a/z.mp4"]
    assert list(bucket.list("none/")) == []


def test_a_listing_goes_on_behind_any_key(bucket):
    """Also behind one that is not there (any more), and inside a folder."""
    keys = ["a-b.mp4", "a/b/c.mp4", "a/b/d.mp4", "a/c.mp4", "a0.mp4", "b.mp4"]
    for key in keys:
        bucket.write(key, b"x")
    for after in ("", *keys, "a", "a/", "a/b", "a/b/", "a/b/cc.mp4", "a/z", "zz"):
        assert [info.key for info in bucket.list(after=after)] == [key for key in keys if key > after], after
    assert [info.key for info in bucket.list("a/", after="a/b/c.mp4")] == ["a/b/d.mp4", "a/c.mp4"]


def test_an_output_is_known_by_its_record_until_it_is_replaced(bucket, tmp_path):
    """An upload to the same key is an upload, and so is a copy of an output elsewhere."""
    (tmp_path / "file").write_bytes(b"x")
    assert bucket.publish(tmp_path / "file", "out/a.mp4", record="_mps/records/1").record == "_mps/records/1"
    assert bucket.write("out/a.vtt", b"x", record="_mps/records/1").record == "_mps/records/1"
    assert bucket.head("out/a.mp4").record == "_mps/records/1"
    assert [info.key for info in bucket.list()] == ["out/a.mp4", "out/a.vtt"]
    bucket.write("out/a.mp4", b"an upload")
    assert bucket.head("out/a.mp4").record == ""


def test_key_order_is_that_of_utf8(bucket):
    """And so of code points: not of a locale, and not of UTF-16, which puts an emoji before a full-width tilde."""
    keys = ["Z.mp4", "a.mp4", "é.mp4", "影.mp4", "\uff5e.mp4", "🎬.mp4"]
    for key in reversed(keys):
        bucket.write(key, b"")
    assert [info.key for info in bucket.list()] == keys


def test_a_listing_tells_of_each_object_what_a_look_at_it_tells(bucket):
    """So that an etag from a listing can be asked for."""
    bucket.write("a.mp4", b"content")
    [listed] = bucket.list()
    looked_at = bucket.head("a.mp4")
    assert (listed.size, listed.etag, listed.settled) == (7, looked_at.etag, True)
    # Over HTTP a header has whole seconds.
    assert abs(listed.modified - looked_at.modified) < timedelta(seconds=1)
    assert abs(datetime.now(UTC) - listed.modified) < timedelta(minutes=1)


def test_of_an_object_no_more_is_read_than_is_asked_for(bucket):
    """It is not known before how much somebody has put there."""
    bucket.write("a.png", b"12345")
    assert bucket.read("a.png", max_bytes=5) == b"12345"
    with pytest.raises(ContentUnsupported, match=r"a\.png has more than the 4 bytes"):
        bucket.read("a.png", max_bytes=4)


@pytest.mark.parametrize(
    ("start", "length", "content"),
    [(0, None, b"0123456789"), (3, 4, b"3456"), (0, 1, b"0"), (7, None, b"789"), (8, 100, b"89")],
)
def test_any_part_of_an_object_can_be_streamed(bucket, start, length, content):
    """It comes as it is read."""
    etag = bucket.write("a.mp4", b"0123456789").etag
    assert b"".join(bucket.stream("a.mp4", start=start, length=length)) == content
    assert b"".join(bucket.stream("a.mp4", start=start, length=length, etag=etag)) == content


def test_an_object_that_cannot_be_streamed_raises_before_the_first_chunk(bucket):
    """So that who passes it on has not said yet that it went well."""
    etag = bucket.write("a.mp4", b"0123456789").etag
    bucket.write("a.mp4", b"another")
    with pytest.raises(SourceChanged, match=r"a\.mp4"):
        bucket.stream("a.mp4", etag=etag)
    with pytest.raises(SourceNotAccessible):
        bucket.stream("none.mp4")


def test_a_missing_object_is_reported(bucket, tmp_path):
    """By its key; and nothing is left where it should have gone."""
    bucket.write("a.mp4", b"x")
    fetch = [
        lambda key: bucket.fetch(key, tmp_path / "to" / "copy"),
        lambda key: bucket.fetch(key, tmp_path / "to" / "copy", etag="e"),
    ]
    (tmp_path / "to").mkdir()
    for call in (bucket.head, bucket.read, *fetch):
        for key in ("none.mp4", "a.mp4/none.mp4"):
            with pytest.raises(SourceNotAccessible, match=r"none\.mp4"):
                call(key)
    assert list((tmp_path / "to").iterdir()) == []


def test_new_content_has_a_new_etag(bucket):
    """Of the same size, too."""
    first = bucket.write("a.mp4", b"one").etag
    assert bucket.write("a.mp4", b"two").etag != first


def test_an_object_that_was_replaced_is_not_fetched_for_the_old_one(bucket, tmp_path):
    """The run is of what was announced, or fails saying so."""
    announced = bucket.write("a.mp4", b"one").etag
    bucket.write("a.mp4", b"two")
    to = tmp_path / "to"
    to.mkdir()
    (to / "copy").write_bytes(b"earlier")
    with pytest.raises(SourceChanged, match=r"a\.mp4"):
        bucket.fetch("a.mp4", to / "copy", etag=announced)
    assert [(path.name, path.read_bytes()) for path in to.iterdir()] == [("copy", b"earlier")]


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


def test_a_file_that_the_caller_does_not_have_is_no_fault_of_the_bucket(bucket, tmp_path):
    """It is a plain OSError, which no one tries again, and the old object stands."""
    bucket.write("dir/a.mp4", b"old")
    with pytest.raises(FileNotFoundError, match="missing"):
        bucket.publish(tmp_path / "missing", "dir/a.mp4")
    with pytest.raises(FileNotFoundError):
        bucket.fetch("dir/a.mp4", tmp_path / "no folder" / "copy")
    assert bucket.read("dir/a.mp4") == b"old"


def test_what_replaces_an_object_replaces_all_of_it(bucket, tmp_path):
    """Also if it is shorter; `write` and `publish` are two ways to one thing."""
    bucket.write("a.mp4", b"long content")
    (tmp_path / "file").write_bytes(b"short")
    bucket.publish(tmp_path / "file", "a.mp4")
    assert bucket.read("a.mp4") == b"short"
    bucket.write("a.mp4", b"")
    assert (bucket.read("a.mp4"), bucket.head("a.mp4").size) == (b"", 0)
    assert [info.key for info in bucket.list()] == ["a.mp4"]


def test_a_deleted_object_is_gone(bucket):
    """Deleting it again is no error; nor is deleting what never was an object."""
    bucket.write("a.mp4", b"x")
    bucket.write("dir/a.mp4", b"x")
    for key in ("a.mp4", "a.mp4", "none", "a.mp4/b", "dir", "dir/a.mp4"):
        bucket.delete(key)
    assert list(bucket.list()) == []


def test_a_swap_happens_only_if_the_content_is_as_expected(bucket):
    """Nothing is a state like any other; what stands already counts as put, because an answer may be lost."""
    assert not bucket.swap("a.json", b"0", b"1")
    assert bucket.swap("a.json", None, b"1")
    assert not bucket.swap("a.json", None, b"2")
    assert not bucket.swap("a.json", b"0", b"2")
    assert bucket.read("a.json") == b"1"
    assert bucket.swap("a.json", None, b"1")
    assert bucket.swap("a.json", b"1", b"2")
    assert not bucket.swap("a.json", b"1", b"3")
    assert bucket.read("a.json") == b"2"
    bucket.delete("a.json")
    assert not bucket.swap("a.json", b"2", b"3")
    assert bucket.swap("a.json", None, b"4")


@pytest.mark.parametrize("old", [None, b"old"], ids=["where nothing is", "where something is"])
def test_of_many_swaps_at_once_one_is_made(bucket, old):
    """And every one of the callers is told the truth, in every round."""
    for number in range(3):
        key = f"{number}.json"
        if old:
            bucket.write(key, old)
        with ThreadPoolExecutor(8) as pool:
            together = threading.Barrier(8)

            def swap(content: bytes, key: str = key, together: threading.Barrier = together) -> bool:
                together.wait()
                return bucket.swap(key, old, content)

            contents = [f"of {caller}".encode() for caller in range(8)]
            told = list(pool.map(swap, contents))
        assert [content for content, won in zip(contents, told, strict=True) if won] == [bucket.read(key)]


def test_a_large_object_survives_in_parts(bucket, tmp_path):
    """S3 takes and gives it in parts; every byte arrives."""
    content = os.urandom(11 * 2**20)
    (tmp_path / "big").write_bytes(content)
    info = bucket.publish(tmp_path / "big", "big.bin")
    bucket.fetch("big.bin", tmp_path / "copy", etag=info.etag)
    assert (tmp_path / "copy").read_bytes() == content
