"""Price tables: YAML in which rules turn rows into money."""

from __future__ import annotations

from datetime import date
from importlib import resources
from typing import Literal

import pandas as pd
import yaml
from pydantic import Field, ValidationError

from mps_dagster.errors import InvalidConfiguration, InvalidInput
from mps_dagster.frozen import Facts
from mps_dagster.settings import Settings

Unit = Literal["minute", "picture", "gigabyte", "cpu_second", "output"]
QUANTITIES: dict[Unit, tuple[str, float]] = {
    "minute": ("output_s", 60), "picture": ("pictures", 1), "gigabyte": ("output_bytes", 1e9), "cpu_second": ("cpu_s", 1),
}  # fmt: skip
"""Columns of a table, and how much of them is one unit; an `output` is a row that is no rendition."""


class Rule(Facts):
    """A price, and the outputs that it is for."""

    price: float = Field(ge=0, description="Of one unit.")
    per: Unit = Field(
        description="`minute` of the output, `picture`, `gigabyte` (1e9 bytes), `cpu_second` or `output`."
    )
    types: tuple[str, ...] = Field((), description="Task types; empty = all.")
    codecs: tuple[str, ...] = Field((), description="Such as `h264`, or `copy`; of sound alone its own. Empty = all.")
    sound: bool | None = Field(None, description="Whether it is for sound alone. Empty = for both.")
    short_side: int | None = Field(None, ge=0, description="The picture's shorter side is this at most, pixels.")
    max_fps: float | None = Field(None, gt=0, description="It has this many frames per second at most.")

    def matches(self, table: pd.DataFrame) -> pd.Series:
        """Whether it is for each of the rows."""
        side = table[["width", "height"]].min(axis=1)
        fits = pd.Series(data=True, index=table.index)
        if self.types:
            fits &= table["type"].isin(self.types)
        if self.codecs:
            fits &= table["codec"].isin(self.codecs)
        if self.sound is not None:
            fits &= ((side == 0) & (table["output_s"] > 0)) == self.sound
        if self.short_side is not None:
            fits &= side <= self.short_side
        if self.max_fps is not None:
            # A rate such as 30.0003 comes from the clock of a container.
            fits &= table["fps"] <= self.max_fps + 0.01
        return fits

    def amounts(self, table: pd.DataFrame) -> pd.Series:
        """The price of each row, if the rule is for it."""
        if self.per == "output":
            return (table["part"] == "") * self.price
        column, unit = QUANTITIES[self.per]
        return table[column] / unit * self.price


class PriceTable(Facts):
    """Of each unit, the first rule that matches an output counts; the amounts of different units are added up."""

    currency: str = Field(description="Such as USD.")
    date: date
    source: str = Field("", description="Where the prices are from.")
    rules: tuple[Rule, ...] = Field(min_length=1)

    def price(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with the columns `money`, and `unpriced`: whether no rule is for what was made."""
        money, priced = pd.Series(0.0, index=table.index), pd.Series(data=False, index=table.index)
        made = table["outcome"] == "made"
        for unit in dict.fromkeys(rule.per for rule in self.rules):
            left = made.copy()
            for rule in self.rules:
                if rule.per == unit:
                    fits = left & rule.matches(table)
                    money += rule.amounts(table).where(fits, 0.0)
                    left, priced = left & ~fits, priced | fits
        return table.assign(money=money, unpriced=made & ~priced & _is_media(table))


def _is_media(table: pd.DataFrame) -> pd.Series:
    """Whether rows have what clouds charge for. The row of a set has not: its renditions have."""
    return (table["output_s"] > 0) | (table["pictures"] > 0)


class _PricesFile(Facts):
    tables: dict[str, PriceTable]


def price_table(settings: Settings, name: str) -> PriceTable:
    """A table by its name, from the file in the settings, or else from the example."""
    tables = load_prices(settings)
    if name not in tables:
        raise InvalidInput(f"there is no price table {name!r}", hint=f"there are: {', '.join(tables)}")
    return tables[name]


def load_prices(settings: Settings) -> dict[str, PriceTable]:
    path = settings.prices or resources.files("mps_dagster.usage").joinpath("prices.yaml")
    try:
        return _PricesFile.model_validate({"tables": yaml.safe_load(path.read_text())}).tables
    except OSError as error:
        raise InvalidConfiguration(f"cannot read the price tables: {error}", hint="see MPS_PRICES") from error
    except yaml.YAMLError as error:
        raise InvalidConfiguration(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors(include_url=False)
        ]
        raise InvalidConfiguration(f"{path}: {'; '.join(lines)}", hint="docs/usage.md describes the file") from error
