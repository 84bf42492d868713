"""Only one daemon works on a deployment's records."""

from __future__ import annotations

import multiprocessing
import time

import pytest
from deployments import wait_until
from postgresql import postgresql
from pydantic import SecretStr

from mps_dagster.control.daemon_lock import DaemonRunning, Holder, daemon_lock, holder
from mps_dagster.settings import Settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path, home=tmp_path / "home")


def hold(settings: Settings, held) -> None:
    with daemon_lock(settings):
        held.set()
        time.sleep(100)


@pytest.fixture
def other(settings):
    """Another process with the lock."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(settings, held))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join(10)


@pytest.mark.slow
def test_a_second_daemon_is_refused_and_told_of_the_first(settings, other):
    with pytest.raises(DaemonRunning, match=f"process {other.pid} on ") as caught, daemon_lock(settings, wait_s=0):
        pass
    assert "mps doctor" in caught.value.hint


@pytest.mark.slow
def test_a_daemon_that_is_killed_gives_the_lock_back(settings, other):
    other.kill()
    with daemon_lock(settings) as lock:
        assert lock.predecessor.pid == other.pid


@pytest.mark.slow
def test_who_looks_at_the_lock_sees_the_holder_and_takes_nothing_away(settings, other):
    assert [found and found.pid for found in (holder(settings), holder(settings))] == [other.pid, other.pid]
    other.kill()
    wait_until(lambda: holder(settings) is None, 30)


def test_nobody_holds_the_lock_of_a_new_home(settings):
    assert holder(settings) is None


def test_the_successor_knows_whose_signs_of_life_are_the_last(settings):
    """Also after a daemon in between that died before it gave any."""
    with daemon_lock(settings) as first:
        first.name("first's id")
    with daemon_lock(settings) as between:
        assert between.predecessor.daemon == "first's id"
    with daemon_lock(settings) as last:
        assert last.predecessor.daemon == "first's id"


def test_another_daemon_that_was_noticed_is_in_the_file(settings):
    with daemon_lock(settings) as lock:
        lock.name("me")
        lock.notice_other()
        found = holder(settings)
        assert (found.daemon, found.other_s > time.time() - 60) == ("me", True)
    with daemon_lock(settings):
        assert holder(settings).other_s == 0, "it is not the other one of a successor"


def test_a_file_that_was_damaged_is_no_obstacle(settings):
    settings.dagster_home.mkdir(parents=True)
    (settings.dagster_home / "daemon.lock").write_text("{")
    with daemon_lock(settings) as lock:
        assert lock.predecessor == Holder()


@pytest.mark.slow
def test_two_hosts_with_one_database_have_one_daemon(tmp_path):
    """Each has a home of its own. Whoever has lost the lock with its connection notices that the other has it."""
    with postgresql() as server:
        one, two = (
            Settings(project=tmp_path, home=tmp_path / name, database_url=SecretStr(server.url))
            for name in ("one", "two")
        )
        with daemon_lock(one) as first:
            first.check()
            with pytest.raises(DaemonRunning, match="the database is locked by mps_dagster daemon"), daemon_lock(two):
                pass
            server.stop()
            first.check()
            server.start()
            with daemon_lock(two), pytest.raises(DaemonRunning):
                first.check()
            first.check()
