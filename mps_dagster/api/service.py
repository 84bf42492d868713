"""Handles one call, from request bytes to answer bytes: authenticate, authorize, parse, run, answer.

Whatever happens, the SDKs can read the answer.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import yaml

from mps_dagster.api.action import Action, Call, read_request
from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.limits import OTHERS, RateLimits, check_size
from mps_dagster.api.signature import claim_of, verify
from mps_dagster.api.wire import Message, failure, parameters, success
from mps_dagster.errors import InvalidInput, MpsError

log = logging.getLogger(__name__)
audit = logging.getLogger("mps_dagster.api.audit")
"""One JSON line per call: caller, action, time and outcome; no parameters, which may hold secrets."""

VERSION = "2019-06-12"
AUDITED_CHARACTERS = 128
"""Limit of texts in the audit log that unauthenticated clients choose."""


@dataclass(frozen=True)
class Service:
    """The actions and the keys that may call them."""

    actions: Mapping[str, Action[Any]]
    keys: Mapping[str, ApiKey]
    limits: RateLimits
    max_body_bytes: int
    now: Callable[[], float] = time.time

    def answer(self, message: Message, peer: str) -> bytes:
        """Never raises. Blocks for as long as the action does."""
        request_id = str(uuid.uuid4())
        line = {"request_id": request_id, "peer": peer}
        started = time.perf_counter()
        try:
            answer = success(self._perform(message, request_id, line), request_id)
            line["code"] = "OK"
        except Exception as problem:
            error = _api_error(problem, request_id)
            answer = failure(error, request_id)
            line["code"] = error.code
        at = datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds")
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        audit.info(json.dumps({"at": at, **line, "ms": milliseconds, "bytes": len(message.body)}))
        return answer

    def _perform(self, message: Message, request_id: str, line: dict[str, Any]) -> Mapping[str, Any]:
        check_size(message, self.max_body_bytes)
        name = message.common("Action")
        line |= {"action": name[:AUDITED_CHARACTERS], "client": message.common("RequestClient")[:AUDITED_CHARACTERS]}
        key = self._sender(message, line)
        # Unknown names share one bucket, as there is no limit to their number.
        self.limits.take(key.secret_id, name if name in mps_actions() else OTHERS)
        action = self._action(name, message.common("Version"))
        request = read_request(action.model, parameters(message))
        return action.run(Call(request, key, request_id, message.common("Region")))

    def _sender(self, message: Message, line: dict[str, Any]) -> ApiKey:
        claim = claim_of(message)
        line |= {"secret_id": claim.secret_id[:AUDITED_CHARACTERS], "signature": claim.method}
        key = self.keys.get(claim.secret_id)
        if key is None:
            raise ApiError(
                "AuthFailure.SecretIdNotFound", "The SecretId is not found. Please check that it is correct."
            )
        verify(message, claim, key.secret_key.get_secret_value(), self.now())
        return key

    def _action(self, name: str, version: str) -> Action[Any]:
        if not name:
            raise missing("Action")
        if not version:
            raise missing("Version")
        if version != VERSION:
            raise ApiError("NoSuchVersion", f"There is no version {version[:40]!r} of the API; it is {VERSION}.")
        if name in self.actions:
            return self.actions[name]
        if name in mps_actions():
            raise ApiError("UnsupportedOperation", f"MPS's action {name} is not offered here.")
        raise ApiError("InvalidAction", f"There is no action {name[:AUDITED_CHARACTERS]!r}.")


@cache
def mps_actions() -> frozenset[str]:
    """Every action of MPS itself."""
    names = yaml.safe_load(resources.files("mps_dagster.api").joinpath("mps_actions.yaml").read_text())
    return frozenset(names)


def _api_error(problem: Exception, request_id: str) -> ApiError:
    match problem:
        case ApiError():
            return problem
        case InvalidInput():
            return ApiError("InvalidParameterValue", str(problem))
        case MpsError():
            log.warning("request %s failed: %s", request_id, problem)
            return ApiError("FailedOperation", str(problem))
        case _:
            log.error("request %s failed", request_id, exc_info=problem)
            return ApiError("InternalError", f"An internal error. The server's log has it under {request_id}.")
