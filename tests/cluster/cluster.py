"""A whole cluster for tests: PostgreSQL, S3 and `mps up` on a control host, `mps worker` on others, each in a namespace."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
from deployments import SECRET_ID, SECRET_KEY
from PIL import Image
from postgresql import NOBODY, PostgreSql, programs_of
from projects import make_project

from cluster.hosts import Host, Network, network
from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.ray import ClusterDown, Ray
from mps_dagster.control.task_run import StoredRun
from mps_dagster.errors import InvalidInput
from mps_dagster.settings import ApiSettings, RaySettings, S3Settings, Settings

HOME, PROJECT = Path("/var/mps"), Path("/srv/project")
"""On every host, and on the control host."""
TOKEN = "a token for tests that nobody guesses"
S3_PORT, POSTGRESQL_PORT, UI_PORT, API_PORT, RAY_PORT = 9000, 5432, 3000, 3002, 8265
BUCKETS = ("inbox", "outputs", "shared")
BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
WORKERS, NAMES = 2, ("beta", "gamma", "delta", "epsilon", "zeta")
"""How many workers a test finds, and their names, as they come; one that has died does not come back."""
MESSAGES = """query($id: ID!) { logsForRun(runId: $id, limit: 5000) { ... on EventConnection { events {
  ... on MessageEvent { message stepKey } } } } }"""

Found = TypeVar("Found")


@dataclass
class Cluster:
    network: Network
    control: Host
    folder: Path
    """Logs of what was started, on this machine."""
    settings: Settings
    """Of this machine, over relays."""

    @property
    def environment(self) -> dict[str, str]:
        """Of any host."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MPS_", "DAGSTER_"))},
            "PATH": f"{BIN}:{os.environ['PATH']}", "MPS_CLUSTER": "ray", "MPS_RAY__HOST": self.control.address,
            "MPS_RAY__TOKEN": TOKEN, "MPS_RAY__RUN_CORES": "1", "MPS_HOME": str(HOME), "MPS_SHARED_BUCKET": "s3://shared",
            "MPS_DATABASE_URL": f"postgresql://mps:secret@{self.control.address}:{POSTGRESQL_PORT}/postgres",
            "MPS_S3__ENDPOINT_URL": f"http://{self.control.address}:{S3_PORT}", "MPS_S3__REGION": "us-east-1",
            "MPS_S3__ADDRESSING_STYLE": "path", "MPS_S3__ACCESS_KEY_ID": "test", "MPS_S3__SECRET_ACCESS_KEY": "test",
            "MPS_CHUNKS_FROM_S": "600", "MPS_CHUNK_S": "60",
            "MPS_WEB__ALLOW": f'["{self.control.address}"]',
            "MPS_API__SECRET_ID": SECRET_ID, "MPS_API__SECRET_KEY": SECRET_KEY,
        }  # fmt: skip

    def mps(self, *arguments: str, host: Host | None = None, timeout_s: float = 120) -> str:
        """Run a command of ours, on the control host or another; return what it printed."""
        environment = {**self.environment, "MPS_PROJECT": str(PROJECT)}
        return (host or self.control).run(
            str(BIN / "mps"), *arguments, environment=environment, timeout_s=timeout_s
        )  # fmt: skip

    def up(self) -> subprocess.Popen[Any]:
        """`mps up` on the control host, when it answers."""
        log = self.folder / "up.log"
        at = log.stat().st_size if log.exists() else 0
        environment = {**self.environment, "MPS_PROJECT": str(PROJECT)}
        process = self.control.start([str(BIN / "mps"), "up", "--restart"], environment, log)
        until(lambda: "Ctrl-C" in log.read_text()[at:], process, log)
        return process

    def worker(self, name: str, *, cores: float | None = None, **environment: str) -> Host:
        """A new host, when it takes runs."""
        host = self.network.host(name, cores=cores)
        self.join(host, **environment)
        return host

    def join(self, host: Host, **environment: str) -> subprocess.Popen[Any]:
        log = self.folder / f"{host.name}.log"
        at = log.stat().st_size if log.exists() else 0
        argv = [str(BIN / "mps"), "worker", "--cores", "1"]
        process = host.start(argv, {**self.environment, **environment}, log)
        until(lambda: "takes runs" in log.read_text()[at:], process, log)
        return process

    @property
    def deployment(self) -> Deployment:
        return Deployment.of(self.settings)

    def runs(self, key: str) -> list[StoredRun]:
        """Those of an upload, the newest first."""
        return self.deployment.dagster.runs({"tags": {tags.KEY: key}}, limit=10)

    def wait_until(self, done: Callable[[], Found], timeout_s: float = 150) -> Found:
        """Return what was found. The error has what the cluster does then, as nobody can look at it afterwards."""
        deadline = time.monotonic() + timeout_s
        while not (found := done()):
            assert time.monotonic() < deadline, f"it never came\n{self.picture()}"
            time.sleep(0.2)
        return found

    def picture(self) -> str:
        """The newest runs with their last words, and the hosts with what runs on them."""
        lines = []
        for run in self.deployment.dagster.runs({}, limit=5):
            where = f"on {run.tags.get(tags.HOST)}, {run.created_s:.0f} to {run.ended_s}"
            lines.append(f"{run.run_id} {run.status} {run.tags.get(tags.KEY)} {where}")
            lines += [f"    {message}" for _, message in self.messages(run)[-8:]]
        joined = self.joined()
        for host in self.living():
            log = (self.folder / f"{host.name}.log").read_text()
            lines.append(
                f"{host.name} {'in' if host.name in joined else 'not in'} the cluster; ffmpeg {host.pids('ffmpeg')}"
            )
            lines.append(log[-1500:])
        return "\n".join(lines)

    def messages(self, run: StoredRun) -> list[tuple[str, str]]:
        """(step, text), oldest first."""
        events = self.deployment.dagster.ask(MESSAGES, id=run.run_id)["logsForRun"]["events"]
        return [(event["stepKey"] or "", event["message"]) for event in events if "message" in event]

    def living(self) -> list[Host]:
        """The workers that have not died."""
        return [host for host in self.network.hosts if host is not self.control and host.lives]

    def joined(self) -> set[str]:
        """Names of the workers that Ray has; empty if it does not answer."""
        with contextlib.suppress(ClusterDown):
            return {host.name for host in Ray(self.settings).hosts()}
        return set()

    def calm(self) -> None:
        """Whatever an earlier test left: no run goes on, and two workers take new ones."""
        dagster = self.deployment.dagster
        for host in self.living():
            host.connect()
        for run in dagster.runs({"statuses": ["QUEUED", "STARTING", "STARTED"]}, limit=100):
            # It may end by itself meanwhile.
            with contextlib.suppress(InvalidInput):
                dagster.terminate(run.run_id)
        while len(self.living()) < WORKERS:
            self.worker(NAMES[len(self.network.hosts) - 1])
        self.wait_until(lambda: self.joined() == {host.name for host in self.living()})

    @property
    def s3(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.settings.s3.endpoint_url, region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip


_NUMBERS = itertools.count(1)


def new(key: str) -> str:
    """A key that no test has used, nor an earlier attempt of this one."""
    path = Path(key)
    return str(path.with_stem(f"{path.stem}-{next(_NUMBERS)}"))


def until(done: Callable[[], bool], process: subprocess.Popen[Any], log: Path, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@contextlib.contextmanager
def cluster(**workflows: str) -> Iterator[Cluster]:
    """The control host with its database and buckets; `mps up` does not run yet."""
    # Not /tmp: hosts have their own.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="mps-cluster-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        server = _database(folder)
        project = make_project(folder, **workflows).project
        (project / "templates").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(project / "templates" / "logo.png")
        config = project / "dagster.yaml"
        config.write_text(config.read_text().replace("poll_interval_seconds: 15", "poll_interval_seconds: 3"))
        made = stack.enter_context(network(folder / "hosts"))
        control = made.host("control")
        control.run("cp", "-r", str(project), str(PROJECT))
        shutil.rmtree(project)
        ports = {port: _relay(stack, control, port) for port in (S3_PORT, POSTGRESQL_PORT, UI_PORT, API_PORT, RAY_PORT)}
        _serve(control, server, folder)
        whole = Cluster(made, control, folder, _settings(ports))
        for bucket in BUCKETS:
            _retried(lambda bucket=bucket: whole.s3.create_bucket(Bucket=bucket))
        yield whole


def _settings(ports: dict[int, int]) -> Settings:
    s3 = S3Settings(
        endpoint_url=f"http://127.0.0.1:{ports[S3_PORT]}", region="us-east-1", addressing_style="path",
        access_key_id="test", secret_access_key="test",
    )  # fmt: skip
    return Settings(
        cluster="ray", database_url=f"postgresql://mps:secret@127.0.0.1:{ports[POSTGRESQL_PORT]}/postgres",
        shared_bucket="s3://shared", ray=RaySettings(dashboard_url=f"http://127.0.0.1:{ports[RAY_PORT]}", token=TOKEN), s3=s3, ui_port=ports[UI_PORT],
        api=ApiSettings(port=ports[API_PORT], secret_id=SECRET_ID, secret_key=SECRET_KEY),
    )  # fmt: skip


def _database(folder: Path) -> PostgreSql:
    programs, user = programs_of(folder)
    data = folder / "data"
    data.mkdir(mode=0o700)
    os.chown(data, NOBODY, -1)
    server = PostgreSql(programs, data, POSTGRESQL_PORT, user)
    server.initialize()
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/24 scram-sha-256\n")
    return server


def _serve(control: Host, server: PostgreSql, folder: Path) -> None:
    as_nobody = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]
    postgres = server.argv(f"{control.address},127.0.0.1")
    control.start([*as_nobody, *postgres], os.environ, folder / "postgresql.log")
    s3 = [sys.executable, str(HERE / "s3_server.py"), "0.0.0.0", str(S3_PORT)]
    control.start(s3, os.environ, folder / "s3.log")


def _relay(stack: contextlib.ExitStack, host: Host, port: int) -> int:
    """A port of this machine that leads to one of the host's own."""
    listener = socket.create_server(("127.0.0.1", 0))
    argv = [
        sys.executable,
        str(HERE / "relay.py"),
        str(listener.fileno()),
        host.address if port == RAY_PORT else "127.0.0.1",
        str(port),
    ]
    process = subprocess.Popen(host.enter(argv), pass_fds=[listener.fileno()])
    with listener:
        number = listener.getsockname()[1]
    stack.callback(process.wait)
    stack.callback(process.send_signal, signal.SIGTERM)
    return number


def _retried(call: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            call()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
