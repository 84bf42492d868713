"""`mps pages`"""

from __future__ import annotations

import click

from mps_dagster.api.keys import load_keys
from mps_dagster.api.sessions import login_link
from mps_dagster.errors import InvalidInput
from mps_dagster.settings import Settings


@click.command()
@click.option("--key", "secret_id", help="SecretId of the API key to sign in with. Default: the first one.")
def pages(secret_id: str | None) -> None:
    """Print a link to the pages of all sources. For a day, it signs in whoever has it."""
    click.echo(pages_link(Settings(), secret_id))


def pages_link(settings: Settings, secret_id: str | None = None) -> str:
    keys = load_keys(settings)
    key = keys.get(secret_id) if secret_id else next(iter(keys.values()), None)
    if key is None:
        problem = f"there is no API key {secret_id}" if secret_id else "there is no API key yet"
        raise InvalidInput(problem, hint=f"`mps up` makes a first one; they are in {settings.api_keys_path}")
    return login_link(settings.api_url, key)
