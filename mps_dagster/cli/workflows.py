"""`mps workflows`"""

from __future__ import annotations

from contextlib import suppress

import click

from mps_dagster.cli.file_watch import folder_changes
from mps_dagster.settings import Settings
from mps_dagster.workflow.project import Project


@click.group()
def workflows() -> None:
    """The workflow files of this project."""


@workflows.command("list")
def list_() -> None:
    """One line per workflow."""
    project = Project.load(Settings())
    for workflow in project.workflows:
        tasks = ", ".join(f"{task.name} ({task.type}, {len(task.outputs)})" for task in workflow.tasks.values())
        click.echo(f"{workflow.name}  {workflow.trigger.bucket}{workflow.trigger.dir}  {tasks}")
    for file in project.bad:
        click.echo(f"{file.path.name}  not valid (mps workflows validate)")


@workflows.command()
@click.option("--watch", is_flag=True, help="Do it again whenever a file changes, until interrupted.")
def validate(*, watch: bool) -> None:
    """Build of every file what Dagster will; the exit code is 1 if one is not valid."""
    settings = Settings()
    if not watch:
        raise SystemExit(0 if _validate(settings) else 1)
    with folder_changes([settings.workflows_dir, settings.templates_dir]) as changes, suppress(KeyboardInterrupt):
        while True:
            _validate(settings)
            click.echo("waiting for changes; Ctrl-C ends it\n")
            changes.wait()


def _validate(settings: Settings) -> bool:
    """Print what is valid and what is not; return whether all is."""
    # Here and not above: Dagster costs each command a second.
    from mps_dagster.orchestration.build import build_project

    _, project = build_project(settings)
    for workflow in project.workflows:
        click.echo(f"{workflow.name}: valid")
    for file in project.bad:
        click.echo(file.problem)
    if not project.workflows and not project.bad:
        click.echo(f"there are no workflow files in {settings.workflows_dir}")
    return not project.bad
