"""A long source is encoded on several hosts at once."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from cluster.cluster import Cluster, new
from cluster.hosts import Host
from mps_dagster.control import tags
from mps_dagster.control.task_run import StoredRun
from mps_dagster.media.probe import probe

pytestmark = [
    pytest.mark.slow, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600),
    pytest.mark.usefixtures("no_earlier_events"),
]  # fmt: skip

GIVEN = re.compile(r"Given to process \d+ on (\w+)")


@pytest.fixture
def key() -> str:
    return new("film/upload.mp4")


def given(up: Cluster, run: StoredRun) -> dict[str, str]:
    """The host that got a step, by step."""
    found = ((step, GIVEN.search(message)) for step, message in up.messages(run))
    return {step: match[1] for step, match in found if match}


def begun(up: Cluster, workers: dict[str, Host], film: Path, key: str) -> tuple[Host, Host]:
    """The run's host, and one that has been given a chunk of it."""
    up.s3.upload_file(str(film), "inbox", key)
    up.wait_until(lambda: any(given(up, run) for run in up.runs(key)))
    run = up.runs(key)[0]
    [other, *_] = given(up, run).values()
    return workers[run.tags[tags.HOST]], workers[other]


def output(up: Cluster, key: str, folder: Path) -> Path:
    copy = folder / "copy.mp4"
    up.s3.download_file("outputs", key, str(copy))
    return copy


def check_done_once(up: Cluster, key: str, folder: Path) -> StoredRun:
    up.wait_until(lambda: up.runs(key)[0].status in ("SUCCESS", "FAILURE"), 240)
    run = up.runs(key)[0]
    assert run.status == "SUCCESS"
    event = json.loads(up.mps("notifications", "receive", "--wait", "60", "--acknowledge"))["event"]
    assert event["WorkflowTaskEvent"]["ErrCode"] == 0
    media = probe(output(up, f"film/{Path(key).stem}_transcode_whole.mp4", folder))
    assert media.video.frames == 3000
    assert media.duration_s == pytest.approx(600, abs=0.2)
    return run


def test_chunks_of_one_source_are_made_on_several_hosts(up, workers, clips, key, tmp_path):
    """The others fetch the source for themselves, leave nothing behind, and are shown beside the run's own host."""
    own, other = begun(up, workers, clips.film(), key)
    assert own is not other
    assert re.search(rf"{other.name}.*{key}\s+\(chunks\)", up.mps("workers"))
    run = check_done_once(up, key, tmp_path)
    assert len(given(up, run)) >= 3
    assert own.name not in given(up, run).values()
    assert json.loads(run.tags[tags.ALSO_ON]) == []
    up.wait_until(lambda: not any(host.run("ls", "/var/mps/scratch").split() for host in workers.values()), 30)


def test_a_host_that_makes_chunks_is_cut_off(up, workers, clips, key, tmp_path):
    """Its chunk is made elsewhere in the same run, and it ends what it did."""
    _, other = begun(up, workers, clips.film(), key)
    other.cut_off()
    cut = time.monotonic()
    run = check_done_once(up, key, tmp_path)
    assert run.root_run_id == run.run_id, "no second run was needed"
    up.wait_until(lambda: not other.pids("ffmpeg"))
    time.sleep(max(0.0, 60 - (time.monotonic() - cut)))
    other.connect()
    up.wait_until(lambda: other.name in up.mps("workers"))
