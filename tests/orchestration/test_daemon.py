"""A daemon does not work beside another one, also if that knows nothing of our lock."""

from __future__ import annotations

import time
import uuid
from types import SimpleNamespace

import pytest
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from mps_dagster.control.daemon_lock import DaemonRunning, daemon_lock, holder
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.daemon import Daemon, refuse_second
from mps_dagster.settings import Settings


@pytest.fixture
def lock(tmp_path):
    with daemon_lock(Settings(project=tmp_path, home=tmp_path / "home")) as lock:
        yield lock


def beat(instance, daemon: str, ago_s: float = 0) -> None:
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago_s, "SENSOR", daemon, []))


@pytest.mark.parametrize(
    ("daemon", "ago_s"), [("", 0), ("a predecessor", 0), ("another one", 300)], ids=["none", "our own last", "old"]
)
def test_signs_of_life_of_the_dead_are_no_obstacle(tmp_path, instance, daemon, ago_s):
    settings = Settings(project=tmp_path, home=tmp_path / "home")
    with daemon_lock(settings) as first:
        first.name("a predecessor")
    if daemon:
        beat(instance, daemon, ago_s)
    with daemon_lock(settings) as lock:
        refuse_second(instance, lock)


def test_a_daemon_is_refused_where_another_one_gives_signs_of_life(instance, lock, monkeypatch):
    """That of `dagster dev`. A single recent one may be the last."""
    beat(instance, "another one")
    # The daemon's alone: a thread of another test may sleep, too.
    clock = SimpleNamespace(time=time.time, sleep=lambda _: beat(instance, "another one", ago_s=-1))
    monkeypatch.setattr("mps_dagster.orchestration.daemon.time", clock)
    with pytest.raises(DaemonRunning, match="has not started"):
        refuse_second(instance, lock)


def test_a_daemon_notices_another_one_that_begins_later(tmp_path, instance, lock):
    """And says so where `mps doctor` finds it."""
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("load_from: []")
    settings = lock.settings
    with internals.WorkspaceProcessContext(instance, internals.WorkspaceFileTarget([str(workspace)])) as context:
        thread = _Idle()
        with Daemon(context, [thread], lock) as daemon:
            beat(instance, daemon._daemon_uuid)
            daemon.check_daemon_threads()
            assert holder(settings).other_s == 0
            beat(instance, str(uuid.uuid4()), ago_s=-1)
            daemon.check_daemon_threads()
    assert holder(settings).other_s > 0
    assert holder(settings).daemon == daemon._daemon_uuid


@pytest.mark.parametrize(
    ("error", "fetched"), [(None, 0), (SerializableErrorInfo("gone", [], None), 1)], ids=["well", "failed"]
)
def test_only_definitions_that_could_not_be_loaded_are_fetched_again(
    tmp_path, instance, lock, monkeypatch, error, fetched
):
    """Those of a new code server are fetched by a thread of the workspace."""
    workspace, refreshed = tmp_path / "workspace.yaml", []
    workspace.write_text("load_from: []")
    with internals.WorkspaceProcessContext(instance, internals.WorkspaceFileTarget([str(workspace)])) as context:
        location = SimpleNamespace(load_error=error)
        monkeypatch.setattr(
            context, "get_current_workspace", lambda: SimpleNamespace(code_location_entries={"mps_dagster": location})
        )
        monkeypatch.setattr(context, "refresh_workspace", lambda: refreshed.append(1))
        with Daemon(context, [_Idle()], lock) as daemon:
            beat(instance, daemon._daemon_uuid)
            assert daemon.check_workspace_freshness(time.time() - 61) == pytest.approx(time.time(), abs=5)
    assert len(refreshed) == fetched


class _Idle:
    """A daemon thread that does nothing until the end."""

    @staticmethod
    def daemon_type() -> str:
        return "SENSOR"

    @staticmethod
    def run_daemon_loop(_context, _uuid, ended, *_) -> None:
        ended.wait()
