"""`mps backfill`"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from mps_dagster.cli.show import whole_lines
from mps_dagster.control.deployment import Deployment
from mps_dagster.settings import Settings

SHOWN = 50
"""Rows in the terminal; a file has them all."""


@click.group()
def backfill() -> None:
    """Make up for what a workflow missed: sources never processed, failed, replaced, or made by an older revision."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        [
            click.argument("workflow"),
            click.option("--prefix", default="", help="Only keys that begin with it."),
            click.option("--since", type=click.DateTime(), help="Only uploads from this time (UTC) on."),
            click.option("--until", type=click.DateTime(), help="Only uploads before this time (UTC)."),
            click.option("--task", "tasks", multiple=True, help="Only this task; may be repeated."),
            click.option(
                "--status", "statuses", multiple=True, default=("never", "failed", "changed", "stale"), show_default=True,
                help="Only sources in this state; also: broken, done.",
            ),
            click.option("--limit", type=click.IntRange(1), help="At most so many sources, oldest first."),
            click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to this file."),
            click.option("--parquet", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to this file."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@backfill.command()
@_filters
def plan(**options: Any) -> None:
    """Show what a backfill would process, and why. Nothing is launched."""
    _backfill(options, launches=False)


@backfill.command()
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
def run(**options: Any) -> None:
    """Show the plan, then launch it as Dagster backfills, which go on in the background."""
    _backfill(options, launches=True)


def _backfill(options: dict[str, Any], *, launches: bool) -> None:
    # Importing Dagster and pandas takes 1.5 s; other commands do not need them.
    from mps_dagster.control.backfill import Scope, plan
    from mps_dagster.orchestration.backfill import launch, open_instance
    from mps_dagster.orchestration.history import read_history

    settings = Settings()
    deployment = Deployment.of(settings)
    workflow = deployment.workflow(options["workflow"])
    scope = Scope(
        prefix=options["prefix"], since=_utc(options["since"]), until=_utc(options["until"]),
        tasks=options["tasks"], statuses=options["statuses"], limit=options["limit"],
    )  # fmt: skip
    with open_instance(settings) as instance:
        planned = plan(read_history(instance, workflow), deployment.buckets, scope)
        table = planned.table
        _show(table.to_dict("records"))
        if planned.others:
            click.echo(f"left alone: {', '.join(f'{count} {status}' for status, count in planned.others.items())}")
        _save(table, options["csv"], options["parquet"])
        if not launches or table.empty:
            return
        if not options["yes"]:
            click.confirm(f"Launch runs for {len(table)} sources?", abort=True)
        # The plan is of the current files, so the runs must use them, too.
        deployment.dagster.reload()
        for backfill_id in launch(instance, workflow, table):
            click.echo(f"{settings.ui_url}/runs/b/{backfill_id}")


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(
        Column("source", overflow="fold"), "uploaded", "status", "tasks", Column("reason", overflow="fold"),
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for row in rows[:SHOWN]:
        cells = (row["key"], f"{row['modified']:%Y-%m-%d %H:%M}", row["status"], " ".join(row["tasks"]), row["reason"])
        table.add_row(*(escape(cell) for cell in cells))
    console = whole_lines()
    if rows:
        console.print(table)
    more = f", {SHOWN} of them shown" if len(rows) > SHOWN else ""
    console.print(f"{len(rows)} sources to process{more}")


def _save(table: Any, csv: Path | None, parquet: Path | None) -> None:
    if csv:
        table.assign(tasks=table["tasks"].map(" ".join)).to_csv(csv, index=False)
    if parquet:
        table.to_parquet(parquet, index=False)
