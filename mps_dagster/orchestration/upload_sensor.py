"""One sensor per workflow: it lists the trigger's dir and asks for one run per new or changed object."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import dagster as dg

from mps_dagster.errors import MpsError
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.records import OwnOutputs
from mps_dagster.orchestration.graphs import uploads
from mps_dagster.orchestration.runs import BUCKET_TAG, KEY_TAG, WORKFLOW_TAG
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.workflow.model import Trigger, Workflow
from mps_dagster.workflow.naming import partition_key, requested_name, run_key, sensor_name
from mps_dagster.workflow.store import BadWorkflow

RUNS_PER_TICK = 100
"""Creating a run takes the daemon about 20 ms; the rest of a burst follows in the next tick."""
INTERVAL_S = 3
"""Below the daemon's loop of 5 s, so that every loop looks; 5 itself would give one look in 10 s."""


def new_uploads(
    listed: Iterable[ObjectInfo], trigger: Trigger, requested: AbstractSet[str], own: AbstractSet[str]
) -> tuple[list[ObjectInfo], int]:
    """The objects that get a run now, and how many are still being written."""
    taken = [
        info
        for info in listed
        if trigger.takes(info.key) and info.key not in own and run_key(trigger.bucket, info) not in requested
    ]
    settled = [info for info in taken if info.settled]
    return settled[:RUNS_PER_TICK], len(taken) - len(settled)


def upload_sensor(workflow: Workflow) -> dg.SensorDefinition:
    trigger = workflow.trigger
    own_outputs = OwnOutputs()

    @dg.sensor(
        name=sensor_name(workflow.name),
        job_name=workflow.name,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Launches {workflow.name} for each upload to {trigger.bucket}{trigger.dir}.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, worker: dg.ResourceParam[Worker]
    ) -> dg.SensorResult | dg.SkipReason:
        requested = set(context.instance.get_dynamic_partitions(requested_name(workflow.name)))
        try:
            bucket = worker.buckets.get(trigger.bucket)
            listed = list(bucket.list(trigger.prefix))
            own = own_outputs.of(bucket)
        except MpsError as error:
            # A failed listing is not an empty bucket: nothing is decided from it, and the tick shows why.
            raise dg.Failure(description=f"{trigger.bucket}{trigger.dir} could not be listed: {error}") from error
        chosen, unsettled = new_uploads(listed, trigger, requested, own)
        if not chosen:
            waiting = f", {unsettled} still being written" if unsettled else ""
            return dg.SkipReason(f"{len(listed)} objects, none new{waiting}")
        return _requests(workflow, chosen)

    return sensor


def bad_workflow_sensor(bad: BadWorkflow) -> dg.SensorDefinition:
    """A file that is no workflow shows in the UI as a sensor that fails with the reason."""

    @dg.sensor(
        name=f"{''.join(c if c.isalnum() and c.isascii() else '_' for c in bad.path.stem)}_is_not_a_workflow",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"**{bad.path.name} is not a workflow.**\n\n```\n{bad.problem}\n```",
        asset_selection=dg.AssetSelection.all(),
    )
    def sensor() -> None:
        raise dg.Failure(description=bad.problem)

    return sensor


def _requests(workflow: Workflow, chosen: list[ObjectInfo]) -> dg.SensorResult:
    bucket = workflow.trigger.bucket
    partitions = [partition_key(info.key) for info in chosen]
    keys = [run_key(bucket, info) for info in chosen]
    requests = [
        dg.RunRequest(
            run_key=key,
            partition_key=partition,
            run_config={"ops": {f"{workflow.name}__source": {"config": {"etag": info.etag}}}},
            tags={
                WORKFLOW_TAG: workflow.name,
                BUCKET_TAG: bucket,
                KEY_TAG: info.key,
                "dagster/priority": str(workflow.priority),
            },
        )
        for info, partition, key in zip(chosen, partitions, keys, strict=True)
    ]
    remembered = dg.DynamicPartitionsDefinition(name=requested_name(workflow.name))
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[
            uploads(workflow.name).build_add_request(partitions), remembered.build_add_request(keys),
        ],
    )  # fmt: skip
