"""`mps abort`"""

from __future__ import annotations

import click

from mps_dagster.control import tasks
from mps_dagster.control.deployment import Deployment
from mps_dagster.settings import Settings


@click.command()
@click.argument("task_id")
def abort(task_id: str) -> None:
    """End a task that waits or runs. What it has published stays."""
    run = tasks.abort(Deployment.of(Settings()), task_id)
    click.echo(f"{run.task_id}  {run.outcome}")
