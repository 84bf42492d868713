"""What the notification sensors put into the outbox, and that none is lost."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.storage.runs.schema import RunsTable
from projects import VOD, make_project

from mps_dagster.control import tags
from mps_dagster.control.task_run import task_id
from mps_dagster.errors import StorageFailed
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.orchestration import notifications, ops
from mps_dagster.orchestration.notifications import LIMITS, Limits, Notifier, notification_sensors
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.project import Project

from .conftest import furnished


def received(house) -> list[dict]:
    messages = LocalQueue(house.settings.queue_path).receive("events", max_messages=10)
    return [json.loads(message.body)["WorkflowTaskEvent"] for message in messages]


def status_context(house, run_id: str, status: DagsterRunStatus):
    run = house.instance.get_run_by_id(run_id)
    event = dg.DagsterEvent(f"PIPELINE_{status.value}", run.job_name, message="")
    return dg.build_run_status_sensor_context(
        sensor_name=f"notify_{status.value.lower()}",
        dagster_event=event,
        dagster_instance=house.instance,
        dagster_run=run,
    )


def test_the_event_of_a_run_reaches_the_queue_once(house, clips):
    """Whoever brings it: the status sensor, and then the sweep."""
    house.upload(clips.video(), "in/clip.mp4")
    run_id = house.run("in/clip.mp4").run_id
    house.sensor("notify_success")(status_context(house, run_id, DagsterRunStatus.SUCCESS))
    for _ in range(2):
        house.tick("deliver_notifications")
    events = received(house)
    assert len(events) == 1
    assert (events[0]["Status"], events[0]["ErrCode"], events[0]["Message"]) == ("FINISH", 0, "SUCCESS")
    assert events[0]["InputInfo"]["CosInputInfo"]["Object"] == "/in/clip.mp4"
    types = [result["Type"] for result in events[0]["MediaProcessResultSet"]]
    assert sorted(types) == ["AnimatedGraphics", "SnapshotByTimeOffset", "Transcode", "Transcode"]


def test_an_event_that_a_status_sensor_lost_is_brought_by_the_sweep(house, clips):
    """A failed run, with its mixed result."""
    house.upload(clips.no_audio(), "in/clip.mp4")
    house.run("in/clip.mp4")
    house.tick("deliver_notifications")
    results = [
        next(value for value in result.values() if isinstance(value, dict))
        for result in received(house)[0]["MediaProcessResultSet"]
    ]
    assert sorted(result["Status"] for result in results) == ["FAIL", "FAIL", "SUCCESS", "SUCCESS"]
    assert any("not run, because web" in result["Message"] for result in results)


def test_a_page_whose_bucket_failed_is_written_later(house, clips, monkeypatch):
    """Its run says why it is late, once."""
    house.upload(clips.video(), "in/clip.mp4")
    run_id = house.run("in/clip.mp4").run_id

    def fails(*_):
        raise StorageFailed("the bucket does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(notifications, "publish_page", fails)
        house.tick("deliver_notifications")
        notifier = Notifier(
            house.settings, {workflow.name: workflow for workflow in Project.load(house.settings).workflows}
        )
        notifier.write_late_page(house.instance)
    assert len(received(house)) == 1, "its event does not wait"
    run = house.instance.get_run_by_id(run_id)
    assert run.tags[tags.PAGE] == tags.NOT_WRITTEN
    said = [entry.message for entry in house.instance.all_logs(run_id) if "page" in entry.message]
    assert len(said) == 1
    assert "the bucket does not answer" in said[0]
    notifier.write_late_page(house.instance)
    bucket, _, key = house.instance.get_run_by_id(run_id).tags[tags.PAGE].partition("/")
    assert house.buckets.get(bucket).head(key).size > 0
    assert house.instance.get_runs(dg.RunsFilter(tags={tags.PAGE: tags.NOT_WRITTEN})) == []


def test_a_run_whose_task_died_is_notified_like_any_other(house, clips, monkeypatch):
    """A process that was killed leaves a failure without a word of ours."""

    @contextmanager
    def dies(context, **facts):
        if facts.get("task", {}).get("name") == "web":
            raise dg.Failure("terminated by signal 9 (SIGKILL)", allow_retries=False)
        yield context.resources.worker

    monkeypatch.setattr(ops, "work", dies)
    house.upload(clips.video(), "in/clip.mp4")
    assert not house.run("in/clip.mp4").success
    house.tick("deliver_notifications")
    results = [
        (result["Type"], next(value for value in result.values() if isinstance(value, dict))["Status"])
        for result in received(house)[0]["MediaProcessResultSet"]
    ]
    assert sorted(results) == [("AnimatedGraphics", "FAIL"), ("SnapshotByTimeOffset", "SUCCESS"), ("Transcode", "FAIL")]


def test_a_run_without_an_event_does_not_stop_others(house, clips, monkeypatch):
    """It is shown with its reason, and the sensor goes on from there."""
    house.upload(clips.video(), "in/clip.mp4")
    bad, good = (house.run("in/clip.mp4").run_id for _ in range(2))
    read = notifications.run_record

    def unreadable(instance, run, workflow):
        if run.run_id == bad:
            raise KeyError("some version's metadata")
        return read(instance, run, workflow)

    monkeypatch.setattr(notifications, "run_record", unreadable)
    with house.context("deliver_notifications") as context:
        answer = house.sensor("deliver_notifications")(context)
    assert [event["TaskId"] for event in received(house)] == [task_id(good)]
    assert f"no event for run {bad}: KeyError" in answer.skip_message
    assert context.cursor


def canceled(house, number: int) -> list[str]:
    """Runs that ended one after the other, as TaskIds."""
    job = house.defs.resolve_job_def("vod")
    tags = {"mps/workflow": "vod", "dagster/partition": "in/a.mp4"}
    runs = [house.instance.create_run_for_job(job, tags=tags) for _ in range(number)]
    for run in runs:
        house.instance.report_run_canceled(run)
    return [task_id(run.run_id) for run in runs]


def tick(house, cursor: str | None, limits: Limits = LIMITS) -> str:
    sensors = notification_sensors(house.settings, workflows_of(house), limits)
    deliver = next(sensor for sensor in sensors if sensor.name == "deliver_notifications")
    with house.context("deliver_notifications", cursor) as context:
        deliver(context)
        return context.cursor


def workflows_of(house) -> dict[str, Workflow]:
    return Project.load(house.settings).by_name


@pytest.mark.parametrize("limits", [Limits(seconds=-1.0), Limits(runs=2)])
def test_a_sweep_that_did_not_come_to_its_end_goes_on_in_the_next_one(house, limits):
    """Neither time nor number loses an event, and none is sent twice."""
    tasks = canceled(house, 3)
    cursor, task_ids = None, []
    for _ in range(3):
        cursor = tick(house, cursor, limits)
        task_ids += [event["TaskId"] for event in received(house)]
    assert task_ids == tasks
    assert datetime.now(UTC) - datetime.fromisoformat(cursor) < timedelta(hours=1)


def test_an_event_that_was_lost_while_the_sensor_was_down_is_sent(house):
    """It looks from where it came to, however long ago; without a cursor, a day back."""
    [early] = canceled(house, 1)
    _age(house, timedelta(hours=30))
    [late] = canceled(house, 1)
    _age(house, timedelta(hours=20))
    tick(house, None)
    assert [event["TaskId"] for event in received(house)] == [late]
    tick(house, (datetime.now(UTC) - timedelta(hours=60)).isoformat())
    assert [event["TaskId"] for event in received(house)] == [early]


def _age(house, by: timedelta) -> None:
    with house.instance.run_storage.connect() as connection:
        for record in house.instance.get_run_records():
            earlier = (record.update_timestamp - by).replace(tzinfo=None)
            row = RunsTable.c.run_id == record.dagster_run.run_id
            connection.execute(RunsTable.update().where(row).values(update_timestamp=earlier))


def test_a_run_whose_sinks_cannot_be_is_shown(house, clips):
    """A user who launched it in the UI sees the error there."""
    house.upload(clips.video(), "clip.mp4")
    house.defs.resolve_job_def("process_media").execute_in_process(
        instance=house.instance,
        run_config={
            "ops": {"source": {"config": {"bucket": "inbox", "key": "clip.mp4", "notify": [{"type": "mail"}]}}}
        },
    )
    assert "notify[0]: Input tag 'mail'" in house.tick("deliver_notifications").skip_message


def run_as_the_sensor_asks(house) -> dg.ExecuteInProcessResult:
    """An upload that the sensor finds."""
    [request] = house.tick("uploads_inbox").run_requests
    house.instance.add_dynamic_partitions("vod_uploads", [request.partition_key])
    job = house.defs.resolve_job_def("vod")
    return job.execute_in_process(
        instance=house.instance, partition_key=request.partition_key, run_config=request.run_config, tags=request.tags
    )


def test_a_run_whose_workflow_was_deleted_meanwhile_notifies_the_sinks_it_had(house, clips):
    """As the run has recorded it."""
    house.upload(clips.video(), "in/clip.mp4")
    run_as_the_sensor_asks(house)
    (house.settings.workflows_dir / "vod.yaml").unlink()
    furnished(house.settings, house.instance).tick("deliver_notifications")
    [event] = received(house)
    assert event["InputInfo"]["CosInputInfo"]["Object"] == "/in/clip.mp4"
    assert len(event["MediaProcessResultSet"]) == 4


def test_an_existing_workflow_decides_its_sinks_itself(house, clips):
    """Its sinks as they are now, and what its run made: a task that was added since is none of the run's."""
    house.upload(clips.video(), "in/clip.mp4")
    run_as_the_sensor_asks(house)
    added = "  more:\n    type: sample_snapshot\n    outputs: [{definition: 10}]\n"
    (house.settings.workflows_dir / "vod.yaml").write_text(VOD.replace("queue: events", "queue: other") + added)
    furnished(house.settings, house.instance).tick("deliver_notifications")
    assert received(house) == []
    [message] = LocalQueue(house.settings.queue_path).receive("other")
    results = json.loads(message.body)["WorkflowTaskEvent"]["MediaProcessResultSet"]
    assert len(results) == 4


def test_a_run_that_dagster_will_retry_is_not_notified_yet(house, clips):
    """For everybody outside it has not ended."""
    house.upload(clips.no_audio(), "in/clip.mp4")
    run_id = house.run("in/clip.mp4").run_id
    house.instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    house.tick("deliver_notifications")
    assert received(house) == []


def test_scratch_of_a_run_that_has_ended_is_removed(house, clips):
    """Its staged source above all."""
    house.upload(clips.video(), "in/clip.mp4")
    run_id = house.run("in/clip.mp4").run_id
    assert (house.settings.scratch_dir / run_id).is_dir()
    house.tick("deliver_notifications")
    assert not (house.settings.scratch_dir / run_id).exists()
    assert not (house.settings.progress_dir / run_id).exists()


def test_process_media_notifies_the_sink_of_its_caller(house, clips):
    """By the same sinks as a workflow's."""
    house.upload(clips.video(), "clip.mp4")
    house.defs.resolve_job_def("process_media").execute_in_process(
        instance=house.instance,
        run_config={
            "ops": {
                "source": {"config": {"bucket": "inbox", "key": "clip.mp4", "notify": [{"type": "local", "queue": "events"}]}},
                "snapshot_by_time_offset": {"config": {"task": {"outputs": [{"definition": 10, "ext_time_offset_set": ["0s"]}]}}},
            }
        },
    )  # fmt: skip
    house.tick("deliver_notifications")
    assert [event["Status"] for event in received(house)] == ["FINISH"]


def curious(tmp_path, instance):
    text = VOD.replace("{type: local, queue: events}", "{type: local, queue: events, notify_mode: change}")
    return furnished(make_project(tmp_path, vod=text), instance)


def test_a_sink_that_wants_changes_hears_of_each_subtask_as_it_ends(tmp_path, instance, clips):
    """Once, while the run goes on; and of the end at last."""
    house = curious(tmp_path, instance)
    house.upload(clips.video(), "in/clip.mp4")
    run = instance.get_run_by_id(house.run("in/clip.mp4").run_id)
    notifier = Notifier(house.settings, workflows_of(house))
    going_on = run.with_status(DagsterRunStatus.STARTED)
    assert [notifier.add_changes(instance, going_on) for _ in range(2)] == [4, 0]
    for _ in range(2):
        house.tick("deliver_notifications")
    events = received(house)
    assert [event["Status"] for event in events] == ["PROCESSING"] * 4 + ["FINISH"]


def test_changes_that_were_missed_during_the_run_are_sent_before_its_end(tmp_path, instance, clips):
    """Failed ones, too; subtasks that never began are only in the final event."""
    house = curious(tmp_path, instance)
    house.upload(clips.no_audio(), "in/clip.mp4")
    house.run("in/clip.mp4")
    house.tick("deliver_notifications")
    events = received(house)
    assert [event["Status"] for event in events] == ["PROCESSING"] * 3 + ["FINISH"]
    assert {(event["ErrCode"], event["Message"]) for event in events[:3]} == {(0, "SUCCESS")}


def test_the_event_names_the_manifests(house, clips):
    """Which have all results, also where the event itself had to leave them out."""
    house.upload(clips.video(), "in/clip.mp4")
    house.run("in/clip.mp4")
    house.tick("deliver_notifications")
    [message] = LocalQueue(house.settings.queue_path).receive("events", max_messages=10)
    manifests = json.loads(json.loads(message.body)["ExtInfo"])["Manifests"]
    assert len(manifests) == 3
    for address in manifests:
        bucket, _, key = address.partition("/")
        assert TaskResult.model_validate_json(house.buckets.get(bucket).read(key)).results
