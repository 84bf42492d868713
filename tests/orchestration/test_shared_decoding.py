"""A run whose outputs are made by one ffmpeg: each step publishes its own, and the death of one is no other's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from deployments import encoders, wait_until
from projects import make_project, use_project

from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets

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
ONE_RUN = Path(__file__).with_name("one_run.py")
OUTPUTS = {"vod/clip_transcode_large.mp4", "vod/clip_transcode_small.mp4", "vod/clip_transcode_hls.m3u8"}


@pytest.fixture
def settings(tmp_path, monkeypatch, clips) -> Settings:
    settings = use_project(make_project(tmp_path, vod=VOD), monkeypatch, MPS_CORES="2")
    Buckets(settings).get("inbox").publish(clips.video(4), "in/clip.mp4")
    return settings


@pytest.fixture
def run(settings, tmp_path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, str(ONE_RUN)], cwd=tmp_path, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


def encoder(settings) -> int:
    deadline = time.monotonic() + 60
    while not (found := encoders(settings)):
        assert time.monotonic() < deadline, "no ffmpeg was started"
        time.sleep(0.05)
    return found[0]


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


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
    # In the folder of its own subtask; a still's process may have ended when it is looked at.
    wait_until(lambda: any("file:out." in command_line(pid) for pid in encoders(settings)), 60)
    record, _ = ended(run)
    assert record.status is dg.DagsterRunStatus.SUCCESS
