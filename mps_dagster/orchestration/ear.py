"""How a sensor hears of uploads: it reads the queue in which the bucket announces them."""

import itertools
import time

from mps_dagster.errors import InvalidInput
from mps_dagster.execution.perform import Worker
from mps_dagster.orchestration.look import LOOK_S, RUNS_PER_TICK, Look
from mps_dagster.orchestration.requested import Requested
from mps_dagster.storage.announcements import VISIBILITY_S, AnnouncementQueue, Message, announced, set_aside
from mps_dagster.storage.sqs import make_sqs_client
from mps_dagster.workflow.model import Workflow


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
