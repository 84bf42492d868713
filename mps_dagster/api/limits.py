"""Limits: calls per second by key and action (reference I.5), bytes of a request (G.3), slow calls at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from mps_dagster.api.error import ApiError
from mps_dagster.api.wire import FORM, Message
from mps_dagster.tasks import TEMPLATES

OTHERS = "*"
MPS_RATES: Mapping[str, float] = {
    "ProcessMedia": 100, "DescribeTaskDetail": 100, "DescribeTasks": 100, "DescribeUsageData": 100,
    "CreateWorkflow": 200,
    **{action: template.rate for template in TEMPLATES.values() for action in template.actions},
    OTHERS: 20,
}  # fmt: skip

MAX_QUERY_BYTES = 32 * 2**10
MAX_FORM_BYTES = 2**20


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class RateLimits:
    """A token bucket for each key and action, with one second's calls as its burst. Thread-safe."""

    def __init__(self, rates: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        """`rates` replace MPS's own by action; `*` is the rate of all actions that they do not name."""
        self._rates = rates if OTHERS in rates else {**MPS_RATES, **rates}
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, secret_id: str, action: str) -> None:
        """Count a call, or raise an error on which the SDKs wait and retry."""
        rate = self._rates.get(action, self._rates[OTHERS])
        # A rate may be below one call per second.
        burst = max(1.0, rate)
        with self._lock:
            now = self._clock()
            bucket = self._buckets.setdefault((secret_id, action), _Bucket(burst, now))
            bucket.tokens = min(burst, bucket.tokens + (now - bucket.at_s) * rate)
            bucket.at_s = now
            if bucket.tokens < 1:
                problem = f"{action} may be called {rate:g} times a second with one key."
                raise ApiError("RequestLimitExceeded", problem)
            bucket.tokens -= 1


class Slots:
    """Limits how many slow calls run at the same time, so that threads are left for quick ones."""

    def __init__(self, most: int, what: str) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._problem = f"At most {most} {what} at a time."

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold a slot during the block. If none is free, raise an error on which the SDKs wait and retry."""
        if not self._free.acquire(blocking=False):
            raise ApiError("RequestLimitExceeded", self._problem)
        try:
            yield
        finally:
            self._free.release()


def check_size(message: Message, max_body_bytes: int) -> None:
    """Raise `ApiError` if the request is too large; to be called before parsing it."""
    if message.method != "POST":
        what, size, limit = "query", len(message.query), MAX_QUERY_BYTES
    elif message.content_type == FORM:
        what, size, limit = "form", len(message.body), min(MAX_FORM_BYTES, max_body_bytes)
    else:
        what, size, limit = "body", len(message.body), max_body_bytes
    if size > limit:
        raise ApiError("RequestSizeLimitExceeded", f"The {what} is larger than {limit} bytes.")
