"""One sensor per workflow: it requests a run for each upload that a poll finds (`control.uploads`)."""

import time

import dagster as dg

from mps_dagster.control.queue_listener import QueueListener
from mps_dagster.control.run_config import upload_config
from mps_dagster.control.tags import workflow_tags
from mps_dagster.control.uploads import LIMITS, Cursor, Limits, Poll
from mps_dagster.execution.perform import Worker
from mps_dagster.orchestration.graphs import uploads
from mps_dagster.orchestration.ledger import PartitionLedger
from mps_dagster.settings import Settings
from mps_dagster.storage.announcements import AnnouncementQueue
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.storage.sqs import make_sqs_client
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import bad_file_name, job_name, partition_key, sensor_name
from mps_dagster.workflow.templates import BadFile

INTERVAL_S = 3
"""Below the daemon's loop of 5 s, so that every loop polls; 5 itself would give one poll in 10 s."""


def upload_sensor(settings: Settings, workflow: Workflow, limits: Limits = LIMITS) -> dg.SensorDefinition:
    trigger = workflow.trigger
    listen = _listener(settings, workflow).listen if trigger.queue else None

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
        ledger = PartitionLedger(context.instance, workflow.name)
        since = ledger.add_runs(cursor.since, now)
        poll = Poll(workflow, worker.buckets.short_timeout.get(trigger.bucket), ledger, limits)
        return _answer(context, poll, poll.run(cursor.model_copy(update={"since": since}), now, listen))

    return sensor


def bad_file_sensor(bad: BadFile) -> dg.SensorDefinition:
    """Shows an invalid workflow or template file in the UI, as a sensor that fails with the reason."""

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


def _listener(settings: Settings, workflow: Workflow) -> QueueListener:
    trigger = workflow.trigger

    def open_queue() -> AnnouncementQueue:
        return AnnouncementQueue(trigger.queue, make_sqs_client(settings, trigger.queue_region))

    return QueueListener(workflow, open_queue, settings.dead_letters_dir / workflow.name)


def _answer(context: dg.SensorEvaluationContext, poll: Poll, cursor: Cursor) -> dg.SensorResult:
    for problem in poll.problems():
        context.log.error(problem)
    if poll.failures and not poll.uploads and not poll.swept:
        # A failed listing is not an empty bucket: fail the tick, which shows why.
        raise dg.Failure(description="\n".join(poll.failures))
    text, workflow = cursor.model_dump_json(), poll.workflow
    if not poll.uploads:
        return dg.SensorResult(skip_reason=poll.summary(cursor), cursor=text)
    partitions = [partition_key(info.key) for info in poll.uploads.values()]
    return dg.SensorResult(
        run_requests=[_request(workflow, key, info) for key, info in poll.uploads.items()],
        dynamic_partitions_requests=[uploads(workflow.name).build_add_request(partitions)],
        cursor=text,
    )


def _request(workflow: Workflow, key: str, info: ObjectInfo) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=key,
        partition_key=partition_key(info.key),
        run_config=upload_config(workflow.name, info.etag, workflow.notify),
        tags=workflow_tags(workflow, info.key),
    )
