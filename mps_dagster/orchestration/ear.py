"""How a sensor hears of uploads: it reads the queue in which the bucket announces them."""

import itertools
import time

from mps_dagster.errors import InvalidInput
from mps_dagster.execution.perform import Worker
from mps_dagster.orchestration.look import LOOK_S, Look
from mps_dagster.orchestration.requested import Requested
from mps_dagster.storage.announcements import VISIBILITY_S, AnnouncementQueue, Message, announced, set_aside
from mps_dagster.storage.sqs import make_sqs_client
from mps_dagster.workflow.model import Workflow


class Ear:
    """Listens to the bucket's announcements. A message is deleted when every upload it tells of is remembered.

    One that tells of an upload that cannot be looked at stays, and comes again.
    """

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._queue: AnnouncementQueue | None = None
        self._waiting: list[tuple[float, Message, frozenset[str]]] = []

    def listen(self, look: Look, worker: Worker) -> None:
        """Offer what was announced to the look. Raise `MpsError` if the queue cannot be read, or the bucket not asked."""
        trigger = self._workflow.trigger
        if self._queue is None:
            client = make_sqs_client(worker.settings, trigger.queue_region)
            self._queue = AnnouncementQueue(trigger.queue, client)
        self._settle(self._queue, look.requested)
        # Half of the time, so that a busy queue does not stop the sweep.
        for batch in self._queue.receive(look.deadline - LOOK_S / 2):
            done: list[Message] = []
            try:
                for message in batch:
                    self._take(message, look, worker, done)
            finally:
                # Also if the bucket stopped answering in between.
                self._queue.delete(done)
            if look.full:
                return

    def _take(self, message: Message, look: Look, worker: Worker, done: list[Message]) -> None:
        try:
            considered = self._considered(message, look)
        except InvalidInput as error:
            path = set_aside(worker.settings.set_aside_dir / self._workflow.name, message, str(error))
            look.remarks.append(f"{error}; put aside as {path}")
            considered = set()
        keys = frozenset(key for key in considered if key)
        if None in considered:
            # It stays, and comes again; what the queue does with one that came too often is the queue's own policy.
            return
        if keys:
            self._waiting.append((time.monotonic() + VISIBILITY_S, message, keys))
        else:
            done.append(message)

    def _considered(self, message: Message, look: Look) -> set[str | None]:
        """What the look says to the uploads that the message tells of."""
        bucket = self._workflow.trigger.bucket.partition("://")[2]
        news = announced(message.body)
        return {look.consider(item.key) for item in news if item.bucket == bucket and look.trigger.takes(item.key)}

    def _settle(self, queue: AnnouncementQueue, requested: Requested) -> None:
        """Delete what is dealt with. What is not by the time that it becomes visible again comes anew."""
        known = requested.among(itertools.chain.from_iterable(keys for _, _, keys in self._waiting))
        done = [message for _, message, keys in self._waiting if keys <= known]
        now = time.monotonic()
        self._waiting = [entry for entry in self._waiting if not entry[2] <= known and entry[0] > now]
        queue.delete(done)
