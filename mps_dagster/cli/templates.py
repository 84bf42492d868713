"""`mps templates`"""

from __future__ import annotations

import click
import yaml
from rich.table import Table

from mps_dagster.cli.show import whole_lines
from mps_dagster.errors import DefinitionNotExist
from mps_dagster.settings import Settings
from mps_dagster.workflow.templates import KINDS, Template, Templates


@click.command()
@click.argument("definition", required=False)
@click.option("--kind", type=click.Choice(KINDS), help="Only templates of this kind.")
def templates(definition: str | None, kind: str | None) -> None:
    """List the templates, or show the one with this ID or name."""
    known = Templates.load(Settings().templates_dir).by_name
    templates_by_id = {
        (of, template.definition): template for (of, _), template in known.items() if kind in (None, of)
    }  # `known` has each template twice: by ID and by name
    if definition is None:
        whole_lines().print(_table(templates_by_id))
        return
    shown = [
        {"kind": of, **template.model_dump()}
        for (of, _), template in templates_by_id.items()
        if definition in (str(template.definition), template.name)
    ]
    if not shown:
        raise DefinitionNotExist(f"there is no template {definition!r}", hint="`mps templates` lists all")
    click.echo("\n".join(yaml.safe_dump(template, sort_keys=False) for template in shown))


def _table(templates_by_id: dict[tuple[str, int], Template]) -> Table:
    table = Table("kind", "definition", "name")
    for (kind, number), template in sorted(templates_by_id.items()):
        table.add_row(kind, str(number), template.name)
    return table
