"""Workflows → assets, jobs, sensors, joined into one `Definitions`."""

from __future__ import annotations

from typing import Any

import dagster as dg

from mps_dagster.orchestration.backfill_job import backfill_job, backfill_schedules
from mps_dagster.orchestration.executor import subtask_executor
from mps_dagster.orchestration.graphs import by_hand_job, process_media_job, workflow_assets, workflow_graphs
from mps_dagster.orchestration.notifications import notification_sensors
from mps_dagster.orchestration.resources import resources
from mps_dagster.orchestration.retention import retention_job, retention_schedule
from mps_dagster.orchestration.runs import BUCKET_TAG, REVISION_TAG, WORKFLOW_TAG
from mps_dagster.orchestration.upload_sensor import bad_file_sensor, upload_sensor
from mps_dagster.settings import Settings
from mps_dagster.workflow.files import is_schedule
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.store import load_workflows
from mps_dagster.workflow.templates import Templates


def build_definitions(settings: Settings) -> dg.Definitions:
    """All that the project's folder configures."""
    workflows, bad = load_workflows(settings.workflows_dir, Templates.load(settings.templates_dir))
    executor = subtask_executor(settings)
    graphs = {workflow.name: workflow_graphs(workflow) for workflow in workflows}
    schedules = [workflow for workflow in workflows if is_schedule(workflow.name)]
    backfill, retention = backfill_job(workflows), retention_job(settings, workflows)
    return dg.Definitions(
        assets=[asset for workflow in workflows for asset in workflow_assets(workflow, graphs[workflow.name])],
        jobs=[
            *(_job(workflow, executor) for workflow in workflows),
            *(by_hand_job(schedule, graphs[schedule.name], executor) for schedule in schedules),
            process_media_job(executor),
            backfill,
            retention,
        ],
        schedules=[*backfill_schedules(workflows, backfill), retention_schedule(retention)],
        sensors=[
            *(upload_sensor(workflow) for workflow in workflows),
            *(bad_file_sensor(file) for file in bad),
            *notification_sensors(settings, {workflow.name: workflow for workflow in workflows}),
        ],
        executor=executor,
        resources=resources(settings),
    )


def _job(workflow: Workflow, executor: dg.ExecutorDefinition) -> Any:
    return dg.define_asset_job(
        name=workflow.name,
        selection=dg.AssetSelection.groups(workflow.name),
        description=workflow.description
        or f"What happens to each upload to {workflow.trigger.bucket}{workflow.trigger.dir}.",
        tags={
            WORKFLOW_TAG: workflow.name,
            BUCKET_TAG: workflow.trigger.bucket,
            # Also of runs that a person launches, so that a backfill knows what they were of.
            REVISION_TAG: workflow.revision,
            "dagster/priority": str(workflow.priority),
        },
        executor_def=executor,
    )
