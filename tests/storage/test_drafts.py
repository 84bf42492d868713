"""What is being written is not there before it is whole, and not after its writer was killed."""

from __future__ import annotations

import os
import stat

import pytest

from mps_dagster.storage import drafts
from mps_dagster.storage.drafts import draft_of, write_whole
from mps_dagster.storage.local import LocalBucket


@pytest.fixture(params=["nameless", "named"])
def kind(request, monkeypatch):
    """Also a disk that cannot have files without a name."""
    if request.param == "named":
        monkeypatch.setattr(drafts, "_nameless", lambda _: None)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("files without a name are Linux's")


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_draft_replaces_its_target_and_nothing_else_is_left(tmp_path, kind, before):
    target = tmp_path / "output"
    if before is not None:
        target.write_bytes(before)
    with draft_of(target) as draft:
        draft.path.write_bytes(b"new")
        assert (target.read_bytes() if target.exists() else None) == before
        draft.replace(target)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_a_draft_that_is_given_up_leaves_nothing(tmp_path, kind):
    with draft_of(tmp_path / "output") as draft:
        draft.path.write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_replaced_leaves_nothing(tmp_path, kind):
    (tmp_path / "output").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "output", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_a_writer_that_is_killed_leaves_nothing(tmp_path):
    """Nobody would remove it: only its writer knows that it is no longer written."""
    bucket = LocalBucket("outputs", tmp_path / "outputs", settle_s=0)
    bucket.write("a/clip.mp4", b"old")
    if not (pid := os.fork()):
        # Killed in the middle of the copy.
        with draft_of(bucket.root / "a/clip.mp4") as draft:
            draft.path.write_bytes(b"half of the n")
            os.kill(os.getpid(), 9)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == 9
    assert bucket.read("a/clip.mp4") == b"old"
    assert [path.name for path in (bucket.root / "a").iterdir()] == ["clip.mp4"]
