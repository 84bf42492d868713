"""What is a folder's own."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from mps_dagster.errors import InvalidConfiguration, SourceNotAccessible, StorageFailed, StorageRefused
from mps_dagster.storage.local import LocalBucket


def test_a_folder_that_is_not_there_is_not_an_empty_bucket(tmp_path):
    """A mount that is missing must not look like "no uploads"."""
    with pytest.raises(StorageFailed, match="mkdir"):
        list(LocalBucket("inbox", tmp_path / "none", settle_s=0).list())


def test_hidden_files_are_no_objects(local_bucket):
    """rsync, browsers and we ourselves write drafts under hidden names."""
    (local_bucket.root / ".clip.mp4.Xy12").write_bytes(b"part")
    (local_bucket.root / ".folder").mkdir()
    (local_bucket.root / ".folder" / "a.mp4").write_bytes(b"x")
    assert list(local_bucket.list()) == []


def test_a_link_that_leaves_the_bucket_is_not_followed(local_bucket, tmp_path):
    """Neither to a file nor to a folder."""
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mp4").write_bytes(b"secret")
    (local_bucket.root / "a.mp4").symlink_to(tmp_path / "secret.mp4")
    (local_bucket.root / "dir").symlink_to(tmp_path / "elsewhere")
    assert list(local_bucket.list()) == []
    for key in ("a.mp4", "dir/b.mp4"):
        for call in (local_bucket.head, local_bucket.read, lambda key: local_bucket.fetch(key, tmp_path / "copy")):
            with pytest.raises(SourceNotAccessible):
                call(key)


def test_nothing_is_written_through_a_link_out_of_the_bucket(local_bucket, tmp_path):
    """A linked folder is refused; a linked object is replaced by the new one, and what it pointed to stands."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.mp4").write_bytes(b"theirs")
    (local_bucket.root / "dir").symlink_to(elsewhere)
    (local_bucket.root / "a.mp4").symlink_to(elsewhere / "a.mp4")
    for call in (lambda: local_bucket.write("dir/a.mp4", b"ours"), lambda: local_bucket.delete("dir/a.mp4")):
        with pytest.raises(InvalidConfiguration, match="leads out of the bucket"):
            call()
    local_bucket.write("a.mp4", b"ours")
    assert local_bucket.read("a.mp4") == b"ours"
    assert (elsewhere / "a.mp4").read_bytes() == b"theirs"


def test_one_bad_entry_does_not_spoil_the_listing(local_bucket):
    """A link to itself, a link to nothing, a path that is too long: the others are listed."""
    local_bucket.write("good.mp4", b"x")
    (local_bucket.root / "loop.mp4").symlink_to("loop.mp4")
    (local_bucket.root / "nothing.mp4").symlink_to("none")
    (local_bucket.root / "/".join(["d" * 250] * 5)).mkdir(parents=True)
    assert [info.key for info in local_bucket.list()] == ["good.mp4"]


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_looking_at_a_file_while_others_open_it_is_safe(local_bucket):
    """The kernel signals who holds a lease when somebody writes; its default signal would end this process."""
    path = local_bucket.root / "a.mp4"
    path.write_bytes(b"x")
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            with path.open("ab") as file:
                file.write(b"x")

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(3000):
            local_bucket.head("a.mp4")
    finally:
        stop.set()
        writer.join()


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_a_file_that_is_open_for_writing_is_not_settled(local_bucket):
    """However long ago its writer last wrote."""
    with (local_bucket.root / "a.mp4").open("wb") as file:
        file.write(b"part")
        file.flush()
        assert not local_bucket.head("a.mp4").settled
    assert local_bucket.head("a.mp4").settled


def test_a_file_that_was_touched_just_now_is_not_settled(tmp_path):
    """A writer may open it anew for each piece. Moved in with an old time stamp counts as touched."""
    bucket = LocalBucket("inbox", tmp_path, settle_s=60)
    bucket.write("a.mp4", b"x")
    os.utime(tmp_path / "a.mp4", (0, 0))
    assert not bucket.head("a.mp4").settled


def test_a_name_that_is_too_long_is_a_clear_error(local_bucket):
    """Not a storage failure that would be tried again."""
    with pytest.raises(InvalidConfiguration, match="255 bytes"):
        local_bucket.write("x" * 300, b"")


def test_a_file_in_the_way_is_a_clear_error(local_bucket):
    """S3 can hold `a` and `a/b`; a folder cannot."""
    local_bucket.write("a", b"x")
    with pytest.raises(InvalidConfiguration, match="is a file"):
        local_bucket.write("a/b", b"x")


def test_a_backup_that_is_put_back_is_what_it_was(local_bucket, tmp_path):
    """Uploads have their etags and outputs their marks, as long as the times come back too."""
    local_bucket.write("in/a.mp4", b"x")
    local_bucket.write("out/a.mp4", b"y", record="_mps/records/1")
    before = [local_bucket.head(key) for key in ("in/a.mp4", "out/a.mp4")]
    shutil.copytree(local_bucket.root, tmp_path / "restored")
    restored = LocalBucket("inbox", tmp_path / "restored", settle_s=0)
    after = [restored.head(key) for key in ("in/a.mp4", "out/a.mp4")]
    assert [(info.etag, info.record) for info in after] == [(info.etag, info.record) for info in before]


def test_an_output_that_was_not_replaced_after_all_is_still_ours(local_bucket, monkeypatch):
    """Whoever is killed has marked the new one already; else the old one would be taken for an upload."""
    local_bucket.write("out/a.mp4", b"old", record="_mps/records/1")

    replace = Path.replace

    def killed(self, target):
        if target.name == "a.mp4":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    for content in (b"new one", b"newer one"):
        with pytest.raises(KeyboardInterrupt):
            local_bucket.write("out/a.mp4", content, record="_mps/records/2")
        assert local_bucket.head("out/a.mp4").record == "_mps/records/1"
    monkeypatch.undo()
    assert local_bucket.write("out/a.mp4", b"new one", record="_mps/records/2").record == "_mps/records/2"


def test_a_folder_that_may_not_be_read_is_left_out_and_reported(local_bucket, monkeypatch):
    """Such as lost+found of a disk of its own; but what is to be listed must be readable, or it would look empty."""
    for key in ("in/a.mp4", "in/lost+found/x.mp4", "in/z.mp4"):
        local_bucket.write(key, b"x")
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    told: list[str] = []
    assert [info.key for info in local_bucket.list("in/", left_out=told.append)] == ["in/a.mp4", "in/z.mp4"]
    assert len(told) == 1
    assert "in/lost+found/" in told[0]
    with pytest.raises(StorageRefused, match="let user"):
        list(local_bucket.list("in/lost+found/"))


def test_a_file_that_may_not_be_read_is_left_out_and_reported(local_bucket, monkeypatch):
    """In a folder that may be listed and no more."""
    for key in ("a.mp4", "b.mp4"):
        local_bucket.write(key, b"x")
    info = local_bucket._info

    def guarded(key, path):
        if key == "a.mp4":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return info(key, path)

    monkeypatch.setattr(local_bucket, "_info", guarded)
    told: list[str] = []
    assert [info.key for info in local_bucket.list(left_out=told.append)] == ["b.mp4"]
    assert len(told) == 1


def test_names_that_are_no_utf8_are_left_out(local_bucket, caplog):
    """No database could hold them; the log says so."""
    try:
        (local_bucket.root / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert list(local_bucket.list()) == []
    assert "UTF-8" in caplog.text


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_takes_no_swap_and_says_what_mends_it(local_bucket, monkeypatch, code):
    """Two uploads at once would both be told that the path is theirs."""

    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StorageFailed) as failed:
        local_bucket.swap("_mps/records/a.json", None, b"mine")
    assert "file locks" in failed.value.hint
    assert list(local_bucket.list()) == []
