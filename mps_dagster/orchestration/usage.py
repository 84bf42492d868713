"""The asset `usage`: what the task runs that ended on a day have used. A partition is a day, UTC."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import DagsterInstance

from mps_dagster.control.steps import StepEvent
from mps_dagster.control.task_run import StoredRun
from mps_dagster.errors import InvalidInput
from mps_dagster.orchestration.ops import op, work
from mps_dagster.orchestration.retention import AT
from mps_dagster.orchestration.runs import step_events, stored_run
from mps_dagster.workflow.naming import DAILY_USAGE, op_name
from mps_dagster.workflow.project import Project

if TYPE_CHECKING:
    import pandas as pd

USAGE = "usage"
FIRST_DAY = "2026-01-01"
COUNTS = ("tasks", "outputs", "reused", "failed", "pictures")
SHOWN = 10
"""Lines of a table on the partition's page, and workflows, templates and keys with a plot of their own."""


@dataclass(frozen=True, slots=True)
class InstanceRecords:
    """Dagster's records, read from the instance; a `usage.runs.Records`."""

    instance: DagsterInstance

    def runs(self, query: Mapping[str, Any], *, limit: int, cursor: str | None = None) -> Sequence[StoredRun]:
        filters = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus(status) for status in query.get("statuses", ())], tags=query.get("tags"),
            run_ids=query.get("runIds"), created_before=_moment(query, "createdBefore"),
            updated_after=_moment(query, "updatedAfter"),
        )  # fmt: skip
        records = self.instance.get_run_records(filters, limit=limit, cursor=cursor)
        return [stored_run(record.dagster_run, record) for record in records]

    def events(self, run_id: str) -> Iterator[StepEvent]:
        return step_events(self.instance, run_id)


def usage_asset() -> dg.AssetsDefinition:
    @op(name=op_name(USAGE), description="Add up what the task runs that ended on the day have used.")
    def usage(context: dg.OpExecutionContext) -> dg.Output[None]:
        # Importing pandas takes 0.4 s, and most runs do not need it.
        from mps_dagster.usage.files import DailyFiles, Usage

        day = date.fromisoformat(context.partition_key)
        with work(context) as worker:
            settings = worker.settings
            check_kept(day, settings.keep_runs_days, datetime.now(UTC))
            files = DailyFiles.of(settings, worker.buckets)
            workflows = Project.load(settings).by_name
            table = Usage(files, InstanceRecords(context.instance), workflows).write(day)
            metadata = {"file": f"{files.bucket.name}/{files.key(day)}", **_metadata(table)}
        return dg.Output(None, metadata=metadata)

    return dg.AssetsDefinition.from_op(
        usage,
        keys_by_output_name={"result": dg.AssetKey(USAGE)},
        partitions_def=dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC"),
        # No workflow can have this name.
        group_name=DAILY_USAGE,
        descriptions_by_output_name={"result": "What the task runs that ended on a day (UTC) have used; `mps usage`."},
        tags_by_output_name={"result": {"dagster/kind/pandas": "", "dagster/kind/parquet": ""}},
    )


def usage_job(asset: dg.AssetsDefinition) -> Any:
    return dg.define_asset_job(
        DAILY_USAGE,
        selection=dg.AssetSelection.assets(asset),
        description="Writes what was used on a day, shortly after its end.",
        executor_def=dg.in_process_executor,
    )


def usage_schedule(job: Any) -> Any:
    return dg.build_schedule_from_partitioned_job(
        job, hour_of_day=0, minute_of_hour=20, default_status=dg.DefaultScheduleStatus.RUNNING
    )


def check_kept(day: date, keep_days: int, now: datetime) -> None:
    """Raise `InvalidInput` if runs of the day may have been removed: its table would be replaced by a smaller one."""
    removed_until = (now - AT).date() - timedelta(days=keep_days)
    if keep_days and day <= removed_until:
        raise InvalidInput(
            f"usage of {day} is left as it is: runs are kept for {keep_days} days, so those of that day are not complete",
            hint="MPS_KEEP_RUNS_DAYS",
        )


def _metadata(table: "pd.DataFrame") -> dict[str, Any]:
    """Numbers, which Dagster plots over the days, and tables."""
    from mps_dagster.usage.table import summed

    [totals] = summed(table, ()).to_dict("records")
    # Dagster's page shows no integers of more than 32 bits, such as bytes.
    metadata: dict[str, Any] = {name: int(value) if name in COUNTS else float(value) for name, value in totals.items()}
    for dimension in ("workflow", "template", "key"):
        lines = summed(table[table[dimension] != ""], [dimension]).nlargest(SHOWN, "cpu_s")
        metadata |= {f"cpu_s {dimension} {line[dimension]}": line["cpu_s"] for line in lines.to_dict("records")}
        if lines.empty:
            continue
        metadata[f"by {dimension}"] = dg.MetadataValue.md(f"```\n{lines.round(2).to_string(index=False)}\n```")
    failures = summed(table[table["outcome"] == "failed"], ["code"])
    return metadata | {f"failed {line['code']}": int(line["failed"]) for line in failures.to_dict("records")}


def _moment(query: Mapping[str, Any], name: str) -> datetime | None:
    return datetime.fromtimestamp(query[name], UTC) if name in query else None
