"""Compare-and-swap on S3: by conditional writes, and by looking back where a service has none.

Conditional writes came late (AWS: 2024), and what speaks S3 either has them, refuses them (NotImplemented) or, worst of
all, ignores them. So the first success is tried once more under a condition that does not hold.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from botocore.exceptions import ClientError

from mps_dagster.storage.keys import content_type_of

SETTLE_S = 1.0
"""Without conditions: how long after a write is looked what is there. Whoever looked before it has written by then."""
NO_ETAG = f'"{"0" * 32}"'
CONFLICT = frozenset({"412", "PreconditionFailed", "304", "NotModified", "409", "ConditionalRequestConflict",
                      "OperationAborted", "404", "NoSuchKey"})  # fmt: skip
"""The condition does not hold, or another write is under way. Old MinIO says 304."""
UNKNOWN = frozenset({"501", "NotImplemented"})

Condition = Literal["IfMatch", "IfNoneMatch"]


class Swap:
    """For one bucket; finds out once what its service can do."""

    def __init__(self, client: Any, bucket: str, settle_s: float) -> None:
        self._client = client
        self._bucket = bucket
        self._settle_s = settle_s
        self._checked: dict[Condition, bool] = {}

    def __call__(self, key: str, old: bytes | None, new: bytes) -> bool:
        """Raises botocore's errors."""
        current, etag = self._read(key)
        if current != old:
            return current == new
        condition: Condition = "IfNoneMatch" if old is None else "IfMatch"
        headers: dict[str, str] = {condition: "*" if old is None else etag}
        answer = self._put(key, new, headers) if self._checked.get(condition, True) else "unknown"
        if answer == "done" and self._checks(condition, key, new):
            return True
        if answer == "conflict":
            # Also an own write whose answer was lost, and that was sent again.
            return self._read(key)[0] == new
        self._checked[condition] = False
        if answer == "unknown":
            self._put(key, new, {})
        time.sleep(self._settle_s)
        return self._read(key)[0] == new

    def _checks(self, condition: Condition, key: str, content: bytes) -> bool:
        """Whether the service refuses what it should, tried with the content that is there already."""
        if condition not in self._checked:
            wrong = "*" if condition == "IfNoneMatch" else NO_ETAG
            self._checked[condition] = self._put(key, content, {condition: wrong}) == "conflict"
        return self._checked[condition]

    def _put(self, key: str, content: bytes, condition: dict[str, str]) -> Literal["done", "conflict", "unknown"]:
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, ContentType=content_type_of(key), **condition
            )
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if condition and code in CONFLICT:
                return "conflict"
            if condition and code in UNKNOWN:
                return "unknown"
            raise
        return "done"

    def _read(self, key: str) -> tuple[bytes | None, str]:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) in ("404", "NoSuchKey"):
                return None, ""
            raise
        content: bytes = reply["Body"].read()
        return content, reply["ETag"]
