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
LOG_BYTES = 50_000_000


class ServiceDown(MpsError):
    """One of our servers did not come up."""


@dataclass(frozen=True)
class Services:
    """What was started, by its log."""

    processes: Mapping[Path, Server]
    code: CodeWatch | None = None

    def check(self) -> None:
        """Raise `ServiceDown` if one of them has ended: the others are of no use alone. Start a new file for logs that are long."""
        for log, process in self.processes.items():
            if process.poll() is not None:
                name, code = _ended(log, process)
                raise ServiceDown(f"{name} has ended (exit code {code})", hint=f"see {log}")
            _rotate(log)
        if self.code and self.code.lost:
            raise ServiceDown(
                "Dagster has lost the process that holds the project's code, and a reload did not bring it back",
                hint=f"see {', '.join(map(str, self.processes))}",
            )

    def wait(self, url: str) -> None:
        """Until it is answered."""
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
    """Make the folders of the home and of local inboxes, and link the project's dagster.yaml to where Dagster looks for it."""
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
    """Run everything for as long as the block lasts; ready when the block begins."""
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
        # Below that it has two lines for each tick of a sensor, 70 MB a day; the UI shows the ticks.
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
        # While the code is being reloaded, Dagster would take a backfill's assets for deleted and cancel all of its runs.
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
        "PYTHONWARNINGS": "ignore",
    }


def _runner() -> dict[str, list[str]]:
    """Elsewhere a process that has loaded much does not bear a fork; there the code server starts runs."""
    return {"runs": [sys.executable, "-m", "mps_dagster.orchestration.runner"]} if sys.platform == "linux" else {}


def _rotate(log: Path) -> None:
    """Copied and emptied, not renamed: the servers and their runs hold it open, and append. The last one before is kept."""
    with suppress(OSError):
        if log.stat().st_size > LOG_BYTES:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def _ended(log: Path, process: Server) -> tuple[str, str]:
    """Which process has ended, and with what. `dagster dev` ends well when one of its own did not, but says which."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    said = re.findall(r"(\S+) process shut down unexpectedly with return code (-?\d+)", text)
    if process.returncode == 0 and said:
        name, code = said[-1]
        return name, code
    return log.stem, str(process.returncode)


def _check_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ServiceDown(f"port {port} is taken", hint=f"end what listens there, or set {name} to another port")
