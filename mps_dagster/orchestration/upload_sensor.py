"""One sensor per workflow: it hears of uploads from the bucket's queue, or finds them in a sweep, and asks for a run each.

Both ways lead to `Look.consider`, which looks at the object itself. A look is bounded in time and in runs; a sweep that
it does not finish goes on in the next one.
"""

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import ValidationError

from mps_dagster.errors import InvalidInput, MpsError, SourceNotAccessible, StorageRefused
from mps_dagster.execution.perform import Worker
from mps_dagster.media.info import Facts
from mps_dagster.orchestration.graphs import uploads
from mps_dagster.orchestration.requested import Requested
from mps_dagster.orchestration.runs import BUCKET_TAG, KEY_TAG, REVISION_TAG, WORKFLOW_TAG
from mps_dagster.storage.announcements import VISIBILITY_S, AnnouncementQueue, Message, announced, set_aside
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.sqs import make_sqs_client
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import partition_key, run_key, sensor_name
from mps_dagster.workflow.notification import as_written
from mps_dagster.workflow.templates import BadFile

RUNS_PER_TICK = 100
"""Creating a run takes Dagster 0.1 to 0.2 s (bench/uploads.py); the rest of a burst follows in the next tick."""
INTERVAL_S = 3
"""Below the daemon's loop of 5 s, so that every loop looks; 5 itself would give one look in 10 s."""
LOOK_S = 20.0
"""One look's time; Dagster gives up a tick after 60 s, and one request to a slow bucket may still be under way."""
PAGE = 1000


class Cursor(Facts):
    """What a look leaves to the next one. Losing it costs time only."""

    since: float | None = None
    """Runs created before are remembered already. Unix seconds, as `swept_at`."""
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


class Look:
    """One look for uploads that have no run yet."""

    def __init__(self, workflow: Workflow, bucket: Bucket, requested: Requested) -> None:
        self.workflow = workflow
        self.trigger = workflow.trigger
        self.bucket = bucket
        self.requested = requested
        self.deadline = time.monotonic() + LOOK_S
        self.chosen: dict[str, ObjectInfo] = {}
        self.unsettled = 0
        self.listed = 0
        self.swept = False
        self.failures: list[str] = []
        """What could not be asked at all."""
        self.remarks: list[str] = []
        """Single objects and messages that a person should look at."""

    @property
    def full(self) -> bool:
        return len(self.chosen) >= RUNS_PER_TICK

    @property
    def over(self) -> bool:
        return self.full or time.monotonic() > self.deadline

    def consider(self, key: str) -> str | None:
        """Choose the object if it is an upload that has no run yet, and return its run key; None if it gets none now."""
        try:
            info = self.bucket.head(key)
        except SourceNotAccessible:
            return None
        except StorageRefused as error:
            # One object that may not be read must not keep the others waiting.
            self.remarks.append(str(error))
            return None
        wanted = run_key(self.trigger.bucket, info.key, info.etag)
        if info.record:
            # Our own output: remembered, so that no sweep looks at it again.
            self.requested.add([wanted])
            return None
        if not self.workflow.takes(info.key, info.modified):
            return None
        if not info.settled:
            self.unsettled += 1
            return None
        if self.requested.among([wanted]):
            return None
        self.chosen[wanted] = info
        return wanted

    def sweep(self, after: str) -> str:
        """Look through the trigger's dir from `after` on; return how far that got, nothing if it is through.

        Raise `MpsError` if the listing fails; then nothing of it counts.
        """
        heard = dict(self.chosen)
        try:
            reached = self._sweep(after)
        except MpsError:
            self.chosen = heard
            raise
        self.swept = True
        return reached

    def _sweep(self, after: str) -> str:
        for page in _pages(self.bucket.list(self.trigger.prefix, after=after)):
            taken = [info for info in page if self.workflow.takes(info.key, info.modified)]
            keys = {info.key: run_key(self.trigger.bucket, info.key, info.etag) for info in taken}
            known = self.requested.among(keys.values())
            for info in page:
                if info.key in keys and keys[info.key] not in known:
                    if self.over:
                        return after
                    self.consider(info.key)
                after = info.key
                self.listed += 1
            if self.over:
                return after
        return ""


class Ear:
    """Listens to the bucket's announcements. A message is deleted when every upload it tells of is remembered."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._queue: AnnouncementQueue | None = None
        self._waiting: list[tuple[float, Message, frozenset[str]]] = []

    def listen(self, look: Look, worker: Worker) -> None:
        """Offer what was announced to the look. Raise `MpsError` if the queue cannot be read."""
        trigger = self._workflow.trigger
        if self._queue is None:
            client = make_sqs_client(worker.settings, trigger.queue_region)
            self._queue = AnnouncementQueue(trigger.queue, client)
        self._settle(look.requested)
        done: list[Message] = []
        try:
            # Half of the time, so that a busy queue does not stop the sweep.
            for message in self._queue.receive(RUNS_PER_TICK, look.deadline - LOOK_S / 2):
                keys = self._keys(message, look, worker)
                if keys:
                    self._waiting.append((time.monotonic() + VISIBILITY_S, message, keys))
                else:
                    done.append(message)
        finally:
            # Also if the queue stopped answering in between.
            self._queue.delete(done)

    def _keys(self, message: Message, look: Look, worker: Worker) -> frozenset[str]:
        try:
            return self._heard(message, look)
        except InvalidInput as error:
            path = set_aside(worker.settings.set_aside_dir / self._workflow.name, message, str(error))
            look.remarks.append(f"{error}; put aside as {path}")
            return frozenset()

    def _heard(self, message: Message, look: Look) -> frozenset[str]:
        """Run keys of the uploads that the message tells of and that now wait for their runs."""
        bucket = self._workflow.trigger.bucket.partition("://")[2]
        news = announced(message.body)
        considered = [
            look.consider(item.key) for item in news if item.bucket == bucket and look.trigger.takes(item.key)
        ]
        return frozenset(key for key in considered if key)

    def _settle(self, requested: Requested) -> None:
        """Delete what is dealt with. What is not by the time that it becomes visible again comes anew."""
        known = requested.among(itertools.chain.from_iterable(keys for _, _, keys in self._waiting))
        done = [message for _, message, keys in self._waiting if keys <= known]
        now = time.monotonic()
        self._waiting = [entry for entry in self._waiting if not entry[2] <= known and entry[0] > now]
        if self._queue and done:
            self._queue.delete(done)


def upload_sensor(workflow: Workflow) -> dg.SensorDefinition:
    trigger = workflow.trigger
    ear = Ear(workflow) if trigger.queue else None

    @dg.sensor(
        name=sensor_name(workflow.name),
        job_name=workflow.name,
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
        look = Look(workflow, worker.buckets.get(trigger.bucket), requested)
        if ear:
            with _reported(look, f"queue {trigger.queue} could not be read"):
                ear.listen(look, worker)
        after, swept_at = cursor.after, cursor.swept_at
        if trigger.listing and (after or now - swept_at >= trigger.sweep_every_s) and not look.full:
            with _reported(look, f"{trigger.bucket}{trigger.dir} could not be listed"):
                after = look.sweep(after)
                swept_at = swept_at if after else now
        cursor = Cursor(since=since, after=after, swept_at=swept_at)
        return _answer(context, workflow, look, cursor)

    return sensor


def bad_workflow_sensor(bad: BadFile) -> dg.SensorDefinition:
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


@contextmanager
def _reported(look: Look, what: str) -> Iterator[None]:
    """One way of finding uploads that fails is told, and does not keep the other one from being used."""
    try:
        yield
    except MpsError as error:
        look.failures.append(f"{what}: {error}")


def _pages(infos: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    source = iter(infos)
    while page := list(itertools.islice(source, PAGE)):
        yield page


def _answer(context: dg.SensorEvaluationContext, workflow: Workflow, look: Look, cursor: Cursor) -> dg.SensorResult:
    for problem in (*look.failures, *look.remarks):
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
    return "\n".join([f"{look.listed} objects listed, none new{waiting}{going_on}", *look.failures, *look.remarks])


def _request(workflow: Workflow, key: str, info: ObjectInfo) -> dg.RunRequest:
    config = {"etag": info.etag, "notify": as_written(workflow.notify)}
    return dg.RunRequest(
        run_key=key,
        partition_key=partition_key(info.key),
        run_config={"ops": {f"{workflow.name}__source": {"config": config}}},
        tags={
            WORKFLOW_TAG: workflow.name,
            BUCKET_TAG: workflow.trigger.bucket,
            KEY_TAG: info.key,
            REVISION_TAG: workflow.revision,
            "dagster/priority": str(workflow.priority),
        },
    )
