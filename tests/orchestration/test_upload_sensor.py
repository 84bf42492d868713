"""The upload sensor: exactly one run per upload, and nothing decided from a failed listing."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest
from projects import VOD, make_project

from mps_dagster.orchestration.upload_sensor import RUNS_PER_TICK, new_uploads
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.workflow.model import Trigger
from mps_dagster.workflow.naming import run_key

from .conftest import furnished

TRIGGER = Trigger(bucket="inbox", dir="/in/")


def listed(key: str = "in/a.mp4", etag: str = "1", *, settled: bool = True) -> ObjectInfo:
    return ObjectInfo(key, 1, etag, datetime.now(UTC), settled)


@pytest.mark.parametrize(
    ("info", "taken"),
    [
        pytest.param(listed(), True, id="an upload"),
        pytest.param(listed("in/deep/er/a.MP4"), True, id="in any folder below, in any case"),
        pytest.param(listed("out/a.mp4"), False, id="outside the dir"),
        pytest.param(listed("in/a.txt"), False, id="of no format that is asked for"),
        pytest.param(listed("in/a"), False, id="without an extension"),
        pytest.param(listed("in/own.mp4"), False, id="our own output"),
        pytest.param(listed("in/a.mp4", "seen"), False, id="one that has a run already"),
        pytest.param(listed(settled=False), False, id="one that is still being written"),
    ],
)
def test_only_new_whole_uploads_get_a_run(info, taken):
    """Decided from the listing and what is remembered, and from nothing else."""
    requested = {run_key("inbox", listed("in/a.mp4", "seen"))}
    chosen, _ = new_uploads([info], TRIGGER, requested, {"in/own.mp4"})
    assert bool(chosen) is taken


def test_a_burst_is_taken_in_bounded_ticks():
    """The rest of it in the next one."""
    burst = [listed(f"in/{number}.mp4") for number in range(RUNS_PER_TICK + 1)]
    first, _ = new_uploads(burst, TRIGGER, set(), set())
    second, _ = new_uploads(burst, TRIGGER, {run_key("inbox", info) for info in first}, set())
    assert (len(first), len(second)) == (RUNS_PER_TICK, 1)


def remember(house, result) -> None:
    """What the daemon does with a tick's answer."""
    for request in result.dynamic_partitions_requests:
        house.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)


def test_an_upload_is_asked_for_once_and_again_when_it_changes(house, clips):
    """The run says which content was announced."""
    house.put(clips.video(), "in/clip.mp4")
    result = house.look("vod_uploads")
    assert [request.partition_key for request in result.run_requests] == ["in/clip.mp4"]
    request = result.run_requests[0]
    etag = house.buckets.get("inbox").head("in/clip.mp4").etag
    assert request.run_config == {"ops": {"vod__source": {"config": {"etag": etag}}}}
    assert request.tags["dagster/priority"] == "3"
    remember(house, result)
    assert isinstance(house.look("vod_uploads"), dg.SkipReason)
    house.put(clips.no_audio(), "in/clip.mp4")
    again = house.look("vod_uploads")
    assert [request.partition_key for request in again.run_requests] == ["in/clip.mp4"]
    assert again.run_requests[0].run_key != request.run_key


def test_a_file_that_is_being_written_waits(house, clips):
    """Until its writer has closed it."""
    path = house.settings.buckets_dir / "inbox" / "in" / "clip.mp4"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(clips.video().read_bytes()[:1000])
        file.flush()
        reason = house.look("vod_uploads")
        assert "1 still being written" in reason.skip_message
    result = house.look("vod_uploads")
    assert len(result.run_requests) == 1


def test_a_failed_listing_decides_nothing(house):
    """It shows as a failed tick; an empty answer would look like "no uploads"."""
    (house.settings.buckets_dir / "inbox").rmdir()
    with pytest.raises(dg.Failure, match="could not be listed"):
        house.look("vod_uploads")


def test_our_own_outputs_never_trigger(tmp_path, instance, clips):
    """Though they are written where uploads are looked for."""
    text = VOD.replace("{bucket: outputs, dir: /vod/}", "{bucket: inbox, dir: /in/}")
    house = furnished(make_project(tmp_path, vod=text), instance)
    house.put(clips.video(), "in/clip.mp4")
    result = house.look("vod_uploads")
    remember(house, result)
    assert house.run("in/clip.mp4").success
    assert house.buckets.get("inbox").head("in/clip_transcode_small.mp4")
    assert isinstance(house.look("vod_uploads"), dg.SkipReason)


def test_a_file_that_is_no_workflow_takes_no_other_one_down(tmp_path, instance):
    """It shows as a sensor that fails with the reason."""
    house = furnished(make_project(tmp_path, vod=VOD, broken="name: broken\ntasks: {web: {type: transcod}}"), instance)
    assert house.sensor("vod_uploads")
    with pytest.raises(dg.Failure, match="there is no task type 'transcod'"):
        house.look("broken_is_not_a_workflow")
