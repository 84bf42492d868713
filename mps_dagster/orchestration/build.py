"""Workflows → assets, jobs, sensors, joined into one `Definitions`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from mps_dagster.control.tags import workflow_tags
from mps_dagster.orchestration.backfill_job import backfill_job, backfill_schedules
from mps_dagster.orchestration.executor import subtask_executor
from mps_dagster.orchestration.graphs import by_hand_job, process_media_job, workflow_assets, workflow_graphs
from mps_dagster.orchestration.notifications import notification_sensors
from mps_dagster.orchestration.resources import resources
from mps_dagster.orchestration.retention import retention_job, retention_schedule
from mps_dagster.orchestration.upload_sensor import bad_file_sensor, upload_sensors
from mps_dagster.orchestration.usage import usage_asset, usage_job, usage_schedule
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import BACKFILL, RETENTION, by_hand_name, is_schedule, job_name
from mps_dagster.workflow.project import Project, WorkflowFile
from mps_dagster.workflow.templates import BadFile


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that the project's folder configures."""
    definitions, _ = build_project(settings)
    return definitions


def build_project(settings: Settings) -> tuple[dg.Definitions, Project]:
    """The definitions and the project; a workflow that Dagster refuses is a bad file like one that is not YAML."""
    project = Project.load(settings)
    try:
        return _validated(settings, project.files, project.bad), project
    except Exception:
        # One bad file must not keep the other workflows from being loaded.
        files, refused = _loadable(settings, project.files, ())
    project = replace(project, files=files, bad=(*project.bad, *refused))
    return _validated(settings, project.files, project.bad), project


def build_for_run(job: str, selected: Sequence[str]) -> dg.Definitions:
    """What one run needs: loading two hundred workflows takes longer than most runs. `selected` are the workflows whose
    assets the run makes, if it is not of a workflow's job."""
    settings = Settings()
    if job in (BACKFILL, RETENTION):
        return build_definitions(settings)
    workflows = [workflow for workflow in Project.load(settings).workflows if _is_of(workflow, job, selected)]
    return _definitions(settings, workflows, ())


def _is_of(workflow: Workflow, job: str, selected: Sequence[str]) -> bool:
    return job in (job_name(workflow.name), by_hand_name(workflow.name)) or workflow.name in selected


Files = tuple[WorkflowFile, ...]


def _loadable(settings: Settings, files: Files, loaded: Files) -> tuple[Files, tuple[BadFile, ...]]:
    """Split the files into those that Dagster accepts together with the loaded ones, and the others, by bisection."""
    problem = _problem(settings, [*loaded, *files]) if files else ""
    if not problem:
        return files, ()
    if len(files) == 1:
        path = files[0].path
        return (), (BadFile(path, f"{path.name}: Dagster does not take this workflow: {problem}"),)
    middle = len(files) // 2
    first, bad_first = _loadable(settings, files[:middle], loaded)
    second, bad_second = _loadable(settings, files[middle:], (*loaded, *first))
    return (*first, *second), (*bad_first, *bad_second)


def _problem(settings: Settings, files: Sequence[WorkflowFile]) -> str:
    try:
        _validated(settings, files, ())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _validated(settings: Settings, files: Sequence[WorkflowFile], bad: Sequence[BadFile]) -> dg.Definitions:
    """Raises Dagster's error if it does not accept them."""
    definitions = _definitions(settings, [file.workflow for file in files], bad)
    dg.Definitions.validate_loadable(definitions)
    return definitions


def _definitions(settings: Settings, workflows: Sequence[Workflow], bad: Sequence[BadFile]) -> dg.Definitions:
    executor = subtask_executor(settings)
    graphs = {workflow.name: workflow_graphs(workflow) for workflow in workflows}
    schedules = [workflow for workflow in workflows if is_schedule(workflow.name)]
    jobs = {workflow.name: _job(workflow, executor) for workflow in workflows}
    backfill, retention = backfill_job(workflows), retention_job(settings, tuple(workflows), are_all=not bad)
    usage = usage_asset()
    daily = usage_job(usage)
    assets = [asset for workflow in workflows for asset in workflow_assets(workflow, graphs[workflow.name])]
    return dg.Definitions(
        assets=[*assets, usage],
        jobs=[
            *jobs.values(),
            *(by_hand_job(schedule, graphs[schedule.name], executor) for schedule in schedules),
            process_media_job(executor),
            backfill,
            retention,
            daily,
        ],
        schedules=[*backfill_schedules(workflows, backfill), retention_schedule(retention), usage_schedule(daily)],
        sensors=[
            *upload_sensors(settings, workflows, jobs),
            *(bad_file_sensor(file) for file in bad),
            *notification_sensors(settings, {workflow.name: workflow for workflow in workflows}),
        ],
        executor=executor,
        resources=resources(settings),
    )


def _job(workflow: Workflow, executor: dg.ExecutorDefinition) -> Any:
    return dg.define_asset_job(
        name=job_name(workflow.name),
        selection=dg.AssetSelection.groups(workflow.name),
        description=workflow.description
        or f"What happens to each upload to {workflow.trigger.bucket}{workflow.trigger.dir}.",
        # Also for runs launched in the UI, so that a backfill knows which revision they ran.
        tags=workflow_tags(workflow),
        executor_def=executor,
    )
