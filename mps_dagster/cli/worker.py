"""`mps worker`"""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from mps_dagster.cli.services import RUNNER, environment_of, report
from mps_dagster.cli.supervision import Program, Services, running_services
from mps_dagster.control import ray
from mps_dagster.control.cluster import check_settings, control_host
from mps_dagster.control.health import check_database
from mps_dagster.errors import InvalidConfiguration, MpsError
from mps_dagster.execution.staging import sweep
from mps_dagster.settings import Settings

RAY, RUNS = "ray", "runs"
POLL_S = 2.0


@click.command()
@click.option("--address", metavar="HOST:PORT", help="The control host. Default: MPS_RAY__HOST and MPS_RAY__PORT.")
@click.option("--cores", type=click.IntRange(1), help="Cores for runs. Default: MPS_CORES, or all.")
@click.option("--scratch-gb", type=click.IntRange(1), help="Disk space for runs. Default: what is free in MPS_HOME.")
def worker(address: str | None, cores: int | None, scratch_gb: int | None) -> None:
    """Take runs of a cluster until interrupted; then take no new ones, and end after the last. A second time ends at once."""
    settings = _settings(address)
    stops = threading.Semaphore(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stops.release())
    with joined(settings, cores or settings.cores, scratch_gb) as (running, host):
        click.echo(f"{host.name} takes runs: {host.cores:g} cores, {host.scratch_gb:g} GB of scratch")
        click.echo("Ctrl-C lets its runs end and takes no new ones")
        while not (stopped := stops.acquire(timeout=POLL_S)) and not _is_drained(settings):
            running.check()
        if stopped:
            ray.drain(settings, _host(settings))
        click.echo("no new runs; Ctrl-C again ends those that it has" if stopped else "no new runs: it was drained")
        while not stops.acquire(timeout=POLL_S) and not _has_left(settings):
            pass


@contextmanager
def joined(settings: Settings, cores: int, scratch_gb: int | None) -> Iterator[tuple[Services, ray.Host]]:
    """Part of the cluster during the block. What ends is started again."""
    check_settings(settings)
    check_database(settings)
    control = control_host(settings)
    _check_name(settings)
    ray.end_draining(settings)
    for folder in (settings.dagster_home, settings.scratch_dir):
        folder.mkdir(parents=True, exist_ok=True)
    (settings.dagster_home / "dagster.yaml").write_text(control.dagster_yaml)
    sweep(settings.scratch_dir, set())
    # Fetched again at need.
    shutil.rmtree(settings.shipped_dir, ignore_errors=True)
    logs = settings.home / "logs"
    logs.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="mps-ray-")))
        room = scratch_gb or max(1, shutil.disk_usage(settings.scratch_dir).free // 10**9)
        running = stack.enter_context(running_services(Services(restarts=True, report=report)))
        for name, argv in {
            RUNS: (sys.executable, "-m", RUNNER),
            RAY: ray.worker(settings, folder, cores, room),
        }.items():
            running.start(Program(name, argv, settings.home, logs, environment_of(settings)))
        running.wait("Ray", lambda: _found(settings) is not None)
        yield running, _host(settings)


def _settings(address: str | None) -> Settings:
    settings = Settings()
    if settings.cluster != "ray":
        raise InvalidConfiguration("this deployment is on one host", hint="set MPS_CLUSTER=ray on all hosts")
    if address is None:
        return settings
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter(f"{address!r} is not HOST:PORT", param_hint="--address")
    return settings.model_copy(update={"ray": settings.ray.model_copy(update={"host": host, "port": int(port)})})


def _check_name(settings: Settings) -> None:
    own = ray.ip_towards(settings.ray.host, settings.ray.port)
    for host in ray.Ray(settings).hosts():
        if host.name == settings.host_name and host.address != own:
            raise InvalidConfiguration(
                f"{host.address} is called {host.name}, too", hint="set MPS_HOST_NAME to another name here"
            )


def _host(settings: Settings) -> ray.Host:
    """This one, as Ray sees it."""
    if host := _found(settings):
        return host
    raise ray.ClusterDown(f"Ray does not know {settings.host_name} any more")


def _is_drained(settings: Settings) -> bool:
    """By `mps workers --drain`."""
    with suppress(MpsError):
        return settings.host_name in ray.draining(settings)
    # The database is away. Its runs are not to be ended by that.
    return False


def _has_left(settings: Settings) -> bool:
    with suppress(MpsError):
        return _found(settings) is None
    return False


def _found(settings: Settings) -> ray.Host | None:
    return next((host for host in ray.Ray(settings).hosts() if host.name == settings.host_name), None)
