"""The processes of a deployment on one host: Dagster's UI and daemons, and the file server. On 127.0.0.1 only."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from mps_dagster.api.keys import make_first_key
from mps_dagster.cli.code_watch import CodeWatch, watched_code
from mps_dagster.control.graphql import Dagster
from mps_dagster.control.health import check_database
from mps_dagster.errors import MpsError
from mps_dagster.ffmpeg.process import Server, service
from mps_dagster.settings import Settings
from mps_dagster.workflow.project import Project

START_TIMEOUT_S = 120


class ServiceDown(MpsError):
    """A server did not start, or has ended."""


@dataclass(frozen=True)
class Services:
    """The running processes, by their log files."""

    processes: Mapping[Path, Server]
    code: CodeWatch | None = None
    log_bytes: int = 50_000_000
    """A longer log is rotated."""

    def check(self) -> None:
        """Raise `ServiceDown` if a process has ended, as the others are useless alone. Rotate long logs."""
        for log, process in self.processes.items():
            if process.poll() is not None:
                name, code = _ended(log, process)
                raise ServiceDown(f"{name} has ended (exit code {code})", hint=f"see {log}")
            _rotate(log, self.log_bytes)
        if self.code and self.code.lost:
            raise ServiceDown(
                "Dagster has lost the process that holds the project's code, and a reload did not bring it back",
                hint=f"see {', '.join(map(str, self.processes))}",
            )

    def wait(self, url: str) -> None:
        """Wait until the URL answers; raise `ServiceDown` if it does not in time."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            self.check()
            try:
                requests.get(url, timeout=2)
            except requests.RequestException:
                time.sleep(0.3)
            else:
                return
        raise ServiceDown(
            f"{url} did not answer within {START_TIMEOUT_S} s", hint=f"see {', '.join(map(str, self.processes))}"
        )


def prepare(settings: Settings) -> None:
    """Create the folders of the home and of local inboxes, and link the project's dagster.yaml into Dagster's home."""
    config = settings.project / "dagster.yaml"
    if not config.is_file():
        raise ServiceDown(
            f"there is no dagster.yaml in {settings.project}",
            hint="run this in the project's folder, or set MPS_PROJECT",
        )
    workflows = Project.load(settings).workflows
    triggers = [workflow.trigger for workflow in workflows if "://" not in workflow.trigger.bucket]
    inboxes = [settings.buckets_dir / trigger.bucket / trigger.prefix for trigger in triggers]
    for folder in (settings.dagster_home, settings.scratch_dir, settings.workflows_dir, *inboxes):
        folder.mkdir(parents=True, exist_ok=True)
    link = settings.dagster_home / "dagster.yaml"
    if not link.is_symlink() or link.readlink() != config:
        link.unlink(missing_ok=True)
        link.symlink_to(config)


@contextmanager
def services(settings: Settings) -> Iterator[Services]:
    """Run all processes during the block; they are ready when it begins."""
    prepare(settings)
    check_database(settings)
    make_first_key(settings)
    ports = {"MPS_UI_PORT": settings.ui_port, "MPS_FILES_PORT": settings.files_port, "MPS_API__PORT": settings.api.port}
    for name, port in ports.items():
        _check_free(port, name)
    programs = Path(sys.executable).parent
    environment = _environment(settings)
    dagster = [
        str(programs / "dagster"), "dev", "--host", "127.0.0.1", "--port", str(settings.ui_port),
        # At a lower level it logs two lines per sensor tick, 70 MB a day; the UI shows ticks anyway.
        "--log-level", "warning",
        "--workspace", str(settings.project / "workspace.yaml"),
    ]  # fmt: skip
    files = [sys.executable, "-m", "mps_dagster.api.files"]
    api = [sys.executable, "-m", "mps_dagster.api.server"]
    logs = settings.home / "logs"
    logs.mkdir(exist_ok=True)
    with ExitStack() as stack:
        started: dict[Path, Server] = {}
        for name, argv in {"dagster": dagster, "files": files, "api": api, **_runner()}.items():
            log = logs / f"{name}.log"
            started[log] = stack.enter_context(service(argv, cwd=settings.project, log=log, environment=environment))
        running = Services(started)
        for url in (f"{settings.ui_url}/server_info", f"{settings.api_url}/health", f"{settings.files_url}/"):
            running.wait(url)
        yield replace(running, code=stack.enter_context(watched_code(Dagster(settings.ui_url))))


def running(settings: Settings) -> bool:
    """Whether this deployment's UI answers."""
    try:
        return requests.get(f"{settings.ui_url}/server_info", timeout=2).ok
    except requests.RequestException:
        return False


def _environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "DAGSTER_HOME": str(settings.dagster_home),
        "MPS_HOME": str(settings.home),
        "MPS_PROJECT": str(settings.project),
        # Run-status sensors take 5 runs a tick by default: 10 a minute.
        "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT": "50",
        "DAGSTER_RUN_STATUS_SENSOR_FETCH_LIMIT": "200",
        # During a reload of the code, Dagster would consider a backfill's assets deleted and cancel all its runs.
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
        "PYTHONWARNINGS": "ignore",
    }


def _runner() -> dict[str, list[str]]:
    """Only on Linux is it safe to fork a process that has loaded much; elsewhere the code server starts runs."""
    return {"runs": [sys.executable, "-m", "mps_dagster.orchestration.runner"]} if sys.platform == "linux" else {}


def _rotate(log: Path, limit: int) -> None:
    """Copy and truncate the log, as the servers and their runs keep it open for appending. One old log is kept."""
    with suppress(OSError):
        if log.stat().st_size > limit:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def _ended(log: Path, process: Server) -> tuple[str, str]:
    """Name and exit code of the process that ended. `dagster dev` exits with 0 if a child fails, but logs which."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    failures = re.findall(r"(\S+) process shut down unexpectedly with return code (-?\d+)", text)
    if process.returncode == 0 and failures:
        name, code = failures[-1]
        return name, code
    return log.stem, str(process.returncode)


def _check_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ServiceDown(f"port {port} is taken", hint=f"end what listens there, or set {name} to another port")
