"""`mps tasks`"""

from __future__ import annotations

from datetime import datetime

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mps_dagster.api.processing import Processing
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
    table = Table(Column("task", no_wrap=True), "state", "workflow", Column("source", overflow="fold"), "created")
    for run in Processing.of(Settings()).tasks(limit=limit, statuses=STATUSES.get(status or "", ())):
        created = datetime.fromtimestamp(run.created_s).astimezone().isoformat(" ", "seconds")
        table.add_row(run.task_id, run.outcome, run.workflow, escape(f"{run.bucket}/{run.key}"), created)
    Console().print(table)
