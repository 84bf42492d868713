"""What is thrown away, and what never is."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from projects import VOD, make_project

from mps_dagster.errors import StorageFailed
from mps_dagster.execution.outdated import Outdated
from mps_dagster.execution.perform import Worker
from mps_dagster.orchestration import retention
from mps_dagster.orchestration.resources import resources
from mps_dagster.orchestration.retention import (
    Limits,
    remove_asset_values,
    remove_of_runs,
    remove_records,
    remove_runs,
    retention_job,
    trim_partitions,
)
from mps_dagster.orchestration.value_store import FolderStore
from mps_dagster.orchestration.values import TypedValues, value_name
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.project import Project

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


def test_the_oldest_partitions_go_first_and_a_bounded_number_at_a_time(instance):
    """Until as many are left as are kept."""
    instance.add_dynamic_partitions("vod_uploads", [f"{number}.mp4" for number in range(10)])
    assert [trim_partitions(instance, "vod", 5, at_once=3) for _ in range(3)] == [3, 2, 0]
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
    folder = tmp_path / place
    gone, running, fresh = str(uuid.uuid4()), add_run(instance, DagsterRunStatus.STARTED), str(uuid.uuid4())
    for name in (gone, running, fresh, "assets"):
        (folder / name).mkdir(parents=True)
        if name != fresh:
            os.utime(folder / name, (0, 0))
    assert remove_of_runs(instance, FolderStore(folder), time.time() - 3600) == 1
    assert {path.name for path in folder.iterdir()} == {running, fresh, "assets"}


def value_files(settings) -> set[str]:
    return {path.name for path in (settings.dagster_home / "values" / "assets").iterdir()}


def test_old_values_go_once_their_upload_or_their_task_is_shown_no_more(tmp_path, instance):
    """Those that a task could be run alone with stay, however old they are."""
    settings = make_project(tmp_path).model_copy(update={"keep_logs_days": 1})
    [workflow] = Project.load(settings).workflows
    instance.add_dynamic_partitions("vod_uploads", ["shown.mp4"])
    values = TypedValues(FolderStore(settings.dagster_home / "values"))
    parts = ["source", "web", "a task that is gone"]
    for part, partition in itertools.product(parts, ["shown.mp4", "trimmed.mp4", "fresh.mp4"]):
        values.handle_output(
            dg.build_output_context(
                asset_key=["vod", part], partition_key=partition, step_key="s", name="r", run_id="run"
            ),
            {},
        )
    fresh = {value_name(["vod", part, "fresh.mp4"]) for part in parts}
    for name in value_files(settings) - fresh:
        os.utime(settings.dagster_home / "values" / "assets" / name, (0, 0))
    store = FolderStore(settings.dagster_home / "values")
    assert remove_asset_values(instance, store, time.time() - 3600, [workflow]) == 4
    assert value_files(settings) == fresh | {value_name(["vod", part, "shown.mp4"]) for part in ("source", "web")}


def test_no_value_goes_while_a_file_is_not_valid(tmp_path, instance):
    """It may be the one whose values they are: somebody is about to mend it."""
    settings = make_project(tmp_path, vod=VOD, broken="name: [").model_copy(update={"keep_logs_days": 1})
    folder = settings.dagster_home / "values" / "assets"
    folder.mkdir(parents=True)
    (folder / "old.json").write_text("{}")
    os.utime(folder / "old.json", (0, 0))
    for left in (["old.json"], []):
        house = furnished(settings, instance)
        assert house.defs.resolve_job_def("retention").execute_in_process(instance=instance).success
        assert sorted(value_files(settings)) == left
        (settings.workflows_dir / "broken.yaml").unlink(missing_ok=True)


def test_the_value_of_a_run_is_one_that_retention_knows(house, clips):
    """By the name under which the run put it there."""
    house.upload(clips.video(), "in/clip.mp4")
    assert house.run("in/clip.mp4").success
    tasks = ("source", "web", "stills", "teaser")
    assert value_files(house.settings) == {value_name(["vod", part, "in/clip.mp4"]) for part in tasks}


@pytest.mark.parametrize(("days", "removed"), [(0, 0), (1, 2)])
def test_records_of_outputs_that_are_gone_go_if_that_is_wanted(tmp_path, instance, monkeypatch, days, removed):
    """In every bucket; one that does not answer keeps no other one from it, and comes first the next day."""
    settings = make_project(tmp_path).model_copy(update={"keep_records_days": days})
    for name in ("outputs", "by-hand"):
        (settings.buckets_dir / name / "_mps").mkdir(parents=True)
    worker, scans = Worker.of(settings, Buckets(settings)), []
    [workflow] = Project.load(settings).workflows

    def remove(scan, over) -> None:
        scans.append((scan.bucket.name, scan.after))
        scan.after = f"{scan.bucket.name} so far"
        scan.removed = 1
        if scan.bucket.name == "by-hand":
            raise StorageFailed("the bucket did not answer")
        scan.after = ""

    monkeypatch.setattr(Outdated, "remove", remove)
    warnings: list[str] = []
    assert [remove_records(worker, [workflow], warnings.append) for _ in range(2)] == [removed] * 2
    assert scans == ([("by-hand", ""), ("outputs", ""), ("by-hand", "by-hand so far"), ("outputs", "")] if days else [])
    assert warnings == ["records in by-hand are left for tomorrow: the bucket did not answer"] * len(scans[::2])


@pytest.mark.parametrize(("seconds", "left"), [(60.0, 2), (0.0, 9)])
def test_the_job_removes_until_its_time_is_over(tmp_path, instance, seconds, left):
    """And not a fixed number, which may be less than what comes in."""
    settings = make_project(tmp_path).model_copy(update={"keep_partitions": 2})
    workflows = Project.load(settings).workflows
    job = retention_job(settings, workflows, limits=Limits(seconds, at_once=3))
    instance.add_dynamic_partitions("vod_uploads", [f"{number}.mp4" for number in range(9)])
    assert job.execute_in_process(instance=instance, resources=resources(settings)).success
    assert len(instance.get_dynamic_partitions("vod_uploads")) == left


def test_a_bucket_that_keeps_records_of_others_is_reported(tmp_path, monkeypatch):
    """With the reason why records stay: the bucket is skipped, and the scan completes."""
    settings = make_project(tmp_path).model_copy(update={"keep_records_days": 1})
    (settings.buckets_dir / "outputs").mkdir()
    [workflow] = Project.load(settings).workflows

    def remove(scan, over) -> None:
        scan.unseen = {"s3://gone": StorageFailed("there is no such bucket")}

    monkeypatch.setattr(Outdated, "remove", remove)
    warnings: list[str] = []
    assert remove_records(Worker.of(settings, Buckets(settings)), [workflow], warnings.append) == 0
    assert warnings == ["records in outputs of outputs in s3://gone stay: there is no such bucket"]
