"""`mps settings`"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from mps_dagster.settings import Settings

SHOWN = {"project": "current folder", "home": "`.mps` there", "cores": "cores of the machine"}
"""Defaults that are of the machine or the moment."""


@click.command()
def settings() -> None:
    """Print every setting as a Markdown table: variable, default, meaning. The text of docs/settings.md."""
    click.echo("| variable | default | meaning |\n|---|---|---|")
    for row in _rows(Settings, "MPS_"):
        click.echo(f"| {' | '.join(row)} |")


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    nested = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            nested.append((kind, f"{prefix}{name.upper()}__"))
        else:
            yield f"`{prefix}{name.upper()}`", SHOWN.get(name) or _default(field), field.description or ""
    for kind, inner in nested:
        yield from _rows(kind, inner)


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value in ({}, ()) or isinstance(value, SecretStr | Path):
        return ""
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
