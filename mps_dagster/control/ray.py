"""The Ray cluster that runs go to: how its programs are started, and which hosts it has."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from mps_dagster.control.code_version import code_version
from mps_dagster.errors import MpsError
from mps_dagster.ffmpeg.process import Limits, run
from mps_dagster.settings import Settings
from mps_dagster.storage.database import Database, PostgresqlDatabase, Tables

ANSWER_S = 5.0
START_S = 7 * 24 * 3600
"""How long a job may wait for a host. With Ray's 15 minutes, the job is failed, and its process starts later all the same."""
STOP_S = 15
"""Between SIGTERM and SIGKILL of a job: ffmpeg and the steps of a run are given 10 s to end."""
HEALTH = {"period_ms": 3000, "timeout_ms": 5000, "failure_threshold": 4}
"""A host that does not answer is given up after half a minute. With Ray's own, more than a minute."""
OBJECT_STORE_BYTES = 80_000_000
"""Near Ray's least: no object of ours goes through it."""
CODE, SCRATCH = "mps_code_", "scratch_gb"
"""Resources of a worker: any number of runs of its own code, and free space."""
MANY = 10_000

_DRAINING = Tables("hosts", "CREATE TABLE IF NOT EXISTS draining (host TEXT PRIMARY KEY);", 1)


class ClusterDown(MpsError):
    """Ray does not answer."""


@dataclass(frozen=True, slots=True)
class Host:
    """A worker, with what it offers."""

    name: str
    node_id: str
    address: str
    cores: float
    scratch_gb: float
    code: str
    """The version of its code (code_version.py)."""
    draining: bool = False
    """It takes no new runs."""

    @property
    def has_our_code(self) -> bool:
        return self.code == code_version()

    @property
    def takes_runs(self) -> bool:
        return self.has_our_code and not self.draining


def environment(settings: Settings) -> dict[str, str]:
    """For Ray's own programs, and for those that call it. A job inherits it from the host that it runs on."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": settings.ray.secret,
        "RAY_JOB_START_TIMEOUT_SECONDS": str(START_S),
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S),
        **{f"RAY_health_check_{name}": str(value) for name, value in HEALTH.items()},
        "RAY_USAGE_STATS_ENABLED": "0",
        # Which Python runs of this host use.
        "MPS_PYTHON": sys.executable,
        "MPS_HOST_NAME": settings.host_name,
    }


def head(settings: Settings, folder: Path) -> tuple[str, ...]:
    """The command of the head, which takes no runs."""
    return (
        *_start(settings, folder), "--head", f"--port={settings.ray.port}", f"--node-ip-address={settings.ray.host}",
        "--num-cpus=0", f"--dashboard-host={settings.ray.host}", f"--dashboard-port={settings.ray.dashboard_port}",
    )  # fmt: skip


def worker(settings: Settings, folder: Path, cores: int, scratch_gb: int) -> tuple[str, ...]:
    """The command of a host that joins. Without its own address, Ray would look for a way to the internet."""
    offered = {SCRATCH: scratch_gb, f"{CODE}{code_version()}": MANY}
    return (
        *_start(settings, folder), f"--address={settings.ray.address}",
        f"--node-ip-address={ip_towards(settings.ray.host, settings.ray.port)}",
        f"--num-cpus={cores}", f"--resources={json.dumps(offered)}",
    )  # fmt: skip


def _start(settings: Settings, folder: Path) -> tuple[str, ...]:
    return (
        *_ray(), "start", "--block", f"--temp-dir={folder}", f"--node-name={settings.host_name}",
        f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false", "--disable-usage-stats",
    )  # fmt: skip


def drain(settings: Settings, host: Host) -> None:
    """Have a host take no new runs. Ray's part of it ends after the last one."""
    with _database(settings).write() as transaction:
        statement = "INSERT INTO draining (host) VALUES (:host) ON CONFLICT DO NOTHING"
        transaction.change(statement, {"host": host.name})
    argv = (
        *_ray(), "drain-node", "--address", settings.ray.address, "--node-id", host.node_id,
        "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "drained",
        "--deadline-remaining-seconds", str(START_S),
    )  # fmt: skip
    limits = Limits(wall_s=60, stall_s=60, memory_bytes=2**45)
    done = run(argv, cwd=Path.cwd(), limits=limits, environment={**os.environ, **environment(settings)})
    if done.returncode:
        raise ClusterDown(f"Ray does not drain {host.name}: {done.stderr.strip()[-500:]}")


def _ray() -> tuple[str, ...]:
    return sys.executable, "-m", "ray.scripts.scripts"


@dataclass(frozen=True)
class Ray:
    """Asks the dashboard of the head."""

    settings: Settings

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.settings.ray.secret}"}

    def hosts(self) -> list[Host]:
        """The workers that are alive, sorted by name. Raise `ClusterDown` if Ray does not answer."""
        nodes = self._ask("api/v0/nodes", detail="1", limit="10000")["result"]["result"]
        return hosts(nodes, draining(self.settings))

    def submit(self, job: str, command: str, asks: Mapping[str, Any]) -> None:
        """Start a job: `asks` has its `num_cpus` and `resources`. Raise `ClusterDown` if Ray does not take it.

        Ray's own client would import all of Ray into the run's process.
        """
        asked = {f"entrypoint_{name}": value for name, value in asks.items()}
        self._call("POST", "api/jobs/", json={"submission_id": job, "entrypoint": command, **asked})

    def stop(self, job: str) -> None:
        """End a job that waits or runs."""
        self._call("POST", f"api/jobs/{job}/stop")

    def _ask(self, path: str, **query: str) -> Any:
        return self._call("GET", path, params=query)["data"]

    def _call(self, method: str, path: str, **content: Any) -> Any:
        try:
            reply = requests.request(
                method, f"{self.settings.ray.url}/{path}", headers=self.headers, timeout=ANSWER_S, **content
            )
            reply.raise_for_status()
            return reply.json()
        except (requests.RequestException, ValueError) as error:
            raise ClusterDown(
                f"Ray's dashboard {self.settings.ray.url} does not answer: {error}",
                hint="does `mps up` run on the control host, and may this one reach it?",
            ) from error


def hosts(nodes: Sequence[Mapping[str, Any]], drained: set[str]) -> list[Host]:
    """The hosts that take runs, of Ray's nodes."""
    found = []
    for node in nodes:
        offered = node["resources_total"]
        if node["state"] != "ALIVE" or node["is_head_node"] or not offered.get("CPU"):
            continue
        code = next((name.removeprefix(CODE) for name in offered if name.startswith(CODE)), "")
        found.append(
            Host(
                node["node_name"], node["node_id"], node["node_ip"], offered["CPU"], offered.get(SCRATCH, 0.0), code,
                node["node_name"] in drained,
            )
        )  # fmt: skip
    return sorted(found, key=lambda host: host.name)


def draining(settings: Settings) -> set[str]:
    """The names of hosts that are being drained: Ray does not show it."""
    with _database(settings).read() as transaction:
        return {row["host"] for row in transaction.rows("SELECT host FROM draining")}


def end_draining(settings: Settings) -> None:
    """This host joins anew."""
    with _database(settings).write() as transaction:
        transaction.change("DELETE FROM draining WHERE host = :host", {"host": settings.host_name})


def _database(settings: Settings) -> Database:
    return PostgresqlDatabase(settings.sqlalchemy_url, _DRAINING)


def ip_towards(host: str, port: int) -> str:
    """This host's address on the way to another."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing.
        probe.connect((host, port))
        return str(probe.getsockname()[0])
