"""`mps doctor`"""

from __future__ import annotations

import click
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from mps_dagster.cli.show import whole_lines
from mps_dagster.control.health import examine
from mps_dagster.settings import Settings

COLORS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command()
def doctor() -> None:
    """Say whether buckets, queues, database and ffmpeg can be used with the settings as they are. Exit code 1 if not."""
    table = Table("", "", Column("", overflow="fold"), box=box.SIMPLE, show_header=False)
    failed = False
    for finding in examine(Settings()):
        failed |= finding.state == "failed"
        color = COLORS[finding.state]
        table.add_row(f"[{color}]{finding.state}[/]", escape(finding.what), escape(finding.detail))
    whole_lines().print(table)
    if failed:
        raise SystemExit(1)
