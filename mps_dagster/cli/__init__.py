"""The `mps` command: one file per command, the same calls as the API."""

from __future__ import annotations

import sys

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from mps_dagster.cli.abort import abort
from mps_dagster.cli.api import api
from mps_dagster.cli.backfill import backfill
from mps_dagster.cli.demo import demo
from mps_dagster.cli.doctor import doctor
from mps_dagster.cli.init import init
from mps_dagster.cli.lineage import lineage
from mps_dagster.cli.new import new
from mps_dagster.cli.notifications import notifications
from mps_dagster.cli.pages import pages
from mps_dagster.cli.process import process
from mps_dagster.cli.settings import settings
from mps_dagster.cli.status import status
from mps_dagster.cli.tasks import tasks
from mps_dagster.cli.templates import templates
from mps_dagster.cli.up import up
from mps_dagster.cli.usage import usage
from mps_dagster.cli.worker import worker
from mps_dagster.cli.workers import workers
from mps_dagster.cli.workflows import workflows
from mps_dagster.errors import MpsError
from mps_dagster.settings import Settings, problem_of


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def mps() -> None:
    """A media processing service on Dagster. Settings come from MPS_* environment variables (docs/reference/settings.md)."""


for command in (
    init,
    new,
    up,
    worker,
    workers,
    api,
    demo,
    process,
    status,
    pages,
    tasks,
    abort,
    backfill,
    lineage,
    usage,
    doctor,
    settings,
    notifications,
    workflows,
    templates,
):
    mps.add_command(command)


def main() -> None:
    """Show errors that we raise on purpose without a traceback."""
    try:
        mps()
    except MpsError as error:
        text = str(error)
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        text = problem_of(error)
    except SettingsError as error:
        text = f"{error} (lists and mappings are JSON)"
    else:
        return
    click.echo(f"mps: {text}", err=True)
    sys.exit(1)
