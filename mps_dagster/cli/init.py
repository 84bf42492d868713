"""`mps init`"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mps_dagster.workflow.new_project import Entry, lay_out


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a project in FOLDER (by default, the current one). Files that are there stay as they are."""
    entries = lay_out(folder)
    for entry in entries:
        click.echo(_line(entry))
    different = [entry.name for entry in entries if entry.state == "differs"]
    if different:
        click.echo(f"not as this version writes them: {', '.join(different)}")
        click.echo("to get its own, rename a file and run this again")
    if all(entry.state != "written" for entry in entries):
        click.echo("nothing was missing")
    inside = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"\nnext:  {inside}mps new workflow\n       mps up")


def _line(entry: Entry) -> str:
    word = "written" if entry.state == "written" else "kept   "
    return f"{word}  {entry.name:<22}{entry.purpose}"
