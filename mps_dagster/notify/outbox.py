"""The outbox: events, the sinks that they go to, and the state of each delivery. Durable: an event leaves it once delivered.

Each sink has a queue of its own, in the order in which events were added. Failures are of two kinds:

- The sink cannot be reached or is in trouble: its queue pauses, and everything in it waits in order. Other sinks go on.
- The sink refuses this event (`DeliveryRefused`): the queue goes on, and this event is tried again by itself, `REFUSALS`
  times in all. Then it is a dead letter: listed until somebody sends it again or discards it.

One event may be the reason for a sink's trouble (it makes the receiver crash, or hang). So an event that failed `PATIENCE`
times lets those behind it go first, and is never given up.

Only events of other tasks go first. Those of the same task wait until it is delivered or dead, so that a receiver gets the
events of a task in order.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from sqlalchemy.engine import RowMapping

from mps_dagster.errors import DeliveryFailed, DeliveryRefused, InvalidInput
from mps_dagster.notify.config import SinkConfig
from mps_dagster.settings import Settings
from mps_dagster.storage.database import Database, SqliteDatabase, Tables, Transaction, database_of

QUEUE_PAUSE_S = 5.0
"""A queue's first pause; each further failure in a row doubles it."""

REFUSED_PAUSE_S = 60.0
"""A refused event's first pause: long enough that a receiver's deployment does not kill it. Dead after a quarter of an hour."""

LONGEST_PAUSE_S = 600.0
REFUSALS = 5
PATIENCE = 5

PRUNED_AT_ONCE = 1000
"""Deliveries. Hundreds of thousands, as after a month, would keep others from writing for seconds."""

AT_ONCE = 1000
"""Ids in one query."""

_ID = re.compile(r"[!-~]{1,128}")

# The table of queues is called `lane` since the first version.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS lane (
    address TEXT PRIMARY KEY,
    sink TEXT NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    due_at DOUBLE PRECISION NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS delivery (
    id {id},
    event_id TEXT NOT NULL REFERENCES event (id),
    address TEXT NOT NULL REFERENCES lane (address),
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0,
    due_at DOUBLE PRECISION NOT NULL DEFAULT 0,
    delivered_at DOUBLE PRECISION,
    error TEXT NOT NULL DEFAULT '',
    UNIQUE (event_id, address)
);
CREATE INDEX IF NOT EXISTS delivery_state ON delivery (state, address, id);
CREATE INDEX IF NOT EXISTS delivery_delivered ON delivery (delivered_at);
"""
TABLES = Tables("outbox", _SCHEMA, version=1)

_SELECT = (
    "SELECT delivery.*, task_id, body, sink,"
    " CASE WHEN delivery.due_at > lane.due_at THEN delivery.due_at ELSE lane.due_at END AS next_at"
    " FROM delivery JOIN event ON event.id = event_id JOIN lane USING (address)"
)

# A delivery is due with all that waits before it of its task.
_DUE = """
SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY address ORDER BY id) AS place FROM (
        SELECT delivery.id, address,
               max(delivery.due_at) OVER (PARTITION BY address, task_id ORDER BY delivery.id) AS due_at
        FROM delivery JOIN lane USING (address) JOIN event ON event.id = event_id
        WHERE state = 'waiting' AND lane.due_at <= :now
    ) AS waiting WHERE due_at <= :now
) AS placed WHERE place <= :limit
"""


@dataclass(frozen=True, slots=True)
class Event:
    """What receivers get when a task run, or a subtask, has ended."""

    id: str
    """The same each time this end of this task run is sent: receivers recognize a repeat by it."""
    task_id: str
    body: Mapping[str, Any]
    """MPS's callback."""

    def __post_init__(self) -> None:
        for name, value in (("id", self.id), ("task id", self.task_id)):
            if not _ID.fullmatch(value):
                raise InvalidInput(
                    f"an event cannot have the {name} {value!r}",
                    hint="it travels as an HTTP header and an SQS id: 1 to 128 printable ASCII characters, no space",
                )

    @property
    def text(self) -> str:
        """The body as sent. ASCII: file names may hold what UTF-8 cannot (lone surrogates), and JSON can escape it."""
        return json.dumps(self.body, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one sink."""

    id: int
    event: Event
    address: str
    """The sink's address."""
    sink: str
    """The sink's configuration as JSON. Not parsed here: one that a newer version refuses must not stop the others."""
    state: Literal["waiting", "delivered", "dead", "discarded"]
    attempts: int
    error: str
    """What happened the last time; empty if nothing went wrong."""
    due_at: float
    """When it is tried next, at the earliest."""


class Outbox:
    """Several processes may use one at the same time."""

    def __init__(self, database: Database | Path) -> None:
        self._database = SqliteDatabase(database, TABLES) if isinstance(database, Path) else database

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(database_of(settings, settings.outbox_path, TABLES))

    @property
    def exists(self) -> bool:
        """Whether anything was ever added."""
        return self._database.exists()

    def add(self, event: Event, sinks: Sequence[SinkConfig]) -> int:
        """Have the event delivered to each sink, once however often it is added. The number of new deliveries."""
        if not sinks:
            return 0
        with self._database.write() as db:
            db.change(
                "INSERT INTO event VALUES (:id, :task_id, :body) ON CONFLICT DO NOTHING",
                {"id": event.id, "task_id": event.task_id, "body": event.text},
            )
            db.change(
                "INSERT INTO lane (address, sink) VALUES (:address, :sink)"
                " ON CONFLICT (address) DO UPDATE SET sink = excluded.sink",
                [{"address": sink.address, "sink": sink.model_dump_json()} for sink in sinks],
            )
            return sum(
                db.change(
                    "INSERT INTO delivery (event_id, address) VALUES (:event_id, :address) ON CONFLICT DO NOTHING",
                    {"event_id": event.id, "address": sink.address},
                )
                for sink in sinks
            )

    def due(self, now: float, limit: int = 100) -> list[Delivery]:
        """What to send now: oldest first, at most `limit` of each queue, so that a long queue does not crowd out a short one."""
        return self._select(f"WHERE delivery.id IN ({_DUE})", {"now": now, "limit": limit})

    def delivered(self, delivery: Delivery, now: float) -> None:
        """The sink has it."""
        with self._database.write() as db:
            db.change(
                "UPDATE delivery SET state = 'delivered', delivered_at = :now, attempts = attempts + 1, error = ''"
                " WHERE id = :id AND state <> 'delivered'",
                {"now": now, "id": delivery.id},
            )
            _resume_queue(db, delivery.address)

    def failed(self, delivery: Delivery, error: DeliveryFailed, now: float) -> None:
        """The sink has not got it, or has not said so. It will be tried again."""
        with self._database.write() as db:
            row = db.row(
                "SELECT attempts + 1 AS attempts, refusals, failures + 1 AS failures"
                " FROM delivery JOIN lane USING (address) WHERE id = :id AND state = 'waiting'",
                {"id": delivery.id},
            )
            if row is None:
                # Another process, or the attempt that was thought to hang, has delivered it meanwhile.
                return
            attempts, refusals, due_at = row["attempts"], row["refusals"], 0.0
            if isinstance(error, DeliveryRefused):
                _resume_queue(db, delivery.address)
                refusals += 1
                due_at = now + backoff_s(refusals, REFUSED_PAUSE_S)
            else:
                _pause_queue(db, delivery.address, row["failures"], now)
                if attempts >= PATIENCE:
                    # Twice as long as its queue pauses, so that the one behind it is tried first.
                    due_at = now + backoff_s(attempts + 1, QUEUE_PAUSE_S)
            db.change(
                "UPDATE delivery SET state = :state, attempts = :attempts, refusals = :refusals, due_at = :due_at,"
                " error = :error WHERE id = :id",
                {
                    "state": "dead" if refusals >= REFUSALS else "waiting", "attempts": attempts, "refusals": refusals,
                    "due_at": due_at, "error": str(error), "id": delivery.id,
                },
            )  # fmt: skip

    def revive(self, delivery: Delivery) -> None:
        """Have a dead delivery tried again, at once and with new patience."""
        with self._database.write() as db:
            db.change(
                "UPDATE delivery SET state = 'waiting', refusals = 0, due_at = 0 WHERE id = :id AND state = 'dead'",
                {"id": delivery.id},
            )

    def discard(self, delivery: Delivery, now: float) -> None:
        """Never send it (again). Remembered like a delivered one, so that it is not added again."""
        with self._database.write() as db:
            db.change(
                "UPDATE delivery SET state = 'discarded', delivered_at = :now WHERE id = :id AND state <> 'delivered'",
                {"now": now, "id": delivery.id},
            )

    def known(self, event_ids: Iterable[str]) -> set[str]:
        """Those of the events that were added (and not pruned since)."""
        ids, known = list(event_ids), set()
        with self._database.read() as db:
            for start in range(0, len(ids), AT_ONCE):
                rows = db.rows("SELECT id FROM event WHERE id IN :ids", {"ids": ids[start : start + AT_ONCE]})
                known |= {row["id"] for row in rows}
        return known

    def deliveries(self, event_id: str) -> list[Delivery]:
        return self._select("WHERE event_id = :event_id", {"event_id": event_id})

    def dead(self) -> list[Delivery]:
        """What was refused until patience ran out."""
        return self._select("WHERE state = 'dead'", {})

    def waiting(self) -> list[Delivery]:
        """What is still to be sent."""
        return self._select("WHERE state = 'waiting'", {})

    def prune(self, before: float, limit: int = PRUNED_AT_ONCE) -> int:
        """Forget up to `limit` deliveries that ended before that time; how many. What still waits, or is dead, stays."""
        with self._database.write() as db:
            gone = db.rows(
                "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE delivered_at < :before LIMIT :limit)"
                " RETURNING event_id, address",
                {"before": before, "limit": limit},
            )
            _forget_alone(db, gone)
        return len(gone)

    def _select(self, which: str, values: Mapping[str, object]) -> list[Delivery]:
        with self._database.read() as db:
            return [_delivery(row) for row in db.rows(f"{_SELECT} {which} ORDER BY delivery.id", values)]


def backoff_s(failures: int, first_s: float) -> float:
    """The pause after so many failures in a row: doubles each time, up to the longest."""
    return min(LONGEST_PAUSE_S, first_s * 2.0 ** min(failures - 1, 30))


def _pause_queue(db: Transaction, address: str, failures: int, now: float) -> None:
    """Jitter keeps the queues to a host that was down from coming back in step."""
    pause_s = backoff_s(failures, QUEUE_PAUSE_S) * random.uniform(0.8, 1)  # noqa: S311
    db.change(
        "UPDATE lane SET failures = :failures, due_at = :due_at WHERE address = :address",
        {"failures": failures, "due_at": now + pause_s, "address": address},
    )


def _resume_queue(db: Transaction, address: str) -> None:
    """The sink answered, so its queue has no reason to wait."""
    db.change("UPDATE lane SET failures = 0, due_at = 0 WHERE address = :address", {"address": address})


def _forget_alone(db: Transaction, gone: Sequence[RowMapping]) -> None:
    """Delete events and queues without deliveries. A queue may hold a key that nobody needs any more."""
    db.change(
        "DELETE FROM event WHERE id = :id AND NOT EXISTS (SELECT 1 FROM delivery WHERE event_id = :id)",
        [{"id": event_id} for event_id in {row["event_id"] for row in gone}],
    )
    # By the states, which have an index.
    db.change(
        "DELETE FROM lane WHERE address = :address AND NOT EXISTS"
        " (SELECT 1 FROM delivery WHERE state IN ('waiting', 'delivered', 'dead', 'discarded') AND address = :address)",
        [{"address": address} for address in {row["address"] for row in gone}],
    )


def _delivery(row: RowMapping) -> Delivery:
    event = Event(row["event_id"], row["task_id"], json.loads(row["body"]))
    return Delivery(
        row["id"], event, row["address"], row["sink"], row["state"], row["attempts"], row["error"], row["next_at"]
    )
