"""One sensor for each bucket: it requests a run for each upload that a poll finds (`control.uploads`), for all workflows that
trigger on the bucket. A switch, which is a sensor too, turns each workflow on and off.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import dagster as dg

from mps_dagster.control.queue_listener import QueueListener
from mps_dagster.control.run_config import upload_config
from mps_dagster.control.scopes import Cursor
from mps_dagster.control.tags import workflow_tags
from mps_dagster.control.uploads import LIMITS, Limits, Listen, Poll, Upload
from mps_dagster.execution.perform import Worker
from mps_dagster.orchestration.graphs import uploads
from mps_dagster.orchestration.ledger import PartitionLedger
from mps_dagster.orchestration.rhythm import FOLDER, REST_S, RESTS
from mps_dagster.orchestration.wakes import wake
from mps_dagster.settings import Settings
from mps_dagster.storage.announcements import AnnouncementQueue
from mps_dagster.storage.sqs import make_sqs_client
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import bad_file_name, job_name, partition_key, sensor_name, switch_name
from mps_dagster.workflow.templates import BadFile

INTERVAL_S = 3
"""Below the daemon's loop of 5 s, so that every loop polls; 5 itself would give one poll in 10 s."""
SWITCH_INTERVAL_S = 24 * 3600
"""A switch has nothing to look for."""

Jobs = Mapping[str, Any]
"""The jobs of workflows, by workflow."""


def upload_sensors(
    settings: Settings, workflows: Iterable[Workflow], jobs: Jobs, limits: Limits = LIMITS
) -> list[dg.SensorDefinition]:
    """The sensors of all buckets, and the switches of all workflows."""
    by_bucket: dict[str, list[Workflow]] = {}
    for workflow in workflows:
        by_bucket.setdefault(workflow.trigger.bucket, []).append(workflow)
    return [
        *(_bucket_sensor(settings, takers, jobs, limits) for takers in by_bucket.values()),
        *(_switch(workflow) for takers in by_bucket.values() for workflow in takers),
    ]


def _bucket_sensor(
    settings: Settings, workflows: Sequence[Workflow], jobs: Jobs, limits: Limits
) -> dg.SensorDefinition:
    bucket = workflows[0].trigger.bucket
    enabled = [workflow for workflow in workflows if workflow.enabled]
    listeners = _listeners(settings, enabled)
    remembered: set[str] = set()

    @dg.sensor(
        name=sensor_name(bucket),
        jobs=[jobs[workflow.name] for workflow in workflows],
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # Uploads to a bucket that is not local are only found by a poll.
        tags={} if "://" in bucket else {RESTS: str(REST_S), FOLDER: bucket},
        description=f"Launches the workflows of bucket {bucket} for each upload: {', '.join(w.name for w in workflows)}.",
    )
    def sensor(context: dg.SensorEvaluationContext, worker: dg.ResourceParam[Worker]) -> dg.SensorResult:
        if not enabled:
            return dg.SensorResult(skip_reason="its workflows are disabled", cursor=context.cursor)
        cursor, now = Cursor.parse(context.cursor), time.time()
        ledger = PartitionLedger(context.instance, bucket, remembered)
        since = ledger.add_runs(cursor.since, now)
        stopped = cache(lambda: _switched_off(context.instance))

        def is_on(workflow: str) -> bool:
            return switch_name(workflow) not in stopped()

        poll = Poll(enabled, worker.buckets.short_timeout.get(bucket), ledger, limits, is_on=is_on)
        # A queue whose workflows are all off is not read: what it announces waits in it.
        heard = [(queue, listen) for queue, takers, listen in listeners if any(map(is_on, takers))]
        cursor = poll.run(cursor.model_copy(update={"since": since}), now, heard)
        if poll.full:
            # The rest of a burst need not wait for the next poll.
            wake(settings.dagster_home, sensor_name(bucket))
        return _answer(context, poll, cursor)

    return sensor


def _switch(workflow: Workflow) -> dg.SensorDefinition:
    bucket = workflow.trigger.bucket

    @dg.sensor(
        name=switch_name(workflow.name),
        job_name=job_name(workflow.name),
        minimum_interval_seconds=SWITCH_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING if workflow.enabled else dg.DefaultSensorStatus.STOPPED,
        description=f"Switches {workflow.name} on and off. {sensor_name(bucket)} looks for its uploads to"
        f" {bucket}{workflow.trigger.dir} while this is on, and shows what it finds.",
    )
    def switch() -> dg.SkipReason:
        if not workflow.enabled:
            return dg.SkipReason("the workflow is disabled")
        return dg.SkipReason(f"{workflow.name} is on: {sensor_name(bucket)} looks for its uploads")

    return switch


def _switched_off(instance: dg.DagsterInstance) -> frozenset[str]:
    """The names of the sensors that were switched off in the UI."""
    return frozenset(s.instigator_name for s in instance.all_instigator_state() if s.status.value == "STOPPED")


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


def _listeners(settings: Settings, workflows: Sequence[Workflow]) -> list[tuple[str, list[str], Listen]]:
    """One for each queue of a bucket, with the queue and the names of its workflows."""
    queues: dict[tuple[str, str | None], list[str]] = {}
    for workflow in workflows:
        if workflow.trigger.queue:
            queues.setdefault((workflow.trigger.queue, workflow.trigger.queue_region), []).append(workflow.name)
    return [
        (queue, names, _listener(settings, queue, region, names[0]).listen) for (queue, region), names in queues.items()
    ]


def _listener(settings: Settings, queue: str, region: str | None, workflow: str) -> QueueListener:
    def open_queue() -> AnnouncementQueue:
        return AnnouncementQueue(queue, make_sqs_client(settings, region))

    return QueueListener(open_queue, settings.dead_letters_dir / workflow)


def _answer(context: dg.SensorEvaluationContext, poll: Poll, cursor: Cursor) -> dg.SensorResult:
    for problem in poll.problems():
        context.log.error(problem)
    if poll.failures and not poll.uploads and not poll.swept:
        # A failed listing is not an empty bucket: fail the tick, which shows why.
        raise dg.Failure(description="\n".join(poll.failures))
    text = cursor.model_dump_json()
    if not poll.uploads:
        return dg.SensorResult(skip_reason=poll.summary(cursor), cursor=text)
    partitions: dict[str, list[str]] = {}
    for upload in poll.uploads.values():
        partitions.setdefault(upload.workflow.name, []).append(partition_key(upload.info.key))
    return dg.SensorResult(
        run_requests=[_request(run, upload) for run, upload in poll.uploads.items()],
        dynamic_partitions_requests=[uploads(name).build_add_request(keys) for name, keys in partitions.items()],
        cursor=text,
    )


def _request(run: str, upload: Upload) -> dg.RunRequest:
    workflow, info = upload.workflow, upload.info
    return dg.RunRequest(
        run_key=run,
        job_name=job_name(workflow.name),
        partition_key=partition_key(info.key),
        run_config=upload_config(workflow.name, info.etag, workflow.notify),
        tags=workflow_tags(workflow, info.key),
    )
