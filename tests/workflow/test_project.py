"""The snapshot of a project's files: kept while they stay the same, read again where one has changed; and changes of them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from projects import VOD

from mps_dagster.settings import Settings
from mps_dagster.workflow import files
from mps_dagster.workflow.files import changing
from mps_dagster.workflow.project import Project

OWN = "kind: transcode\ntemplates: [{definition: 7, name: own, parameters: {container: mp4}}]"
SAME = 10**18
"""A time of modification."""


def write(path: Path, text: str) -> None:
    """In place, and with one time of modification, as some tools do."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(SAME, SAME))


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files are taken for as old as they are some seconds after."""
    monkeypatch.setattr(files, "SETTLED_NS", 0)


@pytest.fixture
def settings(tmp_path) -> Settings:
    """Of two workflows and a template."""
    settings = Settings(project=tmp_path)
    write(settings.workflows_dir / "a.yaml", VOD.replace("name: vod", "name: a"))
    write(settings.workflows_dir / "b.yaml", VOD.replace("name: vod", "name: b"))
    write(settings.templates_dir / "own.yaml", OWN)
    return settings


@pytest.mark.usefixtures("settled")
def test_what_has_not_changed_is_not_read_again(settings):
    """Also by threads that ask at once."""
    with ThreadPoolExecutor(4) as threads:
        together = threading.Barrier(4)
        projects = list(threads.map(lambda _: (together.wait(), Project.load(settings))[1], range(4)))
    assert len({id(project) for project in projects}) == 1
    assert [workflow.name for workflow in projects[0].workflows] == ["a", "b"]


@pytest.mark.usefixtures("settled")
def test_only_the_file_that_changed_is_read_again(settings):
    """One that is added or removed, too."""
    before = Project.load(settings)
    (settings.workflows_dir / "b.yaml").write_text(VOD.replace("name: vod", "name: other"))
    after = Project.load(settings)
    assert [workflow.name for workflow in after.workflows] == ["a", "other"]
    assert after.workflows[0] is before.workflows[0]
    write(settings.workflows_dir / "c.yaml", VOD)
    (settings.workflows_dir / "a.yaml").unlink()
    assert [workflow.name for workflow in Project.load(settings).workflows] == ["other", "vod"]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("renamed", [True, False])
def test_a_file_of_the_same_size_and_time_is_another_one(settings, renamed):
    """Whether it was renamed, as all of our own changes are, or written in place."""
    path = settings.workflows_dir / "a.yaml"
    Project.load(settings)
    target = path.with_name(".draft") if renamed else path
    write(target, VOD.replace("name: vod", "name: z"))
    target.replace(path)
    assert path.stat().st_mtime_ns == SAME
    assert [workflow.name for workflow in Project.load(settings).workflows] == ["z", "b"]


def test_a_file_that_was_written_just_now_is_read_each_time(settings):
    """A second write within the tick of the file system's clock leaves size, time and inode as they are."""
    first, second = Project.load(settings), Project.load(settings)
    assert first is not second
    assert first.documents == second.documents


def test_a_workflow_follows_the_templates_that_it_names(settings):
    """Though its own file stays as it is."""
    path = settings.workflows_dir / "a.yaml"
    write(path, "{name: a, trigger: {bucket: inbox}, tasks: {web: {type: transcode, outputs: [{definition: own}]}}}")
    assert Project.load(settings).by_name["a"].tasks["web"].specs[0].container == "mp4"
    write(settings.templates_dir / "own.yaml", OWN.replace("mp4", "mkv"))
    assert Project.load(settings).by_name["a"].tasks["web"].specs[0].container == "mkv"
    (settings.templates_dir / "own.yaml").unlink()
    project = Project.load(settings)
    assert [workflow.name for workflow in project.workflows] == ["b"]
    assert "there is no transcode template 'own'" in project.bad[0].problem
    assert project.documents[path]["name"] == "a"


def test_a_change_that_fails_leaves_all_files_as_they_were(tmp_path):
    """Their modes, too."""
    kept, gone, added = (tmp_path / name for name in ("kept", "gone", "added"))
    kept.write_bytes(b"before")
    kept.chmod(0o600)
    gone.write_bytes(b"there")

    def change_all() -> None:
        with changing(tmp_path) as change:
            assert change.next_number(tmp_path / "counter", [4]) == 5
            change.write(kept, b"once")
            change.write(kept, b"twice")
            change.delete(gone)
            change.write(added, b"new")
            assert (kept.read_bytes(), gone.exists(), added.exists()) == (b"twice", False, True)
            raise RuntimeError("no Dagster answers")

    with pytest.raises(RuntimeError):
        change_all()
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777, gone.read_bytes()) == (b"before", 0o600, b"there")
    assert not added.exists()
    with changing(tmp_path) as change:
        assert change.next_number(tmp_path / "counter", [4]) == 5


def test_a_number_is_never_given_out_twice(tmp_path):
    """Also if its file is gone."""
    with changing(tmp_path) as change:
        assert [change.next_number(tmp_path / "counter", taken) for taken in ([9], [9], [12], [])] == [10, 11, 13, 14]
