"""The package as users get it: a wheel, installed without the checkout, makes a project and runs it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployments import environment_of, leftovers, start, wait_until, with_ports
from projects import ROOT

from mps_dagster.settings import Settings
from mps_dagster.workflow.new_project import FILES, FOLDERS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("services")]

PACKAGE = ROOT / "mps_dagster"
Mps = Callable[..., str]


def own_environment() -> dict[str, str]:
    """Without what names the checkout or another project."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONPATH" and not name.startswith("MPS_")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built without a network, from a copy: setuptools leaves a folder `build`, which would be in the next wheel."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(PACKAGE, tree / "mps_dagster", ignore=shutil.ignore_patterns("__pycache__"))
    argv = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist", "."]
    done = subprocess.run(argv, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = (tree / "dist").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory) -> Path:
    """`mps` of a new environment with the wheel. The other packages are those of the tests."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, env=own_environment())
    [packages] = folder.glob("lib/python*/site-packages")
    # Of a folder that is added like this, Python reads no .pth files: an editable install of the checkout has no effect.
    shared = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "shared.pth").write_text("\n".join(shared))
    found = subprocess.run(
        [python, "-c", "import mps_dagster; print(mps_dagster.__file__)"],
        cwd=folder, env=own_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(found.stdout.strip()).is_relative_to(folder)
    return folder / "bin" / "mps"


@pytest.fixture(scope="module")
def mps(program, tmp_path_factory) -> Mps:
    """Run a command in a folder; return what it printed."""

    def mps(*args: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [program, *args], cwd=cwd, env=environment or own_environment(), capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return mps


@pytest.fixture(scope="module")
def project(mps, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("users")
    mps("init", "media", cwd=folder)
    project = folder / "media"
    tasks = ("--task", "transcode:100010", "--task", "snapshot_by_time_offset", "--task", "watermark")
    mps("new", "workflow", "vod", "--dir", "/in/", *tasks, "--yes", cwd=project)
    return project


def test_the_wheel_has_every_file_of_the_package(wheel):
    """Presets, the API's actions, the files of a new project."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("mps_dagster/")}
    assert names == expected


def test_a_project_has_what_it_needs_and_is_valid(mps, project):
    assert {path.name for path in project.iterdir()} == {*FOLDERS, *FILES, ".mps"}
    assert "vod: valid" in mps("workflows", "validate", cwd=project)
    assert "failed" not in mps("doctor", cwd=project)
    assert "100010" in mps("templates", "--kind", "transcode", cwd=project)


@pytest.fixture
def settings(project) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        for name in {*os.environ} - {*own_environment()}:
            patch.delenv(name)
        yield with_ports(Settings(project=project, home=project / ".mps"))


def test_an_upload_is_processed_in_a_new_project(mps, program, settings, clips):
    """`mps up` of the wheel finds a dropped file, makes its outputs and sends the event."""
    environment = environment_of(settings)
    outputs = settings.buckets_dir / "outputs" / "vod" / "clip.mp4"
    with start(settings, program=str(program)) as up:
        shutil.copy(clips.video(), settings.buckets_dir / "inbox" / "in" / "clip.mp4")
        received = mps("notifications", "receive", "--wait", "120", cwd=settings.project, environment=environment)
        assert '"Status": "FINISH"' in received
        wait_until(lambda: "SUCCESS" in mps("tasks", cwd=settings.project, environment=environment), 60)
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=30)
    assert sorted(path.name for path in outputs.iterdir()) == [
        "clip_snapshotByTimeOffset_10_0.jpg", "clip_snapshotByTimeOffset_10_1.jpg", "clip_transcode_100010.mp4",
        "clip_watermark_branded.mp4",
    ]  # fmt: skip
    assert not leftovers(settings)
