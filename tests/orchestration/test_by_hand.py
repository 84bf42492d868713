"""A schedule by hand: its tasks, serial ones too, on an object of any bucket."""

from __future__ import annotations

import json

import pytest
from projects import VOD, make_project

from mps_dagster.notify.local_queue import LocalQueue

from .conftest import furnished

SCHEDULE = VOD.replace("name: vod", "name: s100001")


def run_by_hand(tmp_path, instance, clips, **named: object):
    """On an object that lies outside its trigger's bucket."""
    house = furnished(make_project(tmp_path, s100001=SCHEDULE), instance)
    house.buckets.get("drafts").publish(clips.video(), "scene.mp4")
    place = {"bucket": "cuts", "dir": "/cut/"}
    ops = {f"s100001__{name}": {"config": {"task": {"output": place}}} for name in ("web", "stills", "teaser")}
    source = {"config": {"bucket": "drafts", "key": "scene.mp4", "output": place, **named}}
    job = house.defs.resolve_job_def("s100001_by_hand")
    assert job.execute_in_process(instance=instance, run_config={"ops": {**ops, "source": source}}).success
    house.tick("deliver_notifications")
    return house


def test_all_of_its_tasks_are_run_and_put_where_the_call_says(tmp_path, instance, clips):
    """The one that works on another's output, too; and nothing becomes a partition."""
    house = run_by_hand(tmp_path, instance, clips)
    keys = {info.key for info in house.buckets.get("cuts").list("cut/")}
    assert {"cut/scene_transcode_small.mp4", "cut/scene_transcode_small_animatedGraphic_teaser.gif"} <= keys
    assert not (house.settings.buckets_dir / "outputs").exists()
    assert instance.get_dynamic_partitions("s100001_uploads") == []


@pytest.mark.parametrize(
    ("named", "queue"), [({}, "events"), ({"notify": [{"type": "local", "queue": "mine"}]}, "mine")]
)
def test_the_sink_of_the_call_replaces_that_of_the_schedule(tmp_path, instance, clips, named, queue):
    """In MPS's event of a schedule."""
    house = run_by_hand(tmp_path, instance, clips, **named)
    [message] = LocalQueue(house.settings.queue_path).receive(queue, max_messages=10)
    event = json.loads(message.body)
    assert event["EventType"] == "ScheduleTask"
    assert event["ScheduleTaskEvent"]["InputInfo"]["CosInputInfo"] == {
        "Bucket": "drafts",
        "Region": "ap-guangzhou",
        "Object": "/scene.mp4",
    }
    assert len(event["ScheduleTaskEvent"]["ActivityResultSet"]) == 4
