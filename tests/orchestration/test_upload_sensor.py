"""The upload sensor: exactly one run per upload, and nothing decided from a failed listing."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import dagster as dg
import pytest
from projects import VOD, make_project

from mps_dagster.control.scopes import Cursor
from mps_dagster.control.uploads import Limits
from mps_dagster.errors import StorageFailed
from mps_dagster.storage.local import LocalBucket
from mps_dagster.workflow.naming import requested_name, upload_id

from .conftest import Daemon, furnished


@pytest.fixture
def daemon(house) -> Daemon:
    return Daemon(house)


def write(house, *keys: str, content: bytes = b"x") -> None:
    for key in keys:
        house.buckets.get("inbox").write(key, content)


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        pytest.param("in/a.mp4", True, id="an upload"),
        pytest.param("in/deep/er/a.MP4", True, id="in any folder below, in any case"),
        pytest.param("out/a.mp4", False, id="outside the dir"),
        pytest.param("in/a.txt", False, id="of no format that is asked for"),
        pytest.param("in/a", False, id="without an extension"),
        pytest.param("in/line\nbreak...mp4", True, id="with what Dagster refuses in a partition key"),
    ],
)
def test_uploads_to_the_dir_get_a_run(house, daemon, key, taken):
    """Of the formats that the trigger takes."""
    write(house, key)
    assert daemon.tick() == [key] * taken


def test_a_run_says_which_content_was_announced(house, daemon):
    """So that another content is not processed in its place."""
    write(house, "in/a.mp4")
    daemon.tick()
    [request] = daemon.answer.run_requests
    etag = house.buckets.get("inbox").head("in/a.mp4").etag
    config = {"etag": etag, "notify": [{"type": "local"}]}
    assert request.run_config == {"ops": {"vod__source": {"config": config}}}
    assert (request.partition_key, request.tags["dagster/priority"]) == ("in/a.mp4", "3")


def test_an_upload_gets_one_run_and_another_when_it_changes_or_is_renamed(house, daemon):
    """However often it is looked at."""
    write(house, "in/a.mp4")
    assert [daemon.tick() for _ in range(3)] == [["in/a.mp4"], [], []]
    write(house, "in/a.mp4", content=b"changed")
    assert [daemon.tick() for _ in range(2)] == [["in/a.mp4"], []]
    inbox = house.settings.buckets_dir / "inbox" / "in"
    (inbox / "a.mp4").rename(inbox / "b.mp4")
    assert [daemon.tick() for _ in range(2)] == [["in/b.mp4"], []]


def test_a_burst_is_taken_in_bounded_ticks(house):
    """None lost, none twice, though the sweep is cut in the middle."""
    daemon = Daemon(house, limits=Limits(runs=5))
    keys = [f"in/{number}.mp4" for number in range(8)]
    write(house, *keys)
    assert daemon.tick() == keys[:5]
    assert Cursor.parse(daemon.cursor).after == keys[4]
    assert daemon.tick() == keys[5:]
    assert daemon.tick() == []


def test_what_comes_behind_the_sweep_is_found_by_the_next_one(house):
    """A sweep goes through the keys in order, and an upload may sort before where it is."""
    daemon = Daemon(house, limits=Limits(runs=2))
    write(house, "in/1.mp4", "in/2.mp4", "in/3.mp4")
    daemon.tick()
    write(house, "in/+first.mp4")
    assert daemon.tick() == ["in/3.mp4"]
    assert daemon.tick() == ["in/+first.mp4"]


def test_a_daemon_that_dies_loses_nothing(house, daemon):
    """What was asked for in a tick that never ended is asked for again."""
    write(house, "in/a.mp4")
    daemon.tick(dies=True)
    assert daemon.tick() == ["in/a.mp4"]
    assert daemon.tick() == []


def test_a_run_that_did_not_get_into_the_queue_is_asked_for_again(house, daemon):
    """Dagster creates a run before it puts it into the queue; only there is it sure to be run."""
    write(house, "in/a.mp4", "in/b.mp4")
    assert daemon.tick(queue_fails=True) == []
    write(house, "in/c.mp4")
    assert daemon.tick() == ["in/a.mp4", "in/b.mp4", "in/c.mp4"]
    assert daemon.tick() == []
    assert not daemon.answer.run_requests
    assert house.instance.get_runs_count() == 3


def test_runs_that_were_deleted_are_not_made_again(house, daemon):
    """Dagster forgets a run key with its run; we do not."""
    write(house, "in/a.mp4")
    daemon.tick()
    daemon.tick()
    for run in house.instance.get_runs():
        house.instance.delete_run(run.run_id)
    assert daemon.tick() == []


def test_a_cursor_that_is_reset_or_of_another_version_makes_no_second_run(house, daemon):
    """An admin may reset it in the UI."""
    write(house, "in/a.mp4")
    daemon.tick()
    for cursor in (None, "2026-01-01", '{"other": 1}'):
        daemon.cursor = cursor
        assert daemon.tick() == []


def test_a_file_that_is_being_written_waits(house, daemon):
    """Until its writer has closed it."""
    path = house.settings.buckets_dir / "inbox" / "in" / "clip.mp4"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(b"part")
        file.flush()
        assert daemon.tick() == []
        assert "1 still being written" in daemon.answer.skip_reason.skip_message
    assert daemon.tick() == ["in/clip.mp4"]


def test_a_failed_listing_decides_nothing(house, daemon, monkeypatch):
    """It shows as a failed tick, and the cursor stays; an empty answer would look like "no uploads"."""
    write(house, "in/a.mp4", "in/b.mp4")
    whole = LocalBucket.list

    def breaks_off(self, prefix="", **how):
        yield next(whole(self, prefix, **how))
        raise StorageFailed("the connection is gone")

    monkeypatch.setattr(LocalBucket, "list", breaks_off)
    with pytest.raises(dg.Failure, match="could not be listed: the connection is gone"):
        daemon.tick()
    monkeypatch.undo()
    assert daemon.tick() == ["in/a.mp4", "in/b.mp4"]


def test_a_name_that_no_bucket_may_hold_is_reported(house, daemon):
    """Somebody waits for its run: the tick says to rename it, and how many there are."""
    folder = house.settings.buckets_dir / "inbox" / "in"
    folder.mkdir()
    try:
        for name in (b"caf\xe9.mp4", b"\xff.mp4"):
            (folder / os.fsdecode(name)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    write(house, "in/a.mp4")
    assert [daemon.tick() for _ in range(2)] == [["in/a.mp4"], []]
    assert "2 left out, such as: bucket inbox: a file is left out, rename it" in daemon.answer.skip_reason.skip_message


def test_a_bucket_that_is_gone_is_a_failed_tick(house, daemon):
    """And says how to make it."""
    (house.settings.buckets_dir / "inbox").rmdir()
    with pytest.raises(dg.Failure, match="mkdir"):
        daemon.tick()


def test_our_own_outputs_never_trigger(tmp_path, instance, clips):
    """Though they are written where uploads are looked for; and a sweep looks at each of them once."""
    text = VOD.replace("{bucket: outputs, dir: /vod/}", "{bucket: inbox, dir: /in/}")
    house = furnished(make_project(tmp_path, vod=text), instance)
    daemon = Daemon(house)
    house.upload(clips.video(), "in/clip.mp4")
    assert daemon.tick() == ["in/clip.mp4"]
    assert house.run("in/clip.mp4").success
    assert house.buckets.get("inbox").head("in/clip_transcode_small.mp4").record
    assert daemon.tick() == []
    remembered = len(house.instance.get_dynamic_partitions(requested_name("vod")))
    assert daemon.tick() == []
    assert len(house.instance.get_dynamic_partitions(requested_name("vod"))) == remembered == 3


def test_a_file_that_is_no_workflow_takes_no_other_one_down(tmp_path, instance):
    """It shows as a sensor that fails with the reason."""
    house = furnished(make_project(tmp_path, vod=VOD, broken="name: broken\ntasks: {web: {type: transcod}}"), instance)
    assert house.sensor("vod_uploads")
    with pytest.raises(dg.Failure, match="there is no task type 'transcod'"):
        house.tick("workflows_broken_is_not_valid")


def test_a_template_file_that_is_wrong_takes_nothing_down_either(tmp_path, instance):
    """It has a sensor beside the one of a workflow file of the same name."""
    settings = make_project(tmp_path, vod=VOD, broken="name: broken")
    (settings.templates_dir / "broken.yaml").write_text("kind: [")
    house = furnished(settings, instance)
    assert house.sensor("vod_uploads")
    with pytest.raises(dg.Failure, match=r"broken\.yaml"):
        house.tick("templates_broken_is_not_valid")
    assert house.sensor("workflows_broken_is_not_valid")


def test_bad_files_whose_names_differ_in_what_dagster_does_not_take_stand_side_by_side(tmp_path, instance):
    """One sensor each."""
    names = ("my-flow", "my_flow", "影", "音")
    house = furnished(make_project(tmp_path, **dict.fromkeys(names, "name: 1")), instance)
    sensors = [sensor.name for sensor in house.defs.get_repository_def().sensor_defs]
    assert len({name for name in sensors if name.endswith("_is_not_valid")}) == 4


def test_a_disabled_workflow_takes_nothing_and_an_enabled_one_what_came_since(tmp_path, instance):
    """MPS's rule; a sweep passes by what was there before."""
    house = furnished(make_project(tmp_path, vod=VOD + "enabled: false\n"), instance)
    write(house, "in/early.mp4")
    assert Daemon(house).tick() == []
    assert house.sensor("vod_uploads").default_status is dg.DefaultSensorStatus.STOPPED
    moment = datetime.now(UTC).isoformat()
    (house.settings.workflows_dir / "vod.yaml").write_text(VOD + f"enabled_at: {moment}\n")
    daemon = Daemon(furnished(house.settings, instance))
    assert daemon.tick() == []
    write(house, "in/late.mp4")
    assert daemon.tick() == ["in/late.mp4"]
    assert daemon.tick() == []


TWO = {"vod": VOD, "other": VOD.replace("name: vod", "name: other").replace("/vod/", "/other/")}


def test_one_sensor_serves_all_workflows_of_a_bucket(tmp_path, instance):
    """Each gets a run of its own on an upload that both take, and one only."""
    daemon = Daemon(furnished(make_project(tmp_path, **TWO), instance))
    write(daemon.house, "in/a.mp4")
    assert daemon.tick() == ["in/a.mp4", "in/a.mp4"]
    assert {run.job_name for run in instance.get_runs()} == {"vod", "other"}
    assert daemon.tick() == []


@pytest.fixture
def off(instance, monkeypatch) -> set[str]:
    """Sensors that were switched off in the UI; tests/cli has a real switch."""
    names: set[str] = set()
    stopped = SimpleNamespace(value="STOPPED")
    states = lambda: [SimpleNamespace(instigator_name=name, status=stopped) for name in names]  # noqa: E731
    monkeypatch.setattr(instance, "all_instigator_state", states)
    return names


def test_a_workflow_is_switched_off_by_itself(tmp_path, instance, off):
    """The other ones of its bucket go on; switched on again, it takes what came meanwhile."""
    daemon = Daemon(furnished(make_project(tmp_path, **TWO), instance))
    off.add("vod_uploads")
    write(daemon.house, "in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]
    assert daemon.tick() == []
    assert "1 an upload of a workflow that is switched off" in daemon.answer.skip_reason.skip_message
    off.clear()
    assert daemon.tick() == ["in/a.mp4"]
    assert [run.job_name for run in instance.get_runs()] == ["vod", "other"]


def test_a_switch_says_which_sensor_looks_for_its_uploads(house):
    """It has ticks of its own, on which nothing is found."""
    assert house.tick("vod_uploads").skip_message == "vod is on: uploads_inbox looks for its uploads"
    assert "uploads_inbox looks for its uploads to inbox/in/" in house.sensor("vod_uploads").description


def test_runs_of_the_sensors_of_earlier_versions_are_known(house, daemon):
    """Each workflow had one, whose run keys did not name it; they may end after the update."""
    write(house, "in/a.mp4", "in/b.mp4")
    keys = [upload_id("inbox", house.buckets.get("inbox").head(f"in/{name}.mp4")) for name in "ab"]
    house.instance.add_dynamic_partitions(requested_name("vod"), keys[:1])
    tags = {
        "mps/workflow": "vod",
        "mps/bucket": "inbox",
        "dagster/run_key": keys[1],
        "dagster/sensor_name": "vod_uploads",
    }
    house.instance.add_run(
        dg.DagsterRun(job_name="vod", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=tags)
    )
    assert daemon.tick() == []
