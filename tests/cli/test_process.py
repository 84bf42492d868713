"""`mps process` that comes to nothing."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from deployments import with_ports
from projects import make_project

from mps_dagster.cli.process import process
from mps_dagster.cli.templates import templates
from mps_dagster.control.graphql import Dagster, DagsterUnreachable
from mps_dagster.errors import DefinitionNotExist, InvalidConfiguration
from mps_dagster.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    settings = with_ports(make_project(tmp_path))
    for name, value in {"PROJECT": settings.project, "HOME": settings.home, "UI_PORT": settings.ui_port}.items():
        monkeypatch.setenv(f"MPS_{name}", str(value))
    return settings


def uploaded(settings: Settings) -> list[str]:
    return [path.name for path in settings.buckets_dir.rglob("*.mp4")]


@pytest.mark.parametrize("how", [("--workflow", "vod"), ("--tasks", "{sample_snapshot: [{definition: 10}]}")], ids=str)
def test_nothing_is_uploaded_while_dagster_is_down(settings, clips, how):
    """The next attempt would find the file there already, or a second copy be made."""
    with pytest.raises(DagsterUnreachable) as caught:
        CliRunner().invoke(process, [str(clips.video()), *how], catch_exceptions=False)
    assert "mps up" in caught.value.hint
    assert len(caught.value.message) < 80
    assert uploaded(settings) == []


def test_a_file_whose_tasks_are_refused_is_removed_again(settings, clips, monkeypatch):
    """They are looked at once it is there."""
    monkeypatch.setattr(Dagster, "ask", lambda *_: {})
    with pytest.raises(InvalidConfiguration, match="container"):
        CliRunner().invoke(
            process, [str(clips.video()), "--tasks", "{transcode: [{container: mp5}]}"], catch_exceptions=False
        )
    assert uploaded(settings) == []


def test_a_template_that_is_not_there_is_reported(settings):
    """Not shown as nothing, successfully."""
    with pytest.raises(DefinitionNotExist, match="99999999"):
        CliRunner().invoke(templates, ["99999999"], catch_exceptions=False)
