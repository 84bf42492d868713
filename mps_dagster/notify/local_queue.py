"""The embedded queue: durable, in a SQLite file for programs on this host, or in PostgreSQL. Works as SQS does, without a service.

A message that was received is invisible to others for a while; who does not acknowledge it in that time loses it to
the next one that asks. So each is handled at least once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mps_dagster.settings import Settings
from mps_dagster.storage.database import Database, SqliteDatabase, Tables, database_of

POLL_S = 0.1
"""How often a waiting consumer looks: nothing wakes one process when another one sends."""

REMEMBER_S = 7 * 24 * 3600.0
"""How long the id of an acknowledged message is kept, so that a sender's repeat does not come in as a new message."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    position {id},
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    sent_at DOUBLE PRECISION NOT NULL,
    visible_at DOUBLE PRECISION NOT NULL,
    receive_count INTEGER NOT NULL DEFAULT 0,
    receipt TEXT UNIQUE,
    acknowledged_at DOUBLE PRECISION,
    UNIQUE (queue, id)
);
CREATE INDEX IF NOT EXISTS message_open ON message (queue, position) WHERE acknowledged_at IS NULL;
CREATE INDEX IF NOT EXISTS message_acknowledged ON message (acknowledged_at);
"""
TABLES = Tables("queue", _SCHEMA, version=1)

_VISIBLE = (
    "SELECT position, id, body, sent_at, receive_count FROM message"
    " WHERE queue = :queue AND acknowledged_at IS NULL AND visible_at <= :now ORDER BY position LIMIT :limit"
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was received this time."""

    id: str
    body: str
    receipt: str
    """Acknowledges it, until somebody else receives it."""
    sent_at: float
    """Unix seconds."""
    receive_count: int
    """1 the first time."""


class LocalQueue:
    """Any number of named queues; one is there once something was sent to it."""

    def __init__(self, database: Database | Path, *, now: Callable[[], float] = time.time) -> None:
        self._database = SqliteDatabase(database, TABLES) if isinstance(database, Path) else database
        self._now = now

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(database_of(settings, settings.queue_path, TABLES))

    def send(self, queue: str, message_id: str, body: str) -> None:
        """Put a message in, unless one with this id is or lately was in this queue."""
        now = self._now()
        with self._database.write() as db:
            db.change("DELETE FROM message WHERE acknowledged_at < :before", {"before": now - REMEMBER_S})
            db.change(
                "INSERT INTO message (queue, id, body, sent_at, visible_at) VALUES (:queue, :id, :body, :now, :now)"
                " ON CONFLICT DO NOTHING",
                {"queue": queue, "id": message_id, "body": body, "now": now},
            )

    def receive(
        self, queue: str, *, max_messages: int = 10, visibility_s: float = 30.0, wait_s: float = 0.0
    ) -> list[Message]:
        """The oldest visible messages, for nobody else until `visibility_s` have passed. Waits up to `wait_s` for one."""
        stop = time.monotonic() + wait_s
        while True:
            messages = self._take(queue, max_messages, visibility_s)
            left_s = stop - time.monotonic()
            if messages or left_s <= 0:
                return messages
            time.sleep(min(POLL_S, left_s))

    def acknowledge(self, queue: str, receipt: str) -> bool:
        """Remove the message. False, and nothing happens, if somebody else received it since, or it is gone already."""
        with self._database.write() as db:
            gone = db.change(
                "UPDATE message SET acknowledged_at = :now, receipt = NULL, body = ''"
                " WHERE queue = :queue AND receipt = :receipt",
                {"now": self._now(), "queue": queue, "receipt": receipt},
            )
            return gone == 1

    def depth(self, queue: str) -> tuple[int, int]:
        """How many messages are (visible, in flight); in flight = received, not acknowledged, not visible again yet."""
        with self._database.read() as db:
            [row] = db.rows(
                "SELECT count(*) FILTER (WHERE visible_at <= :now) AS visible,"
                " count(*) FILTER (WHERE visible_at > :now) AS in_flight"
                " FROM message WHERE queue = :queue AND acknowledged_at IS NULL",
                {"now": self._now(), "queue": queue},
            )
        return row["visible"], row["in_flight"]

    def queues(self) -> list[str]:
        """Names of the queues that hold something or lately did."""
        with self._database.read() as db:
            return [row["queue"] for row in db.rows("SELECT DISTINCT queue FROM message ORDER BY queue")]

    def _take(self, queue: str, max_messages: int, visibility_s: float) -> list[Message]:
        now = self._now()
        with self._database.read() as db:
            # A look first: consumers that wait must not keep taking the lock that senders need.
            if db.row(_VISIBLE, {"queue": queue, "now": now, "limit": 1}) is None:
                return []
        messages = []
        with self._database.write() as db:
            for row in db.rows(_VISIBLE, {"queue": queue, "now": now, "limit": max_messages}):
                message = Message(
                    row["id"], row["body"], secrets.token_hex(16), row["sent_at"], row["receive_count"] + 1
                )
                db.change(
                    "UPDATE message SET receipt = :receipt, visible_at = :visible_at, receive_count = :count"
                    " WHERE position = :position",
                    {
                        "receipt": message.receipt, "visible_at": now + visibility_s, "count": message.receive_count,
                        "position": row["position"],
                    },
                )  # fmt: skip
                messages.append(message)
        return messages
