"""`mps up`"""

from __future__ import annotations

import signal
import threading

import click

from mps_dagster.cli.pages import pages_link
from mps_dagster.cli.services import services
from mps_dagster.settings import Settings
from mps_dagster.workflow.project import Project


@click.command()
@click.option("--restart", is_flag=True, help="Start a process that ends again. Default: end all, with exit code 1.")
def up(*, restart: bool) -> None:
    """Serve the Dagster UI, its daemon, the API and the files of outputs on 127.0.0.1 until interrupted."""
    settings = Settings()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with services(settings, restarts=restart) as running:
        click.echo(f"Dagster UI  {settings.ui_url}")
        click.echo(f"API         {settings.api_url}  keys: {settings.api_keys_path}")
        click.echo(f"Pages       {pages_link(settings)}")
        project = Project.load(settings)
        for workflow in project.workflows:
            where = workflow.trigger.bucket
            folder = where if "://" in where else settings.buckets_dir / where
            click.echo(f"{workflow.name}  takes uploads to {folder}{workflow.trigger.dir}")
        for file in project.bad:
            click.echo(f"{file.path.name} is not valid: mps workflows validate", err=True)
        click.echo("Ctrl-C ends it")
        while not stop.wait(1):
            running.check()
