"""A project folder for tests: workflows of small, quick outputs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from mps_dagster.settings import Settings

ROOT = Path(__file__).parent.parent

VOD = """
name: vod
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs, dir: /vod/}
notify: [{type: local, queue: events}]
priority: 3
tasks:
  web:
    type: transcode
    outputs:
      - {name: small, video_template: {height: 90, effort: fast}}
      - {name: sound, raw_parameter: {container: mp3}}
  stills:
    type: snapshot_by_time_offset
    outputs: [{definition: 10, ext_time_offset_set: [0s, 50%]}]
  teaser:
    type: animated_graphics
    source: web/small
    outputs: [{name: teaser, fps: 5, width: 128, end_time_offset: 1}]
"""


def command_lines() -> list[str]:
    """Of every process here. Not by ps where there is /proc: a bare Debian has no ps."""
    proc = Path("/proc")
    if not (proc / "self").exists():
        return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    lines = []
    for entry in proc.glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return lines


def make_project(folder: Path, **workflows: str) -> Settings:
    """Settings of a project with these workflow files (name=YAML); `vod` alone by default."""
    project = folder / "project"
    (project / "workflows").mkdir(parents=True)
    (project / "templates").mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(ROOT / name, project / name)
    for name, text in (workflows or {"vod": VOD}).items():
        (project / "workflows" / f"{name}.yaml").write_text(text)
    settings = Settings(project=project, home=folder / "home", settle_s=0)
    (settings.buckets_dir / "inbox").mkdir(parents=True)
    return settings


def use_project(settings: Settings, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """This process, and those that it starts, use the project with its Dagster instance; `variables` are further settings."""
    settings.dagster_home.mkdir(parents=True)
    (settings.dagster_home / "dagster.yaml").symlink_to(settings.project / "dagster.yaml")
    places = {"MPS_PROJECT": settings.project, "MPS_HOME": settings.home, "DAGSTER_HOME": settings.dagster_home}
    for name, value in {**places, **variables}.items():
        monkeypatch.setenv(name, str(value))
    return settings
