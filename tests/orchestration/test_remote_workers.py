"""Chunks of a run are made on other hosts, too: from the run's process, over Ray's jobs, to the host's runner and back.

The hosts are homes of one machine, with a runner each; only Ray is not real (tests/cluster/ has it, and hosts).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from postgresql import postgresql
from projects import make_project, use_project

from mps_dagster.control import tags
from mps_dagster.control.code_version import code_version
from mps_dagster.control.ray import CODE
from mps_dagster.control.task_run import task_run
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.probe import probe
from mps_dagster.orchestration.placement import Demand
from mps_dagster.orchestration.run_request import RunRequest
from mps_dagster.orchestration.runs import run_record
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.streaming.packaging import PART_FILE
from mps_dagster.workflow.naming import StepKey
from mps_dagster.workflow.project import Project
from mps_dagster.workflow.shipping import ship

from .test_cluster_queue import add
from .test_runner import run_of_the_clip, runner, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the runner forks")]

FILE = "{name: file, video_template: {height: 120, codec: h265, effort: quality}}"
TWO = """{name: big, video_template: {height: 180, bitrate: 200}},
  {name: small, container: hls, video_template: {height: 90, bitrate: 100, hls_time: 10}}"""
VOD = """
name: vod
trigger: {bucket: "s3://inbox-{number}", dir: /in/}
output: {bucket: "s3://outputs-{number}", dir: /vod/}
tasks:
  web: {type: transcode, outputs: [{outputs}]}
"""
GIVEN = re.compile(r"Given to process (\d+) on gamma")


@dataclass
class FakeRay:
    """Ray's dashboard as we ask it, over the hosts `beta` and `gamma`; jobs go to gamma."""

    environment: dict[str, str] = field(default_factory=dict)
    """Of gamma."""
    cores: float = 1
    jobs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def nodes(self) -> list[dict[str, Any]]:
        offered = {"CPU": self.cores, "scratch_gb": 50.0, f"{CODE}{code_version()}": 10000.0}
        known = {"node_ip": "127.0.0.1", "is_head_node": False, "state": "ALIVE", "resources_total": offered}
        return [{**known, "node_name": name, "node_id": f"id of {name}"} for name in ("beta", "gamma")]

    def submit(self, job: dict[str, Any]) -> None:
        assert job["entrypoint_num_cpus"] == 1
        self.jobs[job["submission_id"]] = subprocess.Popen(
            ["sh", "-c", job["entrypoint"]], env={**os.environ, **self.environment}
        )

    def stop(self, job: str) -> None:
        self.jobs[job].send_signal(signal.SIGTERM)


@contextmanager
def dashboard(ray: FakeRay) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"data": {"result": {"result": ray.nodes()}}})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/api/jobs/":
                ray.submit(json.loads(content))
            else:
                ray.stop(self.path.split("/")[3])
            self._answer({})

        def _answer(self, content: object) -> None:
            assert self.headers["Authorization"] == "Bearer a token of twenty signs"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
    for job in ray.jobs.values():
        job.kill()
        job.wait()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as server:
        yield server.url


@pytest.fixture
def ray() -> FakeRay:
    return FakeRay()


@pytest.fixture
def outputs() -> str:
    return FILE


@pytest.fixture
def settings(tmp_path, monkeypatch, database, s3_server, ray, outputs) -> Iterator[Settings]:
    """Of `beta`, which executes the run."""
    s3 = s3_server.settings
    # Buckets of its own: outputs of another test would not be made again.
    number = secrets.token_hex(4)
    for name in (f"inbox-{number}", f"outputs-{number}", "shared"):
        s3_server.s3.create_bucket(Bucket=name)
    vod = VOD.replace("{number}", number).replace("{outputs}", outputs)
    with dashboard(ray) as url:
        use_project(
            make_project(tmp_path, vod=vod), monkeypatch, MPS_CLUSTER="ray", MPS_RAY__HOST="127.0.0.1", MPS_RAY__RUN_CORES="1",
            MPS_RAY__DASHBOARD_URL=url, MPS_RAY__TOKEN="a token of twenty signs", MPS_DATABASE_URL=database,
            MPS_SHARED_BUCKET="s3://shared", MPS_HOST_NAME="beta", MPS_CHUNKS_FROM_S="600", MPS_CHUNK_S="60",
            MPS_S3__ENDPOINT_URL=s3.endpoint_url, MPS_S3__REGION=s3.region, MPS_S3__ADDRESSING_STYLE="path",
            MPS_S3__ACCESS_KEY_ID="test", MPS_S3__SECRET_ACCESS_KEY="test",
        )  # fmt: skip
        own = Settings()
        other = make_project(tmp_path / "gamma").model_copy(update={"home": tmp_path / "gamma" / "home"})
        other.dagster_home.mkdir(parents=True)
        (other.dagster_home / "dagster.yaml").symlink_to(own.project / "dagster.yaml")
        ray.environment = {
            "MPS_HOME": str(other.home), "DAGSTER_HOME": str(other.dagster_home), "MPS_HOST_NAME": "gamma",
            "MPS_PYTHON": sys.executable, "MPS_PROJECT": str(tmp_path),
        }  # fmt: skip
        yield own


@pytest.fixture
def film(clips) -> Path:
    """Ten minutes: ten chunks."""
    return clips.film()


@contextmanager
def hosts(settings: Settings, ray: FakeRay) -> Iterator[subprocess.Popen[bytes]]:
    """The runners of beta and gamma; yields gamma's."""
    with ExitStack() as stack:
        stack.enter_context(runner(settings))
        other = settings.model_copy(update={"home": Path(ray.environment["MPS_HOME"])})
        with pytest.MonkeyPatch.context() as patch:
            for name, value in ray.environment.items():
                patch.setenv(name, value)
            process = stack.enter_context(runner(other))
        yield process


@contextmanager
def started(
    settings: Settings, instance: dg.DagsterInstance, film: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A run on beta, and the process of its job."""
    [workflow] = Project.load(settings).workflows
    Buckets(settings).get(workflow.trigger.bucket).publish(film, "in/clip.mp4")
    run_id = run_of_the_clip(instance, settings)
    instance.add_run_tags(run_id, {tags.DEMAND: Demand(1, 1).as_tag(), tags.HOST: ""})
    revision = ship(settings, Buckets(settings).get("s3://shared"))
    command = RunRequest(run_id, revision, 1).command(code_version())
    environment = {**os.environ, "MPS_PYTHON": sys.executable}
    with subprocess.Popen(["sh", "-c", command], env=environment) as job:
        yield run_id, job
        job.kill()


@pytest.fixture
def run(settings, ray, film) -> Iterator[Run]:
    with dg.DagsterInstance.get() as instance, hosts(settings, ray), started(settings, instance, film) as (run_id, job):
        yield Run(settings, instance, run_id, job, Path(ray.environment["MPS_HOME"]) / "scratch")


@dataclass(frozen=True)
class Run:
    settings: Settings
    instance: dg.DagsterInstance
    run_id: str
    job: subprocess.Popen[bytes]
    scratch: Path
    """Of gamma."""

    @property
    def record(self) -> dg.DagsterRun:
        return self.instance.get_run_by_id(self.run_id)

    @property
    def also_on(self) -> list[str]:
        return json.loads(self.record.tags.get(tags.ALSO_ON, "[]"))

    def finish(self) -> None:
        wait_until(lambda: self.record.is_finished, 180)
        assert self.record.status is dg.DagsterRunStatus.SUCCESS
        assert self.also_on == []
        # Gamma keeps nothing of the run.
        wait_until(lambda: not list(self.scratch.glob(f"{self.run_id}*")), 20)

    def messages(self) -> dict[str, list[str]]:
        """By step."""
        found: dict[str, list[str]] = {}
        for entry in self.instance.all_logs(self.run_id):
            found.setdefault(entry.step_key or "", []).append(entry.message)
        return found

    def chunks(self) -> set[str]:
        return {step for step in self.messages() if StepKey.parse(step).is_chunk}

    def given(self) -> dict[str, int]:
        """The steps that gamma got, and the process that got them."""
        matches = {step: list(filter(None, map(GIVEN.search, said))) for step, said in self.messages().items()}
        return {step: int(found[-1][1]) for step, found in matches.items() if found}

    def output(self, key: str) -> MediaInfo:
        [workflow] = Project.load(self.settings).workflows
        bucket, copy = Buckets(self.settings).get(workflow.output.bucket), self.settings.home / "copy.mp4"
        bucket.fetch(key, copy, etag=bucket.head(key).etag)
        return probe(copy)


def test_chunks_are_made_on_both_hosts_and_joined_on_one(run, ray):
    run.finish()
    assert len(run.chunks()) == 10
    assert set(run.given()) < run.chunks(), "and nothing but chunks"
    assert 2 < len(run.given()) < 8
    media = run.output("vod/clip_transcode_file.mp4")
    assert media.video.frames == 3000
    assert media.duration_s == pytest.approx(600, abs=0.2)
    wait_until(lambda: all(job.poll() == 0 for job in ray.jobs.values()), 20)


@pytest.mark.parametrize("outputs", [TWO])
def test_outputs_that_share_a_decode_are_made_by_the_same_worker(run):
    """A worker gets one output of a chunk, and then the others, whose files it has made."""
    run.finish()
    assert len(run.chunks()) == 20
    by_number: dict[str, list[int]] = {}
    for step, pid in run.given().items():
        by_number.setdefault(step.rpartition("_")[2], []).append(pid)
    assert by_number
    assert all(len(pids) == 2 and len(set(pids)) == 1 for pids in by_number.values()), run.given()
    commands = {}
    for subtask in task_run(run_record(run.instance, run.record, None)).subtasks:
        for part in subtask.result.parts:
            commands.setdefault(part.id.partition("_")[2], []).append(part.commands)
    assert all(one == other for one, other in commands.values()), "one ffmpeg made both"
    assert run.output("vod/clip_transcode_big.mp4").video.frames == 3000


def test_a_worker_that_is_killed_is_one_step_that_is_made_elsewhere(run):
    wait_until(run.given)
    [(step, pid)] = run.given().items()
    os.kill(pid, signal.SIGKILL)
    run.finish()
    assert f"process {pid} on gamma has ended in the middle of step {step}" in " ".join(run.messages()[step])
    assert run.output("vod/clip_transcode_file.mp4").video.frames == 3000


def test_a_worker_leaves_after_its_chunk_when_a_run_is_queued(run):
    """The room may be for that one."""
    wait_until(run.given)
    other = add(run.instance, "other")
    wait_until(lambda: run.also_on == [])
    assert len(run.given()) <= 2
    assert not run.record.is_finished
    run.finish()
    run.instance.report_run_canceled(run.instance.get_run_by_id(other))


def test_a_run_that_is_canceled_ends_its_workers(run, ray):
    wait_until(lambda: run.given() and list(run.scratch.glob(f"*/*/{PART_FILE}")))
    run.instance.report_run_canceling(run.record)
    run.job.send_signal(signal.SIGTERM)
    assert run.job.wait(20) == 0
    assert run.record.status is dg.DagsterRunStatus.CANCELED
    wait_until(lambda: not list(run.scratch.glob(f"{run.run_id}*")), 20)
    assert all(job.wait(20) == 0 for job in ray.jobs.values())
