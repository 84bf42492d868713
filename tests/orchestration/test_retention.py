"""What is thrown away, and what never is."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from projects import make_project

from mps_dagster.orchestration import retention
from mps_dagster.orchestration.retention import remove_files, remove_runs, trim_partitions
from mps_dagster.settings import Settings

from .conftest import furnished

TOMORROW = datetime.now(UTC) + timedelta(days=1, hours=1)


def add_run(instance: dg.DagsterInstance, status: DagsterRunStatus, **tags: str) -> str:
    run = dg.DagsterRun(job_name="vod", run_id=str(uuid.uuid4()), status=status, tags=tags)
    instance.add_run(run)
    return run.run_id


def test_only_runs_that_ended_long_ago_are_removed(instance):
    """Not those that are still going on, and none at all unless it is asked for."""
    ended = [add_run(instance, status) for status in retention.ENDED]
    going_on = add_run(instance, DagsterRunStatus.STARTED)
    assert remove_runs(instance, 0, TOMORROW) == 0
    assert remove_runs(instance, 2, TOMORROW) == 0
    assert remove_runs(instance, 1, TOMORROW) == len(ended)
    assert [run.run_id for run in instance.get_runs()] == [going_on]


def test_the_oldest_partitions_go_first_and_a_bounded_number_at_a_time(instance, monkeypatch):
    """Until as many are left as are kept."""
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    instance.add_dynamic_partitions("vod_uploads", [f"{number}.mp4" for number in range(10)])
    assert [trim_partitions(instance, "vod", 5) for _ in range(3)] == [3, 2, 0]
    assert set(instance.get_dynamic_partitions("vod_uploads")) == {f"{number}.mp4" for number in range(5, 10)}


def test_partitions_that_wait_for_a_run_stay(instance):
    """The run would fail; however old they are."""
    instance.add_dynamic_partitions("vod_uploads", ["queued.mp4", "made.mp4", "new.mp4"])
    add_run(instance, DagsterRunStatus.STARTING, **{"dagster/partition": "queued.mp4"})
    add_run(instance, DagsterRunStatus.SUCCESS, **{"dagster/partition": "made.mp4"})
    assert trim_partitions(instance, "vod", 1) == 1
    assert set(instance.get_dynamic_partitions("vod_uploads")) == {"queued.mp4", "new.mp4"}


@pytest.mark.parametrize("place", ["values", "storage"])
def test_old_folders_of_runs_go_and_those_of_running_ones_stay(instance, tmp_path, place):
    """And so do the values of assets, which a task that is run alone reads."""
    settings = Settings(project=tmp_path, home=tmp_path / "home", keep_logs_days=1)
    folder = settings.dagster_home / place
    gone, running, fresh = str(uuid.uuid4()), add_run(instance, DagsterRunStatus.STARTED), str(uuid.uuid4())
    for name in (gone, running, fresh, "assets"):
        (folder / name).mkdir(parents=True)
        if name != fresh:
            os.utime(folder / name, (0, 0))
    assert remove_files(instance, settings) == 1
    assert {path.name for path in folder.iterdir()} == {running, fresh, "assets"}


@pytest.mark.parametrize(("seconds", "left"), [(60.0, 2), (0.0, 9)])
def test_the_job_removes_until_its_time_is_over(tmp_path, instance, monkeypatch, seconds, left):
    """And not a fixed number, which may be less than what comes in."""
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    monkeypatch.setattr(retention, "PARTITIONS_S", seconds)
    house = furnished(make_project(tmp_path).model_copy(update={"keep_partitions": 2}), instance)
    instance.add_dynamic_partitions("vod_uploads", [f"{number}.mp4" for number in range(9)])
    result = house.defs.resolve_job_def("retention").execute_in_process(instance=instance)
    assert result.success
    assert len(instance.get_dynamic_partitions("vod_uploads")) == left
