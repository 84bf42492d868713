"""`mps usage` and `mps process --estimate`, on records that are made up; tests/orchestration has real ones."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from projects import make_project
from recorded import Recorded, film, made

from mps_dagster.cli.process import process
from mps_dagster.cli.usage import usage
from mps_dagster.errors import InvalidInput
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import Settings
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.usage.files import DailyFiles, Usage
from mps_dagster.workflow.project import Project

DAYS = ("--since", "2026-11-25", "--until", "2026-11-27")


@pytest.fixture
def records(tmp_path, monkeypatch) -> Recorded:
    settings, records = make_project(tmp_path), Recorded()
    monkeypatch.setenv("MPS_PROJECT", str(settings.project))
    monkeypatch.setenv("MPS_HOME", str(settings.home))
    opened = Usage(DailyFiles(MemoryBucket("usage")), records, {})
    for module in ("usage", "estimate"):
        # By name: `mps_dagster.cli.usage` is also the command.
        monkeypatch.setattr(
            sys.modules[f"mps_dagster.cli.{module}"], "open_usage", contextmanager(lambda _: iter([opened]))
        )
    return records


def shown(command, *arguments: str) -> list[list[str]]:
    """The cells of each line that is printed."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [line.split("  ") for line in result.output.splitlines() if line.strip(" ─")]


def cells(command, *arguments: str) -> list[list[str]]:
    return [[cell.strip() for cell in line if cell.strip()] for line in shown(command, *arguments)]


def test_usage_is_a_table_by_what_is_asked_for(records):
    records.add(made("100030", film(90, 1280, 720)), **{"mps/account": "news"})
    records.add(made("100030", film(30, 1280, 720)), failed=[made("x")], status="FAILURE")
    assert cells(usage, *DAYS, "--by", "key", "--price", "tencent_mps") == [
        ["key", "tasks", "outputs", "reused", "failed", "min in", "min out", "in", "out", "pictures", "Gpixels", "CPU s", "wall s", "CNY"],
        ["–", "1", "1", "0", "1", "1.0", "0.5", "1 kB", "0 kB", "0", "0.69", "8", "14", "0.02"],
        ["news", "1", "1", "0", "0", "1.0", "1.5", "1 kB", "0 kB", "0", "2.07", "8", "4", "0.05"],
    ]  # fmt: skip


def test_a_file_has_exact_numbers(records, tmp_path: Path):
    """A line for each combination."""
    records.add(made("100030", film(100)), made("100020", film(100)))
    path = tmp_path / "usage.csv"
    shown(usage, *DAYS, "--by", "day", "--by", "template", "--csv", str(path))
    table = pd.read_csv(path)
    assert table[["day", "template"]].to_numpy().tolist() == [
        ["2026-11-26", "transcode/100020"],
        ["2026-11-26", "transcode/100030"],
    ]
    assert table["minutes_out"].tolist() == pytest.approx([5 / 3, 5 / 3])


def test_what_a_price_table_lacks_is_said(records):
    records.add(made("10", (320, 180), kind="sample_snapshot"))
    assert cells(usage, *DAYS, "--price", "tencent_mps")[-1] == ["no price in tencent_mps: sample_snapshot/10"]


def test_days_in_the_wrong_order_are_refused(records):
    with pytest.raises(InvalidInput, match="after"):
        shown(usage, "--since", "2026-11-27", "--until", "2026-11-26")


def test_an_estimate_tells_cost_error_and_samples(records, tmp_path, monkeypatch):
    """And where nothing was made alike, that. Nothing is uploaded or launched."""
    monkeypatch.setattr(Ffmpeg, "probe", lambda *_: film(600))
    workflow = Project.load(settings := Settings()).by_name["vod"]
    spec = workflow.tasks["web"].specs[0].model_dump(mode="json")
    now = pd.Timestamp.now(tz="UTC").timestamp()
    for length in (60, 120):
        records.add(
            made("small", film(1), spec=spec, cpu_s=length, size=length * 1000), source=film(length), ended_s=now
        )
    clip = tmp_path / "clip.mp4"
    clip.touch()
    lines = cells(process, str(clip), "--workflow", "vod", "--estimate")
    assert lines[1] == ["web/small", "10 (10 – 10)", "± 0%*", "600 kB (600 kB – 600 kB)", "± 0%*", "2"]
    assert lines[2] == ["web/sound", "?", "?", "none in 90 days"]
    assert lines[-2] == ["in total", "10 (10 – 10)", "600 kB (600 kB – 600 kB)", "without 3"]
    assert not [path for path in settings.buckets_dir.rglob("*") if path.is_file()]


def test_tasks_are_estimated_like_workflows(records, tmp_path, monkeypatch):
    monkeypatch.setattr(Ffmpeg, "probe", lambda *_: film(600))
    clip = tmp_path / "clip.mp4"
    clip.touch()
    lines = cells(process, str(clip), "--tasks", "{sample_snapshot: [{definition: 10}]}", "--estimate")
    assert lines[1][0] == "sample_snapshot/10"
