"""`mps new`"""

from __future__ import annotations

import click

from mps_dagster.cli.new_workflow import workflow


@click.group()
def new() -> None:
    """Write a file of the project."""


new.add_command(workflow)
