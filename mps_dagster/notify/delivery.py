"""Draining the outbox: each sink's queue in a thread of its own, so that a slow or hanging sink delays only itself."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread

from pydantic import TypeAdapter, ValidationError

from mps_dagster.errors import DeliveryFailed, DeliveryRefused, MpsError
from mps_dagster.notify.config import SinkConfig
from mps_dagster.notify.outbox import Delivery, Outbox
from mps_dagster.notify.sinks import Sink

QUEUE_LIMIT = 100
"""Deliveries that one call takes of one queue; the next call goes on."""

THREADS = 32
"""Queues that are drained at once."""

log = logging.getLogger(__name__)
_CONFIG: TypeAdapter[SinkConfig] = TypeAdapter(SinkConfig)

Opener = Callable[[SinkConfig], Sink]


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What one call did."""

    delivered: int = 0
    refused: int = 0
    unreachable: int = 0
    """Sinks, not events."""

    def __str__(self) -> str:
        return f"{self.delivered} delivered, {self.refused} refused, {self.unreachable} sinks unreachable"


@dataclass(slots=True)
class _SinkQueue:
    """What is due for one sink. Its thread changes it; the caller reads it, also while the thread hangs."""

    deliveries: list[Delivery]
    sending: Delivery | None = None
    delivered: int = 0
    refused: int = 0
    unreachable: bool = False


def deliver_due(
    outbox: Outbox,
    open_sink: Opener,
    *,
    now: Callable[[], float] = time.time,
    budget_s: float = 20.0,
    threads: int = THREADS,
) -> DeliveryReport:
    """Send what is due, at least once: an event counts as delivered only after its sink returned. Ends within the budget."""
    queues: dict[str, _SinkQueue] = {}
    for delivery in outbox.due(now(), QUEUE_LIMIT):
        queues.setdefault(delivery.address, _SinkQueue([])).deliveries.append(delivery)
    # The second half of the budget is for sends under way: to end, or to run into their own timeouts.
    drain = partial(_drain, outbox, open_sink, now, last_start=time.monotonic() + budget_s / 2)
    turns = _drain_all(drain, queues.values(), budget_s, threads)
    for queue, turn in zip(queues.values(), turns, strict=True):
        if not turn.done():
            _give_up(outbox, queue, now(), budget_s)
    for turn in turns:
        # Raises errors that no sink caused, such as a full disk, once every queue has been drained.
        if turn.done():
            turn.result()
    return DeliveryReport(
        delivered=sum(queue.delivered for queue in queues.values()),
        refused=sum(queue.refused for queue in queues.values()),
        unreachable=sum(queue.unreachable for queue in queues.values()),
    )


def _drain_all(
    drain: Callable[[_SinkQueue], None], queues: Iterable[_SinkQueue], budget_s: float, threads: int
) -> list[Future[None]]:
    """Drain all queues in threads. A ThreadPoolExecutor's would keep the process from ending while one of them hangs."""
    turns = [(Future[None](), queue) for queue in queues]
    left = deque(turns)

    def work() -> None:
        with suppress(IndexError):
            while True:
                turn, queue = left.popleft()
                try:
                    drain(queue)
                except Exception as error:
                    turn.set_exception(error)
                else:
                    turn.set_result(None)

    for number in range(min(threads, len(turns))):
        Thread(target=work, name=f"deliver_{number}", daemon=True).start()
    wait([turn for turn, _ in turns], timeout=budget_s)
    left.clear()
    return [turn for turn, _ in turns]


def _drain(
    outbox: Outbox, open_sink: Opener, now: Callable[[], float], queue: _SinkQueue, *, last_start: float
) -> None:
    """Send the queue's deliveries in order until the sink cannot be reached or the time is up."""
    sink: Sink | None = None
    refused: set[str] = set()
    for delivery in queue.deliveries:
        if time.monotonic() > last_start:
            return
        if delivery.event.task_id in refused:
            # It waits for the task's earlier event.
            continue
        queue.sending = delivery
        try:
            with _only_known_failures(delivery):
                sink = sink or open_sink(_config(delivery))
                sink.send(delivery.event)
        except DeliveryFailed as error:
            outbox.failed(delivery, error, now())
            queue.refused += isinstance(error, DeliveryRefused)
            queue.unreachable = not isinstance(error, DeliveryRefused)
            refused.add(delivery.event.task_id)
        else:
            outbox.delivered(delivery, now())
            queue.delivered += 1
        queue.sending = None
        if queue.unreachable:
            return


@contextmanager
def _only_known_failures(delivery: Delivery) -> Iterator[None]:
    """An unexpected error is a failure of this sink like any other: its queue pauses, and the others go on."""
    try:
        yield
    except MpsError:
        raise
    except Exception as error:
        what = f"event {delivery.event.id} did not reach {delivery.address}: {type(error).__name__}: {error}"
        log.exception(what)
        raise DeliveryFailed(what) from error


def _give_up(outbox: Outbox, queue: _SinkQueue, now: float, budget_s: float) -> None:
    """Pause a queue whose send hangs, so that not every call leaves a thread behind. A send that succeeds later counts."""
    hanging = queue.sending
    if hanging is not None:
        error = DeliveryFailed(
            f"event {hanging.event.id} did not reach {hanging.address}: no end of it within {budget_s:g} s",
            hint="a receiver answers at once and does its work afterwards",
        )
        outbox.failed(hanging, error, now)
        queue.unreachable = True


def _config(delivery: Delivery) -> SinkConfig:
    try:
        return _CONFIG.validate_json(delivery.sink)
    except ValidationError as error:
        raise DeliveryFailed(
            f"event {delivery.event.id} did not reach {delivery.address}: the sink that waits with it is not valid (any more)",
            hint="another version of mps_dagster put it into the outbox; the event is kept",
        ) from error
