"""When the daemon's loops rest and what ends that, with times of the test's own."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import pytest

from mps_dagster.orchestration import internals
from mps_dagster.orchestration.folder_watch import FolderWatch
from mps_dagster.orchestration.rhythm import FOLDER, RESTS, RestingSensors
from mps_dagster.orchestration.wakes import QUEUE, Wakes, listen, wake
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


def sensor(**tags: str) -> SimpleNamespace:
    return SimpleNamespace(name="uploads_inbox", tags=tags, min_interval_seconds=3)


LOCAL, REMOTE = {RESTS: "15", FOLDER: "inbox"}, {}


@pytest.mark.parametrize(
    ("tags", "elapsed_s", "woken_ago_s", "watched", "ticks"),
    [
        pytest.param(LOCAL, 4, None, True, False, id="nothing happened"),
        pytest.param(LOCAL, 16, None, True, True, id="it has rested"),
        pytest.param(LOCAL, 4, 0.5, True, True, id="woken"),
        pytest.param(LOCAL, 4, 5, True, False, id="woken before its last tick"),
        pytest.param(LOCAL, 0.5, 0.1, True, False, id="woken all the time"),
        pytest.param(LOCAL, 4, None, False, True, id="a folder that cannot be watched is polled"),
        pytest.param(REMOTE, 4, None, True, True, id="a bucket of which nothing tells is polled"),
        pytest.param(REMOTE, 2, None, True, False, id="not more often than its interval"),
    ],
)
def test_a_sensor_ticks_when_it_is_woken_or_has_rested(wakes, tags, elapsed_s, woken_ago_s, watched, ticks):
    """By its tags, its last tick and its last wake."""
    sensors = RestingSensors({}, wakes, lambda *_: watched)
    if woken_ago_s is not None:
        wakes.add("uploads_inbox", time.time() - woken_ago_s)
    assert sensors._rests(sensor(**tags), elapsed_s) is not ticks


def test_a_wake_in_the_future_counts_when_its_time_has_come(wakes):
    """An upload is taken when it has settled."""
    now = time.time()
    wakes.add("uploads_inbox", now + 1000)
    assert not wakes.is_due("uploads_inbox", now - 1)
    wakes.add("uploads_inbox", now)
    assert wakes.is_due("uploads_inbox", now - 1)
    assert not wakes.is_due("uploads_inbox", now)
    assert wakes.wait(0.0) is False


def test_wakes_of_a_sensor_that_never_ticks_are_forgotten(wakes):
    """One that is switched off, while uploads go on."""
    long_ago = time.time() - 1000
    for number in range(5):
        wakes.add("uploads_inbox", long_ago + number)
    assert len(wakes._times["uploads_inbox"]) == 1


def test_sensors_and_the_queue_are_woken_by_themselves(wakes):
    """Each loop only by what concerns it."""
    wakes.add(QUEUE, time.time())
    assert wakes.wait(0.01) is False
    assert wakes.wait(20, QUEUE) is True
    wakes.add("uploads_inbox", time.time())
    assert wakes.wait(20) is True


def test_a_wake_reaches_the_daemon_of_a_home_with_a_long_path(wakes, tmp_path):
    """A socket's address has 107 bytes at most. Where there is no daemon, nothing happens."""
    home = tmp_path / ("h" * 120)
    home.mkdir()
    wake(home, "uploads_inbox")
    listen(home, wakes)
    wake(home, "uploads_inbox")
    assert wakes.wait(20) is True
    wake(tmp_path / "none", "uploads_inbox")


def test_dagster_s_own_intervals_come_back(wakes):
    """Other code of the process sees Dagster as it is."""
    original = internals._sensor_loop.is_under_min_interval
    with internals.sensor_intervals(lambda *_: True):
        assert internals._sensor_loop.is_under_min_interval is not original
    assert internals._sensor_loop.is_under_min_interval is original


class Folder:
    """A watched bucket, and when its sensor is woken."""

    def __init__(self, home) -> None:
        self.wakes = Wakes()
        self.settings = Settings(home=home, settle_s=100)
        self.path = self.settings.buckets_dir / "inbox"
        self.path.mkdir(parents=True)
        self.watch = FolderWatch(self.settings, self.wakes)
        assert self.watch("inbox", "uploads_inbox")

    def woken_at(self) -> float:
        """When the next tick is to be, as soon as the watch has noticed."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if times := self.wakes._times.get("uploads_inbox"):
                return max(times)
            threading.Event().wait(0.02)
        return 0.0


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def closed(folder: Folder) -> None:
    (folder.path / "a.mp4").write_bytes(b"x")


def moved_in(folder: Folder) -> None:
    outside = folder.settings.home / "a.mp4"
    outside.write_bytes(b"x")
    outside.rename(folder.path / "a.mp4")


def renamed(folder: Folder) -> None:
    (folder.path / ".a.part").write_bytes(b"x")
    (folder.path / ".a.part").rename(folder.path / "a.mp4")


def linked(folder: Folder) -> None:
    outside = folder.settings.home / "a.mp4"
    outside.write_bytes(b"x")
    (folder.path / "a.mp4").hardlink_to(outside)


def published(folder: Folder) -> None:
    Buckets(folder.settings).get("inbox").write("a.mp4", b"x")


def in_a_new_folder(folder: Folder) -> None:
    (folder.path / "deep" / "er").mkdir(parents=True)
    (folder.path / "deep" / "er" / "a.mp4").write_bytes(b"x")


@pytest.mark.parametrize("upload", [closed, moved_in, renamed, linked, published, in_a_new_folder])
def test_an_upload_wakes_the_sensor_when_it_has_settled(folder, upload):
    """However it came; not earlier, as the tick would be for nothing."""
    upload(folder)
    assert folder.woken_at() == pytest.approx(time.time() + 100, abs=5)


def test_what_is_no_upload_wakes_nobody(folder):
    """Our records, hidden files, and a file that is still being written."""
    (folder.path / "_mps").mkdir()
    folder.woken_at()
    folder.wakes._times.clear()
    (folder.path / "_mps" / "record").write_bytes(b"x")
    (folder.path / ".hidden.mp4").write_bytes(b"x")
    with (folder.path / "open.mp4").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        threading.Event().wait(1)
        assert not folder.wakes._times.get("uploads_inbox")
    assert folder.woken_at()


def test_a_folder_that_was_replaced_is_watched_again(folder):
    """An admin may move it away and make another one."""
    folder.path.rename(folder.path.with_name("old"))
    assert not folder.watch("inbox", "uploads_inbox")
    folder.path.mkdir()
    assert folder.watch("inbox", "uploads_inbox")
    closed(folder)
    assert folder.woken_at()
