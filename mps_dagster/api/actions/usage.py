"""DescribeUsageData (reference F.2): how many outputs were made on each day, and how many seconds or pictures they have."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mps_dagster.api.action import Action, Call
from mps_dagster.api.actions.task_requests import DescribeUsageDataRequest
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.limits import Slots
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.steps import StepEvent
from mps_dagster.control.task_run import StoredRun
from mps_dagster.settings import Settings
from mps_dagster.tasks import TASKS
from mps_dagster.usage.rows import COPY, Row
from mps_dagster.usage.runs import Days, Records, day_of

if TYPE_CHECKING:
    import pandas as pd

MAX_DAYS, LOOK_BACK_DAYS = 90, 365
AT_ONCE = 2
READ_S = 40.0
"""The SDKs wait for an answer for a minute."""
REMEMBERED = 20_000
"""Runs whose rows are kept in memory."""
CODECS = {"h264": "H264", "hevc": "H265", "av1": "AV1"}
SIZES = ((480, "SD"), (720, "HD"), (1080, "FHD"), (1440, "2K"), (2160, "4K"))
"""By the shorter side at most, as in MPS's prices."""
SNAPSHOTS = {"SnapshotByTimeOffset": "SnapshotByTime", "ImageSprites": "ImageSprite"}
"""Where the specification is not the task's own name."""


def usage_actions(settings: Settings) -> dict[str, Action[Any]]:
    adding = _Adding(settings, Slots(AT_ONCE, "usages are added up"), {})
    return {"DescribeUsageData": Action(DescribeUsageDataRequest, adding.describe)}


@dataclass(frozen=True)
class _Adding:
    settings: Settings
    slots: Slots
    known: dict[str, tuple[Row, ...]]
    """By run: those of today, which have no file yet, are read once."""

    def describe(self, call: Call[DescribeUsageDataRequest]) -> dict[str, Any]:
        days = _days(call.request, datetime.now(UTC))
        with self.slots.hold():
            table = _visible(self._table(days), call.key)
        return {"Data": [_of_type(table, name, days) for name in dict.fromkeys(call.request.types)]}

    def _table(self, days: Days) -> pd.DataFrame:
        # Importing pandas takes 0.4 s, and most deployments are never asked.
        from mps_dagster.usage.files import DailyFiles, Usage

        if len(self.known) > REMEMBERED:
            self.known.clear()
        deployment = Deployment.of(self.settings)
        files = DailyFiles.of(self.settings, deployment.buckets)
        records = _Hurried(deployment.dagster, time.monotonic() + READ_S)
        return Usage(files, records, deployment.project.by_name, self.known).table(days)


@dataclass(frozen=True)
class _Hurried:
    """Records that are read for a limited time. What was read is remembered, so the next call gets further."""

    records: Records
    until: float

    def runs(self, query: Mapping[str, Any], *, limit: int, cursor: str | None = None) -> Sequence[StoredRun]:
        return self.records.runs(query, limit=limit, cursor=cursor)

    def events(self, run_id: str) -> Iterable[StepEvent]:
        if time.monotonic() > self.until:
            raise ApiError("RequestLimitExceeded", "Usage of these days is still being added up. Please ask again.")
        return self.records.events(run_id)


def _days(request: DescribeUsageDataRequest, now: datetime) -> Days:
    """Dates as they are written; days here are UTC, whatever the zone behind them."""
    days = Days(request.start_time.date(), request.end_time.date())
    if request.end_time < request.start_time:
        raise ApiError("InvalidParameterValue", "EndTime is before StartTime.")
    if (days.last - days.first).days >= MAX_DAYS:
        raise ApiError("InvalidParameterValue", f"From StartTime to EndTime are more than {MAX_DAYS} days.")
    if (now.date() - days.first).days > LOOK_BACK_DAYS:
        raise ApiError("InvalidParameterValue", f"StartTime is more than {LOOK_BACK_DAYS} days ago.")
    return Days(days.first, min(days.last, day_of(now.timestamp())))


def _visible(table: pd.DataFrame, key: ApiKey) -> pd.DataFrame:
    """What the key's owner launched, or whose source the key may read: the tasks that it may see."""
    readable = [bucket for bucket in table["bucket"].unique() if key.may_read(bucket)]
    return table[(table["key"] == key.owner) | table["bucket"].isin(readable)]


def _of_type(table: pd.DataFrame, name: str, days: Days) -> dict[str, Any]:
    kinds = [kind for kind, task in TASKS.items() if task.usage == name]
    own = table[table["type"].isin(kinds) & (table["outcome"] == "made")]
    measured = own.assign(specification=[_specification(row) for row in own.itertuples()], used=_used(own, name))
    details = [
        {"Specification": specification, "Data": _daily(rows, days)}
        for specification, rows in measured.groupby("specification")
        if specification
    ]
    return {"TaskType": name, "Summary": _daily(measured, days), "Details": details}


def _used(table: pd.DataFrame, name: str) -> pd.Series:
    """Pictures, or seconds: of an inspection, those of the source."""
    if name == "Snapshot":
        return table["pictures"]
    return table["source_s" if name == "AiQualityControl" else "output_s"]


def _daily(table: pd.DataFrame, days: Days) -> list[dict[str, Any]]:
    """Of a set, the renditions count instead of it, as each has a specification of its own."""
    return [
        {"Time": f"{day}T00:00:00Z", "Count": int((rows["used"] > 0).sum()), "Usage": round(float(rows["used"].sum()))}
        for day in days
        for rows in [table[table["day"] == day.isoformat()]]
    ]


def _specification(row: Any) -> str:
    """As in MPS's bills; empty if the type has none, and for a set, whose renditions have their own."""
    task, side = TASKS[row.type], min(row.width, row.height)
    if task.usage == "Snapshot":
        return SNAPSHOTS.get(task.wire, task.wire)
    if task.usage != "Transcode" or not row.output_s:
        return ""
    if row.codec == COPY:
        return "Remuxing"
    if not side:
        return "Audio"
    return f"Standard.{CODECS.get(row.codec, row.codec.upper())}.{next((name for most, name in SIZES if side <= most), '8K')}"
