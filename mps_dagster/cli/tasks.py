"""`mps tasks`"""

from __future__ import annotations

from datetime import datetime

import click

from mps_dagster.control.deployment import Deployment
from mps_dagster.control.tasks import list_tasks
from mps_dagster.settings import Settings

STATUSES = {
    "waiting": ("QUEUED", "NOT_STARTED"),
    "processing": ("STARTING", "STARTED", "CANCELING"),
    "finish": ("SUCCESS", "FAILURE", "CANCELED"),
    "failed": ("FAILURE",),
}


@click.command()
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
def tasks(status: str | None, limit: int) -> None:
    """List tasks, newest first."""
    deployment, statuses = Deployment.of(Settings()), STATUSES.get(status or "", ())
    count = deployment.dagster.count({"statuses": list(statuses)} if statuses else {})
    for run in list_tasks(deployment, limit=limit, statuses=statuses):
        created = datetime.fromtimestamp(run.created_s).astimezone().isoformat(" ", "seconds")
        # The source is last, as it may contain any characters.
        click.echo(f"{run.task_id}  {run.outcome:<8}  {created}  {run.workflow}  {f'{run.bucket}/{run.key}'!r}")
    if count > limit:
        # On stderr, as a program may read the tasks.
        click.echo(f"these are the newest {limit} of {count} runs; --limit shows more", err=True)
