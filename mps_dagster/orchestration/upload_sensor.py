"""One sensor per workflow: it hears of uploads from the bucket's queue, or finds them in a sweep, and asks for a run each.

Both ways lead to `Look.consider`, which looks at the object itself. A look is bounded in time and in runs; a sweep that
it does not finish goes on in the next one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import ValidationError

from mps_dagster.control.run_config import upload_config
from mps_dagster.control.tags import workflow_tags
from mps_dagster.errors import MpsError
from mps_dagster.execution.perform import Worker
from mps_dagster.frozen import Facts
from mps_dagster.orchestration.ear import Ear
from mps_dagster.orchestration.graphs import uploads
from mps_dagster.orchestration.look import Look
from mps_dagster.orchestration.requested import Requested
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import bad_file_name, job_name, partition_key, sensor_name
from mps_dagster.workflow.templates import BadFile

INTERVAL_S = 3
"""Below the daemon's loop of 5 s, so that every loop looks; 5 itself would give one look in 10 s."""
REMARKS = 10
"""At most so many are shown in a tick."""


class Cursor(Facts):
    """What a look leaves to the next one. Losing it costs time only."""

    since: float | None = None
    """Runs that nothing happened to since are remembered already. Unix seconds, as `swept_at`."""
    after: str = ""
    """Where an unfinished sweep goes on."""
    swept_at: float = 0.0
    """When the last sweep was finished."""

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()


def upload_sensor(workflow: Workflow) -> dg.SensorDefinition:
    trigger = workflow.trigger
    ear = Ear(workflow) if trigger.queue else None

    @dg.sensor(
        name=sensor_name(workflow.name),
        job_name=job_name(workflow.name),
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING if workflow.enabled else dg.DefaultSensorStatus.STOPPED,
        description=f"Launches {workflow.name} for each upload to {trigger.bucket}{trigger.dir}.",
    )
    def sensor(context: dg.SensorEvaluationContext, worker: dg.ResourceParam[Worker]) -> dg.SensorResult:
        if not workflow.enabled:
            return dg.SensorResult(skip_reason="the workflow is disabled", cursor=context.cursor)
        cursor, now = Cursor.parse(context.cursor), time.time()
        requested = Requested(context.instance, workflow.name)
        since = requested.remember_runs(cursor.since, now)
        look = Look(workflow, worker.buckets.short_timeout.get(trigger.bucket), requested)
        if ear:
            with _reported(look, f"announcements in {trigger.queue} wait"):
                ear.listen(look, worker)
        after, swept_at = cursor.after, cursor.swept_at
        due = after or now - swept_at >= trigger.sweep_every_s
        # A sweep that follows slow announcements waits for the next look.
        if trigger.listing and due and not (ear and look.over):
            with _reported(look, f"{trigger.bucket}{trigger.dir} could not be listed"):
                after = look.sweep(after)
                swept_at = swept_at if after else now
        cursor = Cursor(since=since, after=after, swept_at=swept_at)
        return _answer(context, workflow, look, cursor)

    return sensor


def bad_file_sensor(bad: BadFile) -> dg.SensorDefinition:
    """A file of workflows or templates that is wrong shows in the UI as a sensor that fails with the reason."""

    @dg.sensor(
        name=bad_file_name(bad.path),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"**{bad.path.parent.name}/{bad.path.name} is not valid.**\n\n```\n{bad.problem}\n```",
        asset_selection=dg.AssetSelection.all(),
    )
    def sensor() -> None:
        raise dg.Failure(description=bad.problem)

    return sensor


@contextmanager
def _reported(look: Look, what: str) -> Iterator[None]:
    """One way of finding uploads that fails is told, and does not keep the other one from being used."""
    try:
        yield
    except MpsError as error:
        look.failures.append(f"{what}: {error}")


def _answer(context: dg.SensorEvaluationContext, workflow: Workflow, look: Look, cursor: Cursor) -> dg.SensorResult:
    for problem in _told(look):
        context.log.error(problem)
    if look.failures and not look.chosen and not look.swept:
        # A failed listing is not an empty bucket: nothing is decided from it, and the tick shows why.
        raise dg.Failure(description="\n".join(look.failures))
    text = cursor.model_dump_json()
    if not look.chosen:
        return dg.SensorResult(skip_reason=_summary(look, cursor), cursor=text)
    partitions = [partition_key(info.key) for info in look.chosen.values()]
    return dg.SensorResult(
        run_requests=[_request(workflow, key, info) for key, info in look.chosen.items()],
        dynamic_partitions_requests=[uploads(workflow.name).build_add_request(partitions)],
        cursor=text,
    )


def _summary(look: Look, cursor: Cursor) -> str:
    waiting = f", {look.unsettled} still being written" if look.unsettled else ""
    going_on = f"; the sweep goes on after {cursor.after}" if cursor.after else ""
    return "\n".join([f"{look.listed} objects listed, none new{waiting}{going_on}", *_told(look)])


def _told(look: Look) -> list[str]:
    """What a person should look at; of many alike the first ones."""
    more = len(look.remarks) - REMARKS
    told = [*look.failures, *look.remarks[:REMARKS], *([f"and {more} more"] if more > 0 else [])]
    if look.left_out:
        told.append(f"{look.left_out} left out, such as: {look.left_out_such_as}")
    return told


def _request(workflow: Workflow, key: str, info: ObjectInfo) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=key,
        partition_key=partition_key(info.key),
        run_config=upload_config(workflow.name, info.etag, workflow.notify),
        tags=workflow_tags(workflow, info.key),
    )
