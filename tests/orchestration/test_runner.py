"""Runs are forked from a process that has everything imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from projects import VOD, make_project, use_project

from mps_dagster.orchestration.launcher import CheckingRunLauncher, RunProcess, _worker
from mps_dagster.orchestration.run_request import SOCKET
from mps_dagster.orchestration.runner import start_run
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.naming import partition_key, uploads_name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runner forks")
OURS = ModuleCodePointer("mps_dagster.definitions", "defs")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    # Deeper than the address of a socket is long.
    folder = tmp_path / ("deep" * 30)
    return use_project(make_project(folder), monkeypatch)


@contextmanager
def runner(settings) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", "mps_dagster.orchestration.runner"], cwd=settings.project, stderr=subprocess.DEVNULL
    ) as process:
        try:
            # It is there before it listens.
            wait_until((settings.dagster_home / SOCKET).is_socket)
            time.sleep(0.2)
            yield process
        finally:
            process.kill()


def wait_until(done, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def queued(instance, settings, clips, workflow: str = "vod") -> str:
    """A run of it, on a clip in its inbox, that only has to be started."""
    Buckets(settings).get("inbox").publish(clips.video(), "in/clip.mp4")
    return run_of_the_clip(instance, settings, workflow)


def run_of_the_clip(instance, settings, workflow: str = "vod") -> str:
    """When it is in the inbox."""
    from mps_dagster.orchestration.build import build_definitions

    partition = partition_key("in/clip.mp4")
    instance.add_dynamic_partitions(uploads_name(workflow), [partition])
    origin = JobPythonOrigin(workflow, RepositoryPythonOrigin(sys.executable, OURS))
    run = instance.create_run_for_job(
        build_definitions(settings).resolve_job_def(workflow),
        tags={"dagster/partition": partition}, job_code_origin=origin, status=dg.DagsterRunStatus.STARTING,
    )  # fmt: skip
    return run.run_id


def test_a_run_is_forked_from_the_runner_and_does_all_of_its_work(settings, clips):
    """With workers of its own, whose parent it is."""
    with dg.DagsterInstance.get() as instance, runner(settings) as process:
        run_id = queued(instance, settings, clips)
        assert start_run(settings.dagster_home, run_id)
        wait_until(lambda: _worker(instance, run_id))
        stat = Path(f"/proc/{_worker(instance, run_id).pid}/stat").read_text()
        assert int(stat.rpartition(")")[2].split()[1]) == process.pid
        wait_until(lambda: instance.get_run_by_id(run_id).is_finished)
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS
        assert {info.key for info in Buckets(settings).get("outputs").list()} >= {"vod/clip_transcode_small.mp4"}
        wait_until(lambda: "exited" in list(instance.all_logs(run_id))[-1].message)


def test_a_workflow_that_came_after_the_runner_is_run(settings, clips):
    """Definitions are loaded for each run."""
    with dg.DagsterInstance.get() as instance, runner(settings):
        (settings.workflows_dir / "late.yaml").write_text(
            VOD.replace("name: vod", "name: late").replace("in/", "late/")
        )
        run_id = queued(instance, settings, clips, "late")
        assert start_run(settings.dagster_home, run_id)
        wait_until(lambda: instance.get_run_by_id(run_id).is_finished)
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS


def test_a_run_whose_process_is_killed_is_failed_at_once(settings, clips):
    """And says by what."""
    with dg.DagsterInstance.get() as instance, runner(settings):
        run_id = queued(instance, settings, clips)
        assert start_run(settings.dagster_home, run_id)
        wait_until(lambda: _worker(instance, run_id))
        os.kill(_worker(instance, run_id).pid, signal.SIGKILL)
        wait_until(lambda: instance.get_run_by_id(run_id).is_finished, 30)
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
        assert any("signal 9 (SIGKILL)" in entry.message for entry in instance.all_logs(run_id))


def test_a_run_can_be_terminated(settings, clips):
    """Through the launcher, though no code server knows it."""
    with dg.DagsterInstance.get() as instance, runner(settings):
        run_id = queued(instance, settings, clips)
        assert start_run(settings.dagster_home, run_id)
        wait_until(lambda: _worker(instance, run_id))
        assert instance.run_launcher.terminate(run_id)
        wait_until(lambda: instance.get_run_by_id(run_id).is_finished)
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.CANCELED
        assert not any("grpc" in entry.message for entry in instance.all_logs(run_id))


def test_a_run_outlives_the_runner(settings, clips):
    """As one outlives the code server."""
    with dg.DagsterInstance.get() as instance:
        with runner(settings) as process:
            run_id = queued(instance, settings, clips)
            assert start_run(settings.dagster_home, run_id)
            wait_until(lambda: _worker(instance, run_id))
            process.kill()
            process.wait()
            assert RunProcess(_worker(instance, run_id).pid, time.time()).alive
        assert not start_run(settings.dagster_home, run_id)
        wait_until(lambda: instance.get_run_by_id(run_id).is_finished)
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS


def test_where_there_is_no_runner_the_code_server_starts_runs(settings, monkeypatch):
    """`dagster dev` without `mps up`, and a runner that was killed."""
    launched = []
    monkeypatch.setattr(
        DefaultRunLauncher, "launch_run", lambda _, context: launched.append(context.dagster_run.run_id)
    )
    run = dg.DagsterRun(
        "vod", run_id="r", job_code_origin=JobPythonOrigin("vod", RepositoryPythonOrigin(sys.executable, OURS))
    )
    CheckingRunLauncher().launch_run(SimpleNamespace(dagster_run=run))
    assert launched == ["r"]


@pytest.mark.parametrize(
    ("pointer", "python", "is_requested"),
    [
        (OURS, sys.executable, True),
        (OURS, "/usr/bin/other-python", False),
        (ModuleCodePointer("others.definitions", "defs"), sys.executable, False),
        (FileCodePointer("/srv/others.py", "defs"), sys.executable, False),
    ],
    ids=["ours", "of another environment", "another project", "a file"],
)
def test_the_runner_is_asked_for_its_own_code_only(settings, monkeypatch, pointer, python, is_requested):
    """A workspace may hold other projects, too."""
    requests = []
    monkeypatch.setattr(DefaultRunLauncher, "launch_run", lambda *_: None)
    monkeypatch.setattr(
        "mps_dagster.orchestration.launcher.start_run", lambda _, run_id: requests.append(run_id) or True
    )
    origin = JobPythonOrigin("vod", RepositoryPythonOrigin(python, pointer))
    CheckingRunLauncher().launch_run(
        SimpleNamespace(dagster_run=dg.DagsterRun("vod", run_id="r", job_code_origin=origin))
    )
    assert (requests == ["r"]) is is_requested
