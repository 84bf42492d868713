"""`mps api`"""

from __future__ import annotations

import click

from mps_dagster.api.keys import make_first_key
from mps_dagster.api.server import main
from mps_dagster.settings import Settings


@click.command()
def api() -> None:
    """Serve MPS's API alone, beside a Dagster that runs already (`mps up` serves both)."""
    path = make_first_key(Settings())
    if path:
        click.echo(f"a key that may do everything was written to {path}", err=True)
    main()
