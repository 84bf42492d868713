"""`mps lineage` shows what was measured of an output."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mps_dagster.cli.lineage import lineage
from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates


@pytest.mark.slow
def test_lineage_shows_figures(tmp_path, monkeypatch, clips):
    monkeypatch.setenv("MPS_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("MPS_HOME", str(tmp_path / "home"))
    settings = Settings()
    settings.templates_dir.mkdir(parents=True)
    worker = Worker.of(settings, Buckets(settings))
    worker.buckets.get("inbox").publish(clips.video(), "clip.mp4")
    source = worker.fetch_source("inbox", "clip.mp4", None, "run")
    output = {
        "name": "x", "output_object_path": "/x",
        "video_template": {"vcrf": 30, "effort": "fast", "quality": {"metric": "xpsnr", "short_side": 360}},
        "audio_template": {"loudness": {"target_lufs": -20}},
    }  # fmt: skip
    document = {"type": "transcode", "outputs": [output]}
    task = parse_task("task", document, {"bucket": "outputs"}, Templates.load(), where="test")
    [subtask] = break_down(task, source, worker)
    result = worker.perform(subtask, "run", lambda *_: None)
    shown = CliRunner().invoke(lineage, ["outputs/x.mp4"])
    assert shown.exit_code == 0, shown.output
    assert f"measured  xpsnr {result.figures['xpsnr']:g}" in shown.output
    assert "loudness_lufs -20" in " ".join(shown.output.split())
