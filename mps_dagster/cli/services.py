"""The processes of a deployment on one host. On 127.0.0.1 only.

Started one by one, not by `dagster dev`: killed, that leaves its daemon and its web server behind.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests
import yaml

from mps_dagster.api.keys import make_first_key
from mps_dagster.cli.code_watch import watched_code
from mps_dagster.cli.supervision import CODE, Program, ServiceDown, Services, answers, running_services
from mps_dagster.control import cluster, ray
from mps_dagster.control.daemon_lock import check_no_daemon
from mps_dagster.control.graphql import LOCATION_NAME, Dagster
from mps_dagster.control.health import check_database
from mps_dagster.settings import Settings
from mps_dagster.workflow.project import Project

ORPHAN_S = 4
"""The code server's child process ends when it has not heard of it for this long, or for twice as long."""
RUNNER = "mps_dagster.orchestration.runner"
SOCKET_BYTES = 100
"""A socket's address has at most 107 bytes."""


def prepare(settings: Settings) -> None:
    """Create the folders of the home and of local inboxes, and link the project's dagster.yaml into Dagster's home."""
    config = settings.project / "dagster.yaml"
    if not config.is_file():
        raise ServiceDown(
            f"there is no dagster.yaml in {settings.project}",
            hint="run this in the project's folder, or set MPS_PROJECT; `mps init` makes a project",
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
def services(settings: Settings, *, restarts: bool = False) -> Iterator[Services]:
    """Run all processes during the block; they are ready when it begins."""
    prepare(settings)
    check_database(settings)
    if settings.cluster:
        cluster.check_settings(settings)
        cluster.check_buckets(settings)
    if settings.cluster == "ray":
        cluster.announce(settings)
    make_first_key(settings)
    ports = {"MPS_UI_PORT": settings.ui_port, "MPS_FILES_PORT": settings.files_port, "MPS_API__PORT": settings.api.port}
    for name, port in ports.items():
        _check_free(port, name)
    check_no_daemon(settings)
    with ExitStack() as stack:
        socket_path = _code_socket(settings, stack)
        workspace = _write_workspace(settings, socket_path)
        started = stack.enter_context(running_services(Services(restarts=restarts, report=report)))
        first, then = _programs(settings, socket_path, workspace)
        if settings.cluster == "ray" and settings.ray.host:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="mps-ray-")))
            first.append(replace(first[0], name="ray", argv=ray.head(settings, folder)))
        for program in first:
            started.start(program)
        # Without the code, web server and daemon would begin with an error.
        started.wait("the code server", lambda: _listens(socket_path))
        for program in then:
            started.start(program)
        if settings.cluster == "ray":
            started.wait("Ray", lambda: answers(f"{settings.ray.url}/api/version"))
        for url in (f"{settings.ui_url}/server_info", f"{settings.api_url}/health", f"{settings.files_url}/"):
            started.wait(url, partial(answers, url))
        started.code = stack.enter_context(watched_code(Dagster(settings.ui_url)))
        yield started


def running(settings: Settings) -> bool:
    """Whether this deployment's UI answers."""
    try:
        return requests.get(f"{settings.ui_url}/server_info", timeout=2).ok
    except requests.RequestException:
        return False


def environment_of(settings: Settings) -> dict[str, str]:
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
        **(ray.environment(settings) if settings.cluster == "ray" else {}),
    }


def _programs(settings: Settings, code_socket: Path, workspace: Path) -> tuple[list[Program], list[Program]]:
    """What is started first, and what needs the code server."""
    logs = settings.home / "logs"
    logs.mkdir(exist_ok=True)
    environment = environment_of(settings)

    def program(name: str, *arguments: str) -> Program:
        return Program(name, (sys.executable, "-m", *arguments), settings.project, logs, environment)

    code = program(
        CODE, "dagster", "code-server", "start", "--socket", str(code_socket), "--location-name", LOCATION_NAME,
        "--module-name", "mps_dagster.definitions", "--working-directory", str(settings.project),
        "--inject-env-vars-from-instance", "--log-level", "warning", "--heartbeat-ttl", str(ORPHAN_S),
    )  # fmt: skip
    web = program(
        "web", "dagster_webserver", "--host", "127.0.0.1", "--port", str(settings.ui_port),
        "--workspace", str(workspace), "--dagster-log-level", "warning", "--live-data-poll-rate", "2000",
    )  # fmt: skip
    first = [code, program("files", "mps_dagster.api.files"), program("api", "mps_dagster.api.server")]
    if sys.platform == "linux":
        # Elsewhere it is not safe to fork a process that has loaded much; there the code server starts runs.
        first.append(program("runs", RUNNER))
    return first, [program("daemon", "mps_dagster.orchestration.daemon", str(workspace)), web]


def _code_socket(settings: Settings, stack: ExitStack) -> Path:
    """Always the same, so that a run knows the code server after a restart, too, if the home's path is not too long."""
    path = settings.dagster_home / "code.sock"
    if len(os.fsencode(path)) > SOCKET_BYTES:
        path = Path(stack.enter_context(TemporaryDirectory(prefix="mps-"))) / path.name
    path.unlink(missing_ok=True)
    return path


def _write_workspace(settings: Settings, code_socket: Path) -> Path:
    """The project's workspace.yaml would have web server and daemon start a code server each."""
    server = {"socket": str(code_socket), "location_name": LOCATION_NAME}
    path = settings.dagster_home / "workspace.yaml"
    path.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    return path


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def report(what: str) -> None:
    click.echo(what, err=True)


def _check_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ServiceDown(f"port {port} is taken", hint=f"end what listens there, or set {name} to another port")
