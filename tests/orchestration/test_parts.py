"""Outputs with parts, in our executor: they are packaged when all parts have ended, and one that fails is no other's failure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from clips import pattern, tone
from projects import make_project, use_project

from mps_dagster.control.task_run import task_run
from mps_dagster.media.probe import probe
from mps_dagster.mps.results import workflow_task
from mps_dagster.orchestration.executor import waits_for_parts
from mps_dagster.orchestration.runs import run_record
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets

VOD = """
name: vod
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs, dir: /vod/}
tasks:
  ladder:
    type: adaptive_dynamic_streaming
    outputs:
      - name: one
        format: HLS
        segment_type: mp4-mp4-segment
        stream_infos:
          - {video: {height: 90, bitrate: 200, effort: fast}, audio: {codec: aac}}
          - {video: {height: 180, bitrate: 400, effort: fast}, audio: {codec: aac}}
      - name: two
        format: HLS
        stream_infos:
          - {video: {height: 120, bitrate: 200, effort: fast}, audio: {codec: aac, bitrate: 96}}
"""
ONE_RUN = Path(__file__).with_name("one_run.py")
LADDER = "vod__ladder"
LONG = """
name: vod
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs, dir: /vod/}
tasks:
  web:
    type: transcode
    outputs:
      - {name: file, video_template: {height: 36, bitrate: 100, effort: fast}}
      - {name: list, container: hls, video_template: {height: 20, bitrate: 80, effort: fast, hls_time: 10}}
"""


@pytest.mark.parametrize(
    ("unfinished", "waits"),
    [
        (["a.subtask[w0_x]"], set()),
        (["a.subtask[w0_x]", "a.subtask[p0_picture_0]"], {"a.subtask[w0_x]"}),
        (["a.subtask[w0_x]", "b.subtask[p0_picture_0]"], set()),
        (["a.subtask[0_p]", "a.subtask[p0_picture_0]"], set()),
    ],
    ids=["all have ended", "one has not", "one of another task has not", "an output without parts"],
)
def test_an_output_waits_for_the_parts_of_its_task(unfinished, waits):
    assert waits_for_parts([key for key in unfinished if "[p" not in key], unfinished) == waits


@pytest.fixture
def settings(tmp_path, monkeypatch, clips) -> Settings:
    settings = use_project(make_project(tmp_path, vod=VOD), monkeypatch, MPS_CORES="2")
    Buckets(settings).get("inbox").publish(clips.video(), "in/clip.mp4")
    return settings


def execute(tmp_path, *parent: str):
    """A run in processes of its own; its state and its steps."""
    argv = [sys.executable, "-W", "ignore", str(ONE_RUN), *parent]
    subprocess.run(argv, env=os.environ, cwd=tmp_path, check=True, capture_output=True, timeout=200)
    with dg.DagsterInstance.get() as instance:
        [run] = instance.get_runs(limit=1)
        record = run_record(instance, run, None)
        return run.run_id, task_run(record), {step.key.partition(".")[2]: step for step in record.steps}


@pytest.mark.slow
def test_a_set_is_packaged_after_its_parts_and_leaves_none(settings, tmp_path):
    _, state, steps = execute(tmp_path)
    parts = [step for key, step in steps.items() if key.startswith("subtask[p")]
    wholes = [step for key, step in steps.items() if key.startswith("subtask[w")]
    assert len(parts) == 3 + 2
    assert max(step.ended_s for step in parts) <= min(step.started_s for step in wholes)
    assert [(one.label, one.status, len(one.parts)) for one in state.subtasks] == [
        ("one", "SUCCESS", 3),
        ("two", "SUCCESS", 2),
    ]
    results = workflow_task(state)["MediaProcessResultSet"]
    assert [result["AdaptiveDynamicStreamingTask"]["Status"] for result in results] == ["SUCCESS", "SUCCESS"]
    outputs = Buckets(settings).get("outputs")
    assert list(outputs.list("_mps/parts/")) == []
    made = [one for one in state.subtasks[0].result.parts if len(one.commands) == 1 and "[m0s0]" in one.commands[0]]
    assert len(made) == 2, "pictures of one source are made by one process"


@pytest.mark.slow
def test_a_part_that_fails_fails_its_set_alone_and_is_made_again_alone(settings, tmp_path, monkeypatch):
    """The other set is published; the failed one tells of the part, and its other parts stand."""
    outputs = Buckets(settings).get("outputs")
    first, state, _ = _with_a_part_that_fails(tmp_path, monkeypatch)
    one, two = state.subtasks
    assert (two.label, two.status) == ("two", "SUCCESS")
    assert one.status == "FAIL"
    assert one.message.startswith("one picture_0: ")
    assert (one.code, one.number) == (one.parts[0].code, one.parts[0].number)
    standing = {info.key for info in outputs.list("_mps/parts/")}
    _, state, steps = execute(tmp_path, first)
    assert [one.status for one in state.subtasks] == ["SUCCESS"] or state.outcome == "SUCCESS"
    assert {key for key in steps if key.startswith("subtask[p")} == {"subtask[p0_picture_0]"}
    assert len(standing) >= 2
    assert outputs.head("vod/clip_adaptiveDynamicStreaming_one.m3u8").size > 0


def _with_a_part_that_fails(tmp_path, monkeypatch):
    """An ffmpeg that cannot make pictures of 90 lines, once."""
    import imageio_ffmpeg

    real, fake = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "ffmpeg"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *"160,"*|*"scale=160"*|*"160:90"*) echo broken >&2; exit 3;; esac\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("MPS_FFMPEG", str(fake))
    try:
        return execute(tmp_path)
    finally:
        fake.write_text(f'#!/bin/sh\nexec {real} "$@"\n')


@pytest.mark.slow
def test_a_long_source_is_encoded_in_chunks_that_are_joined(settings, tmp_path, clips, monkeypatch):
    """Each chunk is a subtask of its own, and none is left."""
    monkeypatch.setenv("MPS_CHUNKS_FROM_S", "600")
    (settings.workflows_dir / "vod.yaml").write_text(LONG)
    clip = clips._ffmpeg(
        "ten_minutes.mp4", *pattern("64x36", "5", 600), *tone(600), "-c:v", "libx264", "-preset", "ultrafast",
        "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac",
    )  # fmt: skip
    Buckets(settings).get("inbox").publish(clip, "in/clip.mp4")
    _, state, steps = execute(tmp_path)
    assert [(one.label, one.status, len(one.parts)) for one in state.subtasks] == [
        ("file", "SUCCESS", 5),
        ("list", "SUCCESS", 5),
    ]
    assert len([key for key in steps if key.startswith("subtask[p")]) == 10
    outputs = settings.buckets_dir / "outputs"
    assert probe(outputs / "vod/clip_transcode_file.mp4").video.frames == 3000
    lengths = re.findall(r"#EXTINF:([\d.]+)", (outputs / "vod/clip_transcode_list.m3u8").read_text())
    assert [float(length) for length in lengths] == [10.0] * 60
    assert not list((outputs / "_mps/parts").glob("*"))
