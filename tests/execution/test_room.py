"""Room that subtasks on one host reserve."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mps_dagster.errors import DiskFull
from mps_dagster.execution import room
from mps_dagster.execution.room import Needs, Room
from mps_dagster.execution.staging import RESERVATIONS, sweep, work_folder

GB = 10**9


@pytest.fixture
def disk(tmp_path, monkeypatch) -> dict[str, int]:
    """A disk whose free space a test sets."""
    space = {"free": 10 * GB}

    class Usage:
        @property
        def free(self) -> int:
            return space["free"]

    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage())
    monkeypatch.setattr(room, "POLL_S", 0.01)
    return space


def needs(scratch: Path, count: int) -> Needs:
    device = scratch.stat().st_dev
    return Needs({device: count}, {device: scratch})


def test_two_that_fit_run_together(tmp_path, disk):
    """Nobody waits while there is room for all."""
    scratch = Room(tmp_path, wait_s=0)
    with (
        work_folder(tmp_path / "run", "a") as a,
        work_folder(tmp_path / "run", "b") as b,
        scratch.reserved("a", needs(tmp_path, 6 * GB), a),
        scratch.reserved("b", needs(tmp_path, 4 * GB), b),
    ):
        pass


def test_one_that_does_not_fit_is_refused_at_once(tmp_path, disk):
    """Even alone on the disk."""
    with (
        work_folder(tmp_path / "run", "a") as a,
        pytest.raises(DiskFull, match=r"a needs about 11\.0 GB on the disk of .* which has 10\.0 GB free"),
        Room(tmp_path, wait_s=100).reserved("a", needs(tmp_path, 11 * GB), a),
    ):
        pass


def test_one_that_would_fit_later_waits(tmp_path, disk):
    """Both would fail in the middle of their work otherwise."""
    scratch, order = Room(tmp_path, wait_s=60), list[str]()

    def second() -> None:
        with work_folder(tmp_path / "run", "b") as b, scratch.reserved("b", needs(tmp_path, 6 * GB), b):
            order.append("b runs")

    with work_folder(tmp_path / "run", "a") as a, scratch.reserved("a", needs(tmp_path, 6 * GB), a):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("a ends")
    thread.join(30)
    assert order == ["a ends", "b runs"]


def test_waiting_ends(tmp_path, disk):
    """With the reason."""
    scratch = Room(tmp_path, wait_s=0.05)
    with (
        work_folder(tmp_path / "run", "a") as a,
        work_folder(tmp_path / "run", "b") as b,
        scratch.reserved("a", needs(tmp_path, 6 * GB), a),
        pytest.raises(DiskFull, match="b needs about"),
        scratch.reserved("b", needs(tmp_path, 6 * GB), b),
    ):
        pass


def test_what_others_have_written_is_expected_back(tmp_path, disk):
    """Work folders are removed: a disk that is full of them is no reason to fail, only to wait."""
    scratch = Room(tmp_path, wait_s=0.05)
    with work_folder(tmp_path / "run", "a") as a, work_folder(tmp_path / "run", "b") as b:
        (a / "out.mp4").write_bytes(b"")
        os.truncate(a / "out.mp4", 5 * GB)
        with scratch.reserved("a", needs(tmp_path, 5 * GB), a):
            disk["free"] = 5 * GB
            # All that was reserved is written, so the rest is for others.
            with scratch.reserved("b", needs(tmp_path, 5 * GB), b):
                pass
            disk["free"] = 3 * GB
            waiting = scratch.reserved("b", needs(tmp_path, 6 * GB), b)
            with pytest.raises(DiskFull), waiting:
                pass
        disk["free"] = 8 * GB
        with scratch.reserved("b", needs(tmp_path, 6 * GB), b):
            pass


def test_a_reservation_ends_with_its_process(tmp_path, disk):
    """A killed worker cannot take its file away."""
    with work_folder(tmp_path / "run", "a") as a:
        left = tmp_path / RESERVATIONS / "run.dead"
        left.parent.mkdir()
        left.write_text(f'{{"folder": "{a}", "bytes": {{"{tmp_path.stat().st_dev}": {9 * GB}}}}}')
        with Room(tmp_path, wait_s=0).reserved("a", needs(tmp_path, 9 * GB), a):
            assert not left.exists()


def test_an_output_of_unknown_size_never_waits(tmp_path, disk):
    """A task type without an estimate."""
    disk["free"] = 0
    with work_folder(tmp_path / "run", "a") as a, Room(tmp_path, wait_s=0).reserved("a", needs(tmp_path, 0), a):
        pass


def test_reservations_are_no_scratch_of_a_run(tmp_path):
    """The sweep would take what running subtasks hold."""
    (tmp_path / RESERVATIONS).mkdir()
    assert sweep(tmp_path, {RESERVATIONS}) == []
