"""Draining the outbox: each lane in a thread of its own, so that a slow or hanging sink delays only itself."""

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

LANE_LIMIT = 100
"""Deliveries that one call takes of one lane; the next call goes on."""

THREADS = 32
"""Lanes that are drained at once."""

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
class _Lane:
    """One lane's turn. Its thread writes it; the caller reads it, also while the thread hangs."""

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
    lanes: dict[str, _Lane] = {}
    for delivery in outbox.due(now(), LANE_LIMIT):
        lanes.setdefault(delivery.lane, _Lane([])).deliveries.append(delivery)
    # The second half of the budget is for sends that have begun to end, or to run into their own timeouts.
    drain = partial(_drain, outbox, open_sink, now, last_start=time.monotonic() + budget_s / 2)
    turns = _side_by_side(drain, lanes.values(), budget_s, threads)
    for lane, turn in zip(lanes.values(), turns, strict=True):
        if not turn.done():
            _give_up(outbox, lane, now(), budget_s)
    for turn in turns:
        # Raises what is no matter of delivery, such as a full disk, once every lane has had its turn.
        if turn.done():
            turn.result()
    return DeliveryReport(
        delivered=sum(lane.delivered for lane in lanes.values()),
        refused=sum(lane.refused for lane in lanes.values()),
        unreachable=sum(lane.unreachable for lane in lanes.values()),
    )


def _side_by_side(
    drain: Callable[[_Lane], None], lanes: Iterable[_Lane], budget_s: float, threads: int
) -> list[Future[None]]:
    """A turn for each lane. Not by a ThreadPoolExecutor: its threads keep the process from ending while one of them hangs."""
    turns = [(Future[None](), lane) for lane in lanes]
    left = deque(turns)

    def work() -> None:
        with suppress(IndexError):
            while True:
                turn, lane = left.popleft()
                try:
                    drain(lane)
                except Exception as error:
                    turn.set_exception(error)
                else:
                    turn.set_result(None)

    for number in range(min(threads, len(turns))):
        Thread(target=work, name=f"deliver_{number}", daemon=True).start()
    wait([turn for turn, _ in turns], timeout=budget_s)
    left.clear()
    return [turn for turn, _ in turns]


def _drain(outbox: Outbox, open_sink: Opener, now: Callable[[], float], lane: _Lane, *, last_start: float) -> None:
    """Send the lane's deliveries in order until the sink cannot be reached or the time is up."""
    sink: Sink | None = None
    refused: set[str] = set()
    for delivery in lane.deliveries:
        if time.monotonic() > last_start:
            return
        if delivery.event.task_id in refused:
            # It waits for the one before it of its task.
            continue
        lane.sending = delivery
        try:
            with _only_known_failures(delivery):
                sink = sink or open_sink(_config(delivery))
                sink.send(delivery.event)
        except DeliveryFailed as error:
            outbox.failed(delivery, error, now())
            lane.refused += isinstance(error, DeliveryRefused)
            lane.unreachable = not isinstance(error, DeliveryRefused)
            refused.add(delivery.event.task_id)
        else:
            outbox.delivered(delivery, now())
            lane.delivered += 1
        lane.sending = None
        if lane.unreachable:
            return


@contextmanager
def _only_known_failures(delivery: Delivery) -> Iterator[None]:
    """What nobody thought of is a failure of this sink like any other: its lane pauses, and the round goes on."""
    try:
        yield
    except MpsError:
        raise
    except Exception as error:
        what = f"event {delivery.event.id} did not reach {delivery.lane}: {type(error).__name__}: {error}"
        log.exception(what)
        raise DeliveryFailed(what) from error


def _give_up(outbox: Outbox, lane: _Lane, now: float, budget_s: float) -> None:
    """Pause a lane whose send hangs, so that not every call leaves a thread behind. If it ends well later, it counts."""
    hanging = lane.sending
    if hanging is not None:
        error = DeliveryFailed(
            f"event {hanging.event.id} did not reach {hanging.lane}: no end of it within {budget_s:g} s",
            hint="a receiver answers at once and does its work afterwards",
        )
        outbox.failed(hanging, error, now)
        lane.unreachable = True


def _config(delivery: Delivery) -> SinkConfig:
    try:
        return _CONFIG.validate_json(delivery.sink)
    except ValidationError as error:
        raise DeliveryFailed(
            f"event {delivery.event.id} did not reach {delivery.lane}: the sink that waits with it is not valid (any more)",
            hint="another version of mps_dagster put it into the outbox; the event is kept",
        ) from error
