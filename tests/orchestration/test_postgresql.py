"""Dagster's records in PostgreSQL, by one setting; against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from postgresql import PostgreSql, postgresql
from projects import make_project, use_project

from mps_dagster.control.backfill import Scope, plan
from mps_dagster.control.health import Unusable, check_database
from mps_dagster.orchestration.history import read_history
from mps_dagster.settings import Settings
from mps_dagster.workflow.project import Project

from .conftest import furnished

pytestmark = pytest.mark.slow

ONE_RUN = Path(__file__).with_name("one_run.py")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    with postgresql() as server:
        yield server


@pytest.fixture
def settings(tmp_path, server, monkeypatch) -> Settings:
    use_project(make_project(tmp_path), monkeypatch, MPS_DATABASE_URL=server.url, MPS_SETTLE_S="0")
    return Settings()


def test_everything_is_recorded_in_postgresql(settings, clips, tmp_path):
    """Sensor, run with a process per step, partition status, plan; nothing falls back to SQLite."""
    with dg.DagsterInstance.get() as instance:
        house = furnished(settings, instance)
        house.upload(clips.video(), "in/clip.mp4")
        assert [request.partition_key for request in house.tick("uploads_inbox").run_requests] == ["in/clip.mp4"]
        done = subprocess.run([sys.executable, str(ONE_RUN)], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "success", done.stderr[-3000:]
        asset = dg.AssetKey(["vod", "teaser"])
        assert instance.get_materialized_partitions(asset) == {"in/clip.mp4"}
        workflow = Project.load(settings).workflows[0]
        assert plan(read_history(instance, workflow), house.buckets, Scope()).table.empty
        assert "1 events added" in house.tick("deliver_notifications").skip_message
    assert not list(settings.dagster_home.rglob("*.db"))


def test_the_limits_of_the_queue_are_settings(settings, monkeypatch):
    """One run less for backfills, so that an upload need not wait for them."""
    for given, runs, backfills in (({}, 2, 1), ({"MPS_MAX_RUNS": "5"}, 5, 4), ({"MPS_MAX_BACKFILL_RUNS": "2"}, 5, 2)):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            queue = instance.get_concurrency_config().run_queue_config
            assert queue.max_concurrent_runs == runs
            assert queue.tag_concurrency_limits[0] == {"key": "dagster/backfill", "limit": backfills}


def test_an_account_of_the_api_may_have_a_limit(settings, monkeypatch):
    monkeypatch.setenv("MPS_MAX_ACCOUNT_RUNS", "3")
    with dg.DagsterInstance.get() as instance:
        limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
    each = {"applyLimitPerUniqueValue": True}
    assert {"key": "mps/account", "limit": 3, "value": each} in limits


def test_a_server_that_was_restarted_is_used_again(settings, server, clips):
    """Between two looks of the sensor; nothing is lost."""
    with dg.DagsterInstance.get() as instance:
        house = furnished(settings, instance)
        house.upload(clips.video(), "in/restart.mp4")
        server.stop()
        with pytest.raises(Exception, match=r"(?i)connect"):
            house.tick("uploads_inbox")
        server.start()
        assert [request.partition_key for request in house.tick("uploads_inbox").run_requests] == ["in/restart.mp4"]


def test_a_process_keeps_its_connection(settings):
    """Also over instances: the code server makes one for each tick."""
    used = set()
    for _ in range(2):
        with dg.DagsterInstance.get() as instance, instance.event_log_storage.index_connection() as connection:
            used.add(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())
    assert len(used) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("secret@", "wrong@"), "password authentication failed"),
        (("/postgres", "/none"), 'database "none" does not exist'),
        (("127.0.0.1:", "127.0.0.1:1"), "MPS_DATABASE_URL"),
    ],
    ids=["wrong password", "no such database", "no server"],
)
def test_what_is_wrong_with_the_database_is_reported(server, change, says, tmp_path):
    """At start, in a line, and never with the password."""
    url = (
        server.url.replace(*change)
        if "wrong" in change[1] or "none" in change[1]
        else "postgresql://mps:secret@127.0.0.1:9/x"
    )
    with pytest.raises(Unusable, match=says) as caught:
        check_database(Settings(home=tmp_path, database_url=url))
    assert "secret" not in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_the_doctor_tells_where_the_records_are(settings):
    """With the server's version."""
    assert "version 18" in check_database(settings)
    assert "SQLite" in check_database(settings.model_copy(update={"database_url": None}))


@pytest.mark.parametrize("url", ["mysql://a:secret@h/x", "postgresql://h", "postgresql:///x", "h:5432"])
def test_an_address_that_is_none_is_refused_without_showing_it(url):
    """It may hold a password."""
    with pytest.raises(ValueError, match="postgresql://user") as caught:
        Settings(database_url=url)
    assert "secret" not in str(caught.value)


def test_the_password_is_in_no_list_of_processes(settings):
    """Dagster hands its instance to other processes on their command line."""
    with dg.DagsterInstance.get() as instance:
        assert "mps:secret" not in str(instance.get_ref())
