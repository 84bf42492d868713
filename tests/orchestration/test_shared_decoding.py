"""A run whose outputs are made by one ffmpeg: each step publishes its own, and the death of one is no other's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from projects import make_project

from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.naming import uploads_name

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

VOD = """
name: vod
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs, dir: /vod/}
tasks:
  web:
    type: transcode
    outputs:
      - {name: large, video_template: {height: 360}}
      - {name: small, video_template: {height: 240}}
  hls:
    type: transcode
    outputs: [{name: hls, container: hls, video_template: {height: 240}}]
"""
RUN = """
import dagster as dg
from mps_dagster.definitions import defs

def job():
    return defs.resolve_job_def("vod")

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        dg.execute_job(dg.reconstructable(job), instance=instance, tags={"dagster/partition": "in/clip.mp4"}, raise_on_error=False)
"""
OUTPUTS = {"vod/clip_transcode_large.mp4", "vod/clip_transcode_small.mp4", "vod/clip_transcode_hls.m3u8"}


@pytest.fixture
def settings(tmp_path, monkeypatch, clips) -> Settings:
    settings = make_project(tmp_path, vod=VOD)
    settings.dagster_home.mkdir(parents=True)
    (settings.dagster_home / "dagster.yaml").symlink_to(settings.project / "dagster.yaml")
    for name, value in {
        "MPS_PROJECT": str(settings.project), "MPS_HOME": str(settings.home), "DAGSTER_HOME": str(settings.dagster_home),
        "MPS_CORES": "2",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    Buckets(settings).get("inbox").publish(clips.video(4), "in/clip.mp4")
    (tmp_path / "run.py").write_text(RUN)
    return settings


@pytest.fixture
def run(settings, tmp_path) -> Iterator[subprocess.Popen[bytes]]:
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(uploads_name("vod"), ["in/clip.mp4"])
    process = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], cwd=tmp_path, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


def encoders(settings) -> list[int]:
    """Process ids of this home's ffmpeg."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = (folder / "cwd").readlink().is_relative_to(settings.scratch_dir)
            if is_ours and "ffmpeg" in (folder / "exe").readlink().name:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def encoder(settings) -> int:
    deadline = time.monotonic() + 60
    while not (found := encoders(settings)):
        assert time.monotonic() < deadline, "no ffmpeg was started"
        time.sleep(0.05)
    return found[0]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ended(process: subprocess.Popen[bytes]) -> tuple[dg.DagsterRun, Callable[[str], list[str]]]:
    """The run, and the steps that had an event of some kind."""
    process.wait(120)
    with dg.DagsterInstance.get() as instance:
        [record] = instance.get_runs()
        events = [entry.dagster_event for entry in instance.all_logs(record.run_id) if entry.dagster_event]
    return record, lambda kind: [event.step_key for event in events if event.event_type_value == kind]


def published(settings) -> set[str]:
    bucket = Buckets(settings).get("outputs")
    return {info.key for info in bucket.list() if not info.key.startswith("_mps/")}


def test_outputs_of_two_tasks_are_made_by_one_process(run, settings):
    """Each by a step of its own."""
    pid = encoder(settings)
    argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert {part for part in argv if part.startswith("file:") and "/out." in part} == {
        "file:web.0_large/out.mp4", "file:web.1_small/out.mp4", "file:hls.0_hls/out.m3u8",
    }  # fmt: skip
    record, steps = ended(run)
    assert record.status is dg.DagsterRunStatus.SUCCESS
    assert len([step for step in steps("STEP_SUCCESS") if ".subtask[" in step]) == 3
    assert published(settings) >= OUTPUTS
    assert not encoders(settings)


def test_the_death_of_the_process_that_works_for_all_is_one_retry(run, settings):
    """Another member goes on in its place; nothing is lost."""
    os.kill(parent(encoder(settings)), signal.SIGKILL)
    record, steps = ended(run)
    assert record.status is dg.DagsterRunStatus.SUCCESS
    assert len(steps("STEP_UP_FOR_RETRY")) == 1
    assert published(settings) >= OUTPUTS


def test_without_its_ffmpeg_each_output_is_made_alone(run, settings):
    os.kill(encoder(settings), signal.SIGKILL)
    record, _ = ended(run)
    assert record.status is dg.DagsterRunStatus.SUCCESS
    assert published(settings) >= OUTPUTS


def test_a_terminated_run_leaves_no_ffmpeg(run, settings):
    """Nor does a step that waited go on in the other one's place."""
    encoder(settings)
    with dg.DagsterInstance.get() as instance:
        # As the launcher does.
        instance.report_run_canceling(instance.get_runs()[0])
    run.send_signal(signal.SIGINT)
    record, _ = ended(run)
    assert record.status is dg.DagsterRunStatus.CANCELED
    assert not encoders(settings)
    assert not published(settings) & OUTPUTS


def test_sharing_can_be_switched_off(settings, monkeypatch, request):
    monkeypatch.setenv("MPS_SHARE_DECODING", "false")
    run = request.getfixturevalue("run")
    assert "file:out." in Path(f"/proc/{encoder(settings)}/cmdline").read_text()
    record, _ = ended(run)
    assert record.status is dg.DagsterRunStatus.SUCCESS
