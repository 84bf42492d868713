"""The progress of running subtasks, in files or in the database that all hosts reach."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from postgresql import postgresql

from mps_dagster.execution import progress
from mps_dagster.execution.pace import StepProgress
from mps_dagster.execution.progress import TABLES, ProgressFolder, ProgressTable, progress_store
from mps_dagster.settings import Settings
from mps_dagster.storage import database
from mps_dagster.storage.database import PostgresqlDatabase


@pytest.fixture(scope="module")
def server():
    with postgresql() as server:
        yield server


def table(url: str) -> ProgressTable:
    return ProgressTable(PostgresqlDatabase(url.replace("://", "+psycopg2://"), TABLES))


@pytest.fixture(params=["folder", pytest.param("table", marks=pytest.mark.slow)])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "FILE_EVERY_S", 0)
    monkeypatch.setattr(progress, "ROW_EVERY_S", 0)
    if request.param == "folder":
        return ProgressFolder(tmp_path)
    return table(request.getfixturevalue("server").url)


def test_a_run_s_progress_is_that_of_its_steps(store):
    """The newest of each; of no other run."""
    first, second = (store.keep("run", step) for step in ("vod__web.subtask[0_a]", "vod__web.subtask[1_b]"))
    first(StepProgress(0.25, 2.0, None))
    second(StepProgress(0.5, 1.0, 12.34))
    first(StepProgress(1.0, 2.0, 0.0))
    store.keep("other", "vod__web.subtask[0_a]")(StepProgress(0.1))
    assert store.read("run") == {
        "vod__web.subtask[0_a]": StepProgress(1.0, 2.0, 0.0), "vod__web.subtask[1_b]": StepProgress(0.5, 1.0, 12.3),
    }  # fmt: skip
    store.forget(["run", "a run that reported nothing"])
    store.forget([])
    assert (store.read("run"), store.read("other")) == ({}, {"vod__web.subtask[0_a]": StepProgress(0.1)})
    store.forget(["other"])


def test_a_file_of_another_version_is_as_none(tmp_path):
    """A run goes on while mps_dagster is replaced."""
    store = ProgressFolder(tmp_path)
    store.keep("run", "step")(StepProgress(0.5))
    (tmp_path / "run" / "other.json").write_text('{"part": 0.5}')
    assert store.read("run") == {"step": StepProgress(0.5)}


def test_progress_that_cannot_be_written_fails_nothing(tmp_path, caplog):
    """The run's folder is removed when a run has failed, also under a step that goes on. Told once."""
    store = ProgressFolder(tmp_path)
    keep = store.keep("run", "step")
    store.forget(["run"])
    for _ in range(2):
        keep(StepProgress(1.0))
    assert len(caplog.records) == 1


def test_a_database_that_is_away_holds_no_subtask_up(monkeypatch, caplog):
    """It is asked once, and then left alone for a while."""
    monkeypatch.setattr(progress, "ROW_EVERY_S", 0)
    keep = table("postgresql://mps:secret@127.0.0.1:1/postgres").keep("run", "step")
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            keep(StepProgress(0.5))
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


@pytest.mark.slow
def test_a_table_of_an_earlier_version_gets_the_time_left(server, monkeypatch):
    monkeypatch.setattr(progress, "ROW_EVERY_S", 0)
    store = table(server.url)
    with store.database.write() as db:
        db.connection.execute(sa.text("ALTER TABLE progress DROP COLUMN IF EXISTS left_s"))
    monkeypatch.setattr(database, "_postgresql", database._postgresql.__wrapped__)
    store.keep("earlier", "step")(StepProgress(0.5, 1.0, 9.0))
    assert store.read("earlier") == {"step": StepProgress(0.5, 1.0, 9.0)}


@pytest.mark.slow
def test_many_hosts_may_report_first(server, monkeypatch):
    """All of them create the table."""
    monkeypatch.setattr(progress, "ROW_EVERY_S", 0)
    store = table(server.url)
    with store.database.write() as db:
        db.connection.execute(sa.text("DROP TABLE progress"))
    # Each host has one of its own.
    monkeypatch.setattr(database, "_postgresql", database._postgresql.__wrapped__)
    with ThreadPoolExecutor(8) as hosts:
        list(hosts.map(lambda number: store.keep("run", f"step{number}")(StepProgress(0.5)), range(8)))
    assert len(store.read("run")) == 8


@pytest.mark.parametrize(
    ("url", "kind"), [(None, ProgressFolder), ("postgresql://mps:secret@127.0.0.1/mps", ProgressTable)]
)
def test_the_database_is_used_where_one_is_set(tmp_path, url, kind):
    assert isinstance(progress_store(Settings(project=tmp_path, home=tmp_path, database_url=url)), kind)
