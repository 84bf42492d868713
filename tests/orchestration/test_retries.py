"""Runs that failed because something died are run again; whoever sees the failure also sees that."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from postgresql import postgresql
from projects import make_project, use_project

from mps_dagster.control import tags
from mps_dagster.control.task_run import task_run
from mps_dagster.errors import StorageFailed
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.orchestration import internals, retries
from mps_dagster.orchestration.notifications import Notifier
from mps_dagster.orchestration.retries import GIVE_UP_S, Queue, Retries
from mps_dagster.orchestration.runs import stored_run
from mps_dagster.storage.local import LocalBucket
from mps_dagster.workflow.project import Project

from .conftest import furnished


@pytest.fixture(scope="module")
def server():
    with postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def instance(request, tmp_path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    """As the deployment's."""
    settings = use_project(make_project(tmp_path), monkeypatch)
    if request.param == "postgresql":
        monkeypatch.setenv("MPS_DATABASE_URL", request.getfixturevalue("server").url)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        instance.settings = settings
        yield instance
        instance.wipe()


@pytest.fixture
def house(instance) -> SimpleNamespace:
    return furnished(instance.settings, instance)


def begun(house, status: DagsterRunStatus = DagsterRunStatus.STARTED, **more) -> dg.DagsterRun:
    run_tags = {tags.WORKFLOW: "vod", **more.pop("tags", {})}
    return house.instance.create_run_for_job(house.defs.resolve_job_def("vod"), tags=run_tags, status=status, **more)


def failed(house, **more) -> dg.DagsterRun:
    """A run whose process died."""
    run = begun(house, **more)
    house.instance.report_run_failed(run)
    return house.instance.get_run_by_id(run.run_id)


def retry_of(house, run: dg.DagsterRun) -> dg.DagsterRun:
    """As Dagster creates it."""
    number = int(run.tags.get(tags.RETRY_NUMBER, "0")) + 1
    root = run.root_run_id or run.run_id
    inherited = {name: value for name, value in run.tags.items() if not name.startswith("dagster/")}
    own = {tags.RETRY_NUMBER: str(number), "dagster/parent_run_id": run.run_id, tags.ROOT_RUN: root}
    return begun(house, tags={**inherited, **own}, parent_run_id=run.run_id, root_run_id=root)


def test_a_run_whose_process_died_is_run_again_three_times(house, monkeypatch):
    monkeypatch.setattr(retries.time, "time", lambda: 1000.0)
    attempts = [failed(house)]
    for _ in range(3):
        retry = retry_of(house, attempts[-1])
        house.instance.report_run_failed(retry)
        attempts.append(house.instance.get_run_by_id(retry.run_id))
    assert [run.tags[tags.WILL_RETRY] for run in attempts] == ["true", "true", "true", "false"]
    assert [run.tags[tags.RETRY_STRATEGY] for run in attempts] == ["ALL_STEPS"] * 4
    assert [run.tags[tags.NOT_BEFORE] for run in attempts[:3]] == ["1010", "1060", "1300"]
    assert {stored_run(run).first_run_id for run in attempts} == {attempts[0].run_id}


def test_nobody_sees_a_failure_without_its_retry(house, monkeypatch):
    """The tag is there before the status: an event would be sent too early."""
    seen, run = [], begun(house)
    storage, original = house.instance.run_storage, house.instance.run_storage.add_run_tags
    monkeypatch.setattr(
        storage,
        "add_run_tags",
        lambda run_id, new: (seen.append(house.instance.get_run_by_id(run_id).status), original(run_id, new)),
    )
    house.instance.report_run_failed(run)
    assert seen[0] is DagsterRunStatus.STARTED


def test_the_event_waits_for_the_status(house):
    """Dagster tells of a failure by the log, in which it is before the run has its status and its tags."""
    run = begun(house)
    assert Notifier(house.settings, Project.load(house.settings).by_name).add_end(house.instance, run) == 0
    house.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "vod"), run.run_id)
    assert house.tick("deliver_notifications").skip_message.startswith("1 events")


def test_a_failure_is_stored_even_if_nothing_can_be_decided(house, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(retries, "retry_tags", broken)
    run = failed(house)
    assert (run.status, run.tags[tags.WILL_RETRY]) == (DagsterRunStatus.FAILURE, "false")


def test_a_run_that_was_being_aborted_is_not_run_again(house):
    run = failed(house, status=DagsterRunStatus.CANCELING)
    assert run.tags[tags.WILL_RETRY] == "false"


def test_a_source_at_fault_is_not_run_again(house, tmp_path):
    """Nor is anything else that a retry can not help."""
    (tmp_path / "notes.mp4").write_text("no film")
    house.upload(tmp_path / "notes.mp4", "in/notes.mp4")
    [run] = house.instance.get_runs(dg.RunsFilter(run_ids=[house.run("in/notes.mp4").run_id]))
    assert (run.status, run.tags[tags.WILL_RETRY]) == (DagsterRunStatus.FAILURE, "false")
    assert run.tags["dagster/failure_reason"] == "STEP_FAILURE"


def test_a_bucket_that_does_not_answer_is_asked_again_later(house, clips, monkeypatch):
    def away(*_: object, **__: object) -> None:
        raise StorageFailed("no answer")

    house.upload(clips.video(), "in/clip.mp4")
    monkeypatch.setattr(LocalBucket, "head", away)
    first = house.run("in/clip.mp4")
    [run] = house.instance.get_runs(dg.RunsFilter(run_ids=[first.run_id]))
    assert (run.tags[tags.WILL_RETRY], run.tags["dagster/failure_reason"]) == ("true", "STEP_FAILURE")


class Launches:
    """Dagster's part in running a run again."""

    def __init__(self, house, monkeypatch) -> None:
        self.house, self.fails, self.gone = house, False, False
        monkeypatch.setattr(internals, "retry_run", self.retry)

    def retry(self, run: dg.DagsterRun, _workspace) -> None:
        if self.fails:
            raise ConnectionError("no code server")
        if not self.gone and tags.RETRIED_BY not in run.tags:
            new = retry_of(self.house, run)
            self.house.instance.add_run_tags(run.run_id, {tags.RETRIED_BY: new.run_id})

    def tick(self) -> None:
        list(Retries().run_iteration(SimpleNamespace(instance=self.house.instance)))


@pytest.fixture
def launches(house, monkeypatch):
    return Launches(house, monkeypatch)


def test_a_retry_is_queued_once_however_often_the_daemon_looks(house, launches):
    run = failed(house)
    launches.tick()
    launches.tick()
    runs = {each.run_id: each for each in house.instance.get_run_group(run.run_id)[1]}
    assert len(runs) == 2
    retry = next(each for run_id, each in runs.items() if run_id != run.run_id)
    assert (runs[run.run_id].tags[tags.RETRY], retry.tags[tags.RETRY]) == ("queued", "none")


def test_a_code_server_that_is_away_is_waited_for(house, launches):
    """It may have died with the run. Dagster's own daemon gives up at once."""
    run, launches.fails = failed(house), True
    launches.tick()
    assert house.instance.get_run_by_id(run.run_id).tags[tags.WILL_RETRY] == "true"
    launches.fails = False
    launches.tick()
    assert tags.RETRIED_BY in house.instance.get_run_by_id(run.run_id).tags


def test_a_retry_that_can_not_be_queued_is_given_up_and_the_event_sent(house, launches, monkeypatch):
    run, launches.fails = failed(house), True
    assert house.tick("deliver_notifications").skip_message.startswith("0 events")
    later_s = time.time() + GIVE_UP_S + 1
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: later_s)
        launches.tick()
    assert house.instance.get_run_by_id(run.run_id).tags[tags.WILL_RETRY] == "false"
    assert house.tick("deliver_notifications").skip_message.startswith("1 events")


def test_a_run_of_a_job_that_is_gone_is_given_up(house, launches):
    """Dagster itself would leave it waiting for ever."""
    run, launches.gone = failed(house), True
    launches.tick()
    assert house.instance.get_run_by_id(run.run_id).tags[tags.WILL_RETRY] == "false"


def test_the_event_is_sent_once_at_the_end_with_the_number_of_attempts(house, launches):
    run = failed(house)
    assert house.tick("deliver_notifications").skip_message.startswith("0 events")
    launches.tick()
    assert house.tick("deliver_notifications").skip_message.startswith("0 events")
    retry = house.instance.get_run_by_id(house.instance.get_run_by_id(run.run_id).tags[tags.RETRIED_BY])
    house.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "vod"), retry.run_id)
    assert house.tick("deliver_notifications").skip_message.startswith("1 events")
    # Its process was alive after all.
    house.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "vod"), run.run_id)
    assert house.tick("deliver_notifications").skip_message.startswith("0 events")
    [message] = LocalQueue(house.settings.queue_path).receive("events")
    assert json.loads(json.loads(message.body)["ExtInfo"])["Attempts"] == 2


def test_a_run_that_succeeded_after_all_is_not_run_again_and_has_its_event(house, launches):
    run = failed(house)
    house.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "vod"), run.run_id)
    launches.tick()
    assert house.instance.get_runs() == [house.instance.get_run_by_id(run.run_id)]
    assert task_run(stored_run(house.instance.get_run_by_id(run.run_id)).record()).state == "FINISH"
    assert house.tick("deliver_notifications").skip_message.startswith("1 events")


def test_retries_wait_in_the_queue_for_their_time():
    def queued(**own) -> dg.DagsterRun:
        return dg.DagsterRun(job_name="vod", run_id=str(uuid.uuid4()), tags=own)

    late = f"{time.time() + 100:.0f}"
    waiting = queued(**{tags.RETRY_NUMBER: "1", tags.NOT_BEFORE: late})
    others = [queued(), queued(**{tags.NOT_BEFORE: late}), queued(**{tags.RETRY_NUMBER: "1", tags.NOT_BEFORE: "5"})]
    assert Queue(interval_seconds=1)._priority_sort([waiting, *others]) == others
