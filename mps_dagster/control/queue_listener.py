"""Reads the queue in which a bucket announces uploads."""

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mps_dagster.control.uploads import Clock, Ledger, Poll, Verdict
from mps_dagster.errors import InvalidInput
from mps_dagster.storage.announcements import VISIBILITY_S, AnnouncementQueue, Message, announced, keep_dead_letter


class QueueListener:
    """Deletes a message when every upload that it announces is in the ledger.

    A message with an upload that cannot be checked stays, and is received again.
    """

    def __init__(
        self, open_queue: Callable[[], AnnouncementQueue], dead_letters: Path, clock: Clock = time.monotonic
    ) -> None:
        """`dead_letters` is the folder for messages that cannot be read."""
        self._open_queue, self._dead_letters, self._clock = open_queue, dead_letters, clock
        self._queue: AnnouncementQueue | None = None
        self._pending: list[tuple[float, Message, frozenset[str]]] = []
        """When a message becomes visible again, and the run keys that it waits for."""

    def listen(self, poll: Poll) -> None:
        """Let the poll consider what was announced. Raise `MpsError` if queue or bucket do not answer."""
        self._queue = queue = self._queue or self._open_queue()
        self._delete_handled(queue, poll.ledger)
        # Half of the time, so that a busy queue does not stop the sweep.
        for batch in queue.receive(poll.started + poll.limits.seconds / 2):
            keys = {message: self._announced_keys(message, poll) for message in batch}
            verdicts = dict[str, dict[str, Verdict]]()
            try:
                verdicts.update(poll.consider(list(dict.fromkeys(itertools.chain.from_iterable(keys.values())))))
            finally:
                # Also if the bucket stopped answering in between: `update` keeps what it has so far.
                queue.delete([message for message in batch if self._is_handled(message, keys[message], verdicts)])
            if poll.full:
                return

    def _announced_keys(self, message: Message, poll: Poll) -> list[str]:
        """The keys of a message that a workflow takes; of one that cannot be read none."""
        bucket = poll.name.partition("://")[2]
        try:
            uploads = announced(message.body)
        except InvalidInput as error:
            path = keep_dead_letter(self._dead_letters, message, str(error))
            poll.remarks.append(f"{error}; kept as {path}")
            return []
        return [upload.key for upload in uploads if upload.bucket == bucket and poll.takers(upload.key)]

    def _is_handled(self, message: Message, keys: list[str], verdicts: Mapping[str, Mapping[str, Verdict]]) -> bool:
        """Whether the message can be deleted at once."""
        found = [pair for key in keys for pair in verdicts.get(key, {"": Verdict.NOT_READABLE}).items()]
        if not all(verdict.is_final for _, verdict in found):
            # It is received again; the queue's own policy handles a message that was received too often.
            return False
        new = frozenset(run for run, verdict in found if verdict is Verdict.NEW)
        if new:
            self._pending.append((self._clock() + VISIBILITY_S, message, new))
        return not new

    def _delete_handled(self, queue: AnnouncementQueue, ledger: Ledger) -> None:
        """Delete messages whose uploads are all in the ledger. The others are received again when they become visible."""
        known = ledger.among(itertools.chain.from_iterable(keys for _, _, keys in self._pending))
        handled = [message for _, message, keys in self._pending if keys <= known]
        now = self._clock()
        self._pending = [entry for entry in self._pending if not entry[2] <= known and entry[0] > now]
        queue.delete(handled)
