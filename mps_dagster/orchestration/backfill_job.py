"""Scheduled backfills: a job that plans and launches one, and a schedule for each workflow that has `backfill:`."""

from collections.abc import Iterable

import dagster as dg
from pydantic import Field

from mps_dagster.control import tags
from mps_dagster.control.run_config import run_config
from mps_dagster.errors import InvalidInput
from mps_dagster.orchestration.internals import reload_code
from mps_dagster.orchestration.ops import op, work
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import BACKFILL, backfill_name, op_name

LAUNCH = "plan_and_launch"
SHOWN = 100
"""Rows of the plan on the run's page; the file has them all."""


class BackfillConfig(dg.Config):
    workflow: str
    max_sources: int = Field(1000, description="Limit of one run; the next one goes on.")


def backfill_job(workflows: Iterable[Workflow]) -> dg.JobDefinition:
    by_name = {workflow.name: workflow for workflow in workflows}

    @op(
        name=op_name(LAUNCH),
        description="Compare a workflow's uploads with their outputs, and launch a backfill of those that are missing.",
    )
    def plan_and_launch(context: dg.OpExecutionContext, config: BackfillConfig) -> None:
        # Importing pandas takes 0.4 s, and no other run needs it.
        from mps_dagster.control.backfill import Scope, plan
        from mps_dagster.orchestration.backfill import launch
        from mps_dagster.orchestration.history import read_history

        with work(context) as worker:
            workflow = by_name.get(config.workflow)
            if workflow is None:
                raise InvalidInput(f"there is no workflow {config.workflow!r}")
            history = read_history(context.instance, workflow)
            # Not while the last backfill is under way: this one would only wait behind it. A retry launches the rest.
            waits = history.backfills and not context.retry_number
            if not waits:
                # A backfill of a task that the daemon does not know fails. Before the plan, so that the daemon has some time.
                reload_code(context.instance, context.run)
            planned = plan(history, worker.buckets, Scope(limit=config.max_sources))
            file = worker.settings.home / "backfills" / f"{context.run_id}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            planned.table.to_parquet(file)
            launched = [] if waits else list(launch(context.instance, workflow, planned.table))
        shown = planned.table.head(SHOWN).assign(tasks=planned.table["tasks"].head(SHOWN).map(" ".join))
        context.add_output_metadata(
            {
                "sources": len(planned.table),
                "left alone": dg.MetadataValue.json(dict(planned.others)),
                "still under way": dg.MetadataValue.json(list(planned.under_way)),
                "backfills": dg.MetadataValue.json(launched),
                "plan": dg.MetadataValue.path(str(file)),
                "table": dg.MetadataValue.md(shown.to_string(index=False)),
            }
        )

    @dg.job(
        name=BACKFILL,
        description="Run by the schedules of workflows that have `backfill:`; by hand use `mps backfill`.",
        executor_def=dg.in_process_executor,
    )
    def backfill() -> None:
        plan_and_launch.alias(LAUNCH)()

    return backfill


def backfill_schedules(workflows: Iterable[Workflow], job: dg.JobDefinition) -> list[dg.ScheduleDefinition]:
    return [
        dg.ScheduleDefinition(
            name=backfill_name(workflow.name),
            job=job,
            cron_schedule=workflow.backfill.cron,
            execution_timezone=workflow.backfill.timezone,
            run_config=run_config({LAUNCH: {"workflow": workflow.name, "max_sources": workflow.backfill.max_sources}}),
            tags={tags.PLANS: workflow.name},
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Processes the uploads that {workflow.name} missed.",
        )
        for workflow in workflows
        if workflow.backfill
    ]
