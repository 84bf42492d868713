"""`mps workers`"""

from __future__ import annotations

import json

import click
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from mps_dagster.cli.show import whole_lines
from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.ray import Host, Ray, drain
from mps_dagster.control.task_run import StoredRun, task_id
from mps_dagster.errors import InvalidInput
from mps_dagster.settings import Settings

MOST_RUNS = 1000


@click.command()
@click.option(
    "--drain", "drained", metavar="NAME", help="Have this host take no new runs; it leaves after its last one."
)
def workers(drained: str | None) -> None:
    """The hosts of a cluster, what they offer, and what runs where."""
    deployment = Deployment.of(Settings())
    hosts = Ray(deployment.settings).hosts()
    if drained is not None:
        drain(deployment.settings, _named(hosts, drained))
        click.echo(f"{drained} takes no new runs")
        return
    table = Table("host", "address", "cores", "scratch GB", "state", Column("runs", overflow="fold"), box=box.SIMPLE)
    running = deployment.dagster.runs({"statuses": ["STARTING", "STARTED", "CANCELING"]}, limit=MOST_RUNS)
    for host in hosts:
        runs = "\n".join(line for run in running if (line := _of(run, host.name)))
        table.add_row(
            escape(host.name), host.address, f"{host.cores:g}", f"{host.scratch_gb:g}", state(host), escape(runs)
        )
    whole_lines().print(table)


def _of(run: StoredRun, host: str) -> str:
    """What a host does for a run; empty if nothing."""
    whole, chunks = run.tags.get(tags.HOST) == host, host in json.loads(run.tags.get(tags.ALSO_ON, "[]"))
    if not (whole or chunks):
        return ""
    return f"{task_id(run.run_id)}  {run.tags.get(tags.KEY, '')}{'' if whole else '  (chunks)'}"


def state(host: Host) -> str:
    if not host.has_our_code:
        return f"takes no runs: it has mps_dagster {host.code}"
    return "takes no new runs" if host.draining else "takes runs"


def _named(hosts: list[Host], name: str) -> Host:
    for host in hosts:
        if host.name == name:
            return host
    raise InvalidInput(
        f"there is no host {name!r}", hint=f"there are: {', '.join(host.name for host in hosts) or 'none'}"
    )
