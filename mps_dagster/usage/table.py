"""Rows as a table, and its sums. Import it only where needed, as pandas takes 0.4 s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

import pandas as pd

from mps_dagster.usage.rows import Row

TYPES = {"str": "str", "int": "int64", "float": "float64"}
COLUMNS = {field.name: TYPES.get(str(field.type), "str") for field in fields(Row)}
"""Of a table of rows, with their types."""
FIGURES = (
    "tasks", "outputs", "reused", "failed", "minutes_in", "bytes_in", "minutes_out", "bytes_out", "pictures", "pixels",
    "cpu_s", "wall_s",
)  # fmt: skip


def table_of(rows: Iterable[Row]) -> pd.DataFrame:
    """In the order in which the runs ended; the rows of a run stay in their order."""
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS)).astype(COLUMNS)
    return table.sort_values(["ended", "task_id"], kind="stable", ignore_index=True)


def summed(table: pd.DataFrame, by: Sequence[str], figures: Sequence[str] = FIGURES) -> pd.DataFrame:
    """One line for each combination of the dimensions `by`, or one for all; columns: those, and the figures.

    An upload counts once in each line that it has a part in, so `tasks`, `minutes_in` and `bytes_in` of the lines need not
    add up to those of all. `figures` may name further columns of the table.
    """
    first = ~table.duplicated([*by, "task_id"])
    outcome = table["outcome"].where(table["part"] == "", "")
    counted = table.assign(
        tasks=first,
        **{name: outcome == value for name, value in (("outputs", "made"), ("reused", "reused"), ("failed", "failed"))},
        minutes_in=table["source_s"].where(first, 0) / 60,
        bytes_in=table["source_bytes"].where(first, 0),
        minutes_out=table["output_s"] / 60,
        bytes_out=table["output_bytes"],
    )
    if not by:
        return pd.DataFrame([{name: counted[name].sum() for name in figures}])
    return counted.groupby(list(by), as_index=False)[list(figures)].sum()
