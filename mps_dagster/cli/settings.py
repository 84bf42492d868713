"""`mps settings`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from mps_dagster.settings import variables

SHOWN = {"MPS_PROJECT": "current folder", "MPS_HOME": "`.mps` there", "MPS_CORES": "cores of the machine"}
"""Defaults that depend on the machine or the working directory."""


@click.command()
def settings() -> None:
    """Print every setting as a Markdown table: variable, default, meaning. The text of docs/reference/settings.md."""
    click.echo("| variable | default | meaning |\n|---|---|---|")
    for name, field in variables():
        shown = SHOWN.get(name) or _default(field)
        click.echo(f"| `{name}` | {shown} | {field.description or ''} |")


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value in ({}, ()) or isinstance(value, SecretStr | Path):
        return ""
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
