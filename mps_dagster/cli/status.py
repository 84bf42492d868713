"""`mps status`"""

from __future__ import annotations

import click

from mps_dagster.cli.follow import follow_or_leave
from mps_dagster.cli.show import outputs_table, summary, whole_lines
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.task_run import TaskRun
from mps_dagster.control.tasks import describe
from mps_dagster.settings import Settings


@click.command()
@click.argument("task_id")
@click.option("--follow", "follows", is_flag=True, help="Show progress until the task has ended.")
def status(task_id: str, *, follows: bool) -> None:
    """Show a task and its subtasks. The exit code is 1 if the task has ended and something in it failed."""
    deployment = Deployment.of(Settings())
    show_outcome(follow_or_leave(deployment, task_id) if follows else describe(deployment, task_id))


def show_outcome(run: TaskRun) -> None:
    """What became of a task so far; exit if something in it failed."""
    console = whole_lines()
    console.print(summary(run))
    console.print(outputs_table(run))
    if run.state == "FINISH" and run.failed:
        raise SystemExit(1)
