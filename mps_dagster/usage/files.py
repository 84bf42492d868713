"""The table of each day, as Parquet and CSV, and the days that have none yet."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

import pandas as pd

from mps_dagster.control.task_run import StoredRun
from mps_dagster.errors import SourceNotAccessible
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.local import LocalBucket
from mps_dagster.usage.rows import Row, rows_of
from mps_dagster.usage.runs import Days, Records, ended_runs, read_run, runs_of
from mps_dagster.usage.table import COLUMNS, table_of
from mps_dagster.workflow.model import RECORDS_DIR, Workflow

MAX_BYTES = 256 * 2**20
"""Of a day's Parquet."""


@dataclass(frozen=True, slots=True)
class DailyFiles:
    """`<day>.parquet` and `<day>.csv`, in the home or in the bucket that all hosts share."""

    bucket: Bucket
    prefix: str = ""

    @classmethod
    def of(cls, settings: Settings, buckets: Buckets) -> DailyFiles:
        if settings.shared_bucket:
            return cls(buckets.get(settings.shared_bucket), f"{RECORDS_DIR}usage/")
        return cls(LocalBucket("usage", settings.usage_dir, settle_s=0))

    def write(self, day: date, table: pd.DataFrame) -> None:
        self.bucket.write(f"{self.prefix}{day}.csv", table.to_csv(index=False).encode(), content_type="text/csv")
        # Last, as it says that the day is written.
        self.bucket.write(self.key(day), table.to_parquet(index=False))

    def read(self, day: date) -> pd.DataFrame | None:
        """None if the day is not written, or was written by a version with other columns."""
        with suppress(SourceNotAccessible):
            table = pd.read_parquet(io.BytesIO(self.bucket.read(self.key(day), max_bytes=MAX_BYTES)))
            return table.astype(COLUMNS) if list(table.columns) == list(COLUMNS) else None
        return None

    def key(self, day: date) -> str:
        return f"{self.prefix}{day}.parquet"


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage over days: from the files, and where there is none, from Dagster's records."""

    files: DailyFiles
    records: Records
    workflows: Mapping[str, Workflow]
    known: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    """The rows of runs that were read before, as runs that ended do not change."""

    def table(self, days: Days) -> pd.DataFrame:
        written = {day: table for day in days if (table := self.files.read(day)) is not None}
        missing = runs_of(day for day in days if day not in written)
        tables = [*written.values(), *(self.from_records(gap) for gap in missing)]
        return pd.concat([table_of(()), *tables]).sort_values(["ended", "task_id"], kind="stable", ignore_index=True)

    def from_records(self, days: Days) -> pd.DataFrame:
        return table_of(row for run in ended_runs(self.records, days) for row in self._rows(run))

    def _rows(self, run: StoredRun) -> tuple[Row, ...]:
        if run.run_id not in self.known:
            self.known[run.run_id] = tuple(rows_of(read_run(self.records, run, self.workflows)))
        return self.known[run.run_id]

    def write(self, day: date) -> pd.DataFrame:
        """Write the files of one day; return its table."""
        table = self.from_records(Days(day, day))
        self.files.write(day, table)
        return table
