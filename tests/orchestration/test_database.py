"""Dagster's records over connections that are kept."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import dagster as dg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from mps_dagster.orchestration import database
from mps_dagster.orchestration.database import FILES, SqliteRecords, close_idle_connections

pytestmark = pytest.mark.slow

RUN = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def connections():
    """By file, how often one was opened."""
    opened: Counter[str] = Counter()

    def count(connection, _record) -> None:
        [(_, _, path)] = connection.execute("PRAGMA database_list").fetchall()
        opened[os.path.basename(path)] += 1  # noqa: PTH119

    sa.event.listen(sa.pool.Pool, "connect", count)
    yield opened
    sa.event.remove(sa.pool.Pool, "connect", count)


@pytest.fixture
def home(tmp_path):
    yield str(tmp_path)
    close_idle_connections()


def instance_of(storage) -> dg.DagsterInstance:
    from dagster._core.instance import InstanceType
    from dagster._core.launcher import DefaultRunLauncher
    from dagster._core.run_coordinator import DefaultRunCoordinator
    from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
    from dagster._core.storage.root import LocalArtifactStorage

    return dg.DagsterInstance(
        instance_type=InstanceType.PERSISTENT, local_artifact_storage=LocalArtifactStorage(storage.base_dir),
        run_storage=storage.run_storage, event_storage=storage.event_log_storage, schedule_storage=storage.schedule_storage,
        compute_log_manager=NoOpComputeLogManager(), run_coordinator=DefaultRunCoordinator(),
        run_launcher=DefaultRunLauncher(),
    )  # fmt: skip


def say(instance: dg.DagsterInstance, *texts: str, run_id: str = RUN) -> None:
    run = instance.get_run_by_id(run_id) or instance.add_run(dg.DagsterRun("job", run_id=run_id))
    for text in texts:
        instance.report_engine_event(text, run)


def heard(instance: dg.DagsterInstance, run_id: str = RUN) -> list[str]:
    return [str(entry.dagster_event.message) for entry in instance.all_logs(run_id)]


def test_what_is_written_is_what_dagster_s_own_storage_reads(home):
    """And the other way about: the files are Dagster's."""
    with instance_of(SqliteRecords(home)) as ours:
        say(ours, "a", "b")
    with instance_of(DagsterSqliteStorage(home)) as stock:
        assert heard(stock) == ["a", "b"]
        say(stock, "c")
    with instance_of(SqliteRecords(home)) as again:
        assert heard(again) == ["a", "b", "c"]


def test_events_share_a_connection_also_of_another_instance(home, connections):
    """The code server makes an instance for each tick."""
    with instance_of(SqliteRecords(home)) as first:
        say(first, "first")
    connections.clear()
    with instance_of(SqliteRecords(home)) as second:
        say(second, *"abcdefgh")
        assert len(heard(second)) == 9
    assert not connections


def test_a_database_that_has_its_tables_is_not_looked_at_again(home, monkeypatch):
    """Loading all of alembic's migrations takes a process some tenths of a second for each."""
    with instance_of(SqliteRecords(home)) as instance:
        say(instance, "a")
    monkeypatch.setattr(ScriptDirectory, "from_config", lambda *_: pytest.fail("loaded"))
    with instance_of(SqliteRecords(home)) as instance:
        assert heard(instance) == ["a"]


def test_a_file_that_was_replaced_is_opened_again(home, tmp_path):
    """Somebody who restores a copy; what is written to the old one is lost."""
    with instance_of(SqliteRecords(home)) as instance:
        say(instance, "old")
        close_idle_connections()
        path = tmp_path / "history" / "runs" / f"{RUN}.db"
        shutil.copyfile(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)
        say(instance, "new")
    with instance_of(DagsterSqliteStorage(home)) as stock:
        assert heard(stock) == ["old", "new"]


def test_no_more_than_some_files_are_open(home):
    """The web server shows run after run."""
    with instance_of(SqliteRecords(home)) as instance:
        for number in range(FILES + 5):
            run_id = f"{number:08d}-1111-1111-1111-111111111111"
            say(instance, "a", run_id=run_id)
        assert heard(instance, f"{0:08d}-1111-1111-1111-111111111111") == ["a"]
    assert len(database._FILES._files) <= FILES


def test_both_sides_of_a_fork_can_write(home):
    """Neither has the other's connection."""
    with instance_of(SqliteRecords(home)) as instance:
        say(instance, "before")
        close_idle_connections()
        if not (pid := os.fork()):
            try:
                say(instance, *(f"child {number}" for number in range(20)))
            finally:
                os._exit(0)
        say(instance, *(f"parent {number}" for number in range(20)))
        os.waitpid(pid, 0)
        assert Counter(text.split()[0] for text in heard(instance)) == {"before": 1, "child": 20, "parent": 20}


def test_what_is_in_the_schema_is_asked_once(home, monkeypatch):
    """Dagster asks for the columns of a table at each query of runs, and for all tables at each tick."""
    storages = [SqliteRecords(home) for _ in range(2)]
    instances = [instance_of(storage) for storage in storages]
    asked: list[str] = []
    get_columns, get_tables = sa.Inspector.get_columns, sa.Inspector.get_table_names
    monkeypatch.setattr(sa.Inspector, "get_columns", lambda *a, **k: asked.append(a[1]) or get_columns(*a, **k))
    monkeypatch.setattr(sa.Inspector, "get_table_names", lambda *a, **k: asked.append("tables") or get_tables(*a, **k))

    def query() -> None:
        for instance in instances:
            instance.get_run_records()
            instance.all_instigator_state()
            instance.add_dynamic_partitions("uploads", ["a.mp4"])

    query()
    assert "runs" in asked
    asked.clear()
    query()
    assert asked == []


def test_a_part_of_the_schema_that_is_missing_is_asked_for_again(home):
    """A migration may add it while we run."""
    storage = SqliteRecords(home).event_log_storage
    assert not storage.has_table("later")
    with storage.index_connection() as connection:
        connection.execute(sa.text("CREATE TABLE later (id INTEGER)"))
    assert storage.has_table("later")
