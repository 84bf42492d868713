"""MPS's wire format: parses an HTTP request into action and parameters, and formats a result or an error as the answer.

There are two dialects. TC3 has the common parameters (Action, Version, Timestamp …) in `X-TC-*` headers and the action's own
in a JSON body, or flattened in the query. The older v1 has all of them flattened in one form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from mps_dagster.api.error import ApiError

CONTENT_TYPE = "application/json"
"""Exactly this in every answer: with a charset added, the SDKs mistake an error for an empty success."""
FORM = "application/x-www-form-urlencoded"

MAX_FIELDS = 10_000
"""Parameters of a form."""
MAX_DEPTH = 32
MAX_ITEMS = 1000
"""Items of a list. All three limits are a few times above what MPS's own parameters need."""

COMMON = frozenset({
    "Action", "Version", "Region", "Timestamp", "Nonce", "SecretId", "SignatureMethod", "Signature", "Token", "Language",
    "RequestClient",
})  # fmt: skip
"""Common parameters, which v1 has in the form besides the action's own."""


@dataclass(frozen=True)
class Message:
    """An HTTP request, unparsed, as its exact characters are signed."""

    method: str
    headers: Mapping[str, str]
    """By lower-case name."""
    query: str
    """As in the address, still escaped."""
    body: bytes

    @property
    def is_tc3(self) -> bool:
        return "authorization" in self.headers

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @cached_property
    def form(self) -> Mapping[str, str]:
        """The flattened parameters of the query or form, unescaped; empty for a JSON body."""
        if self.method != "POST":
            return _pairs(self.query)
        if self.content_type != FORM:
            return {}
        try:
            return _pairs(self.body.decode())
        except UnicodeDecodeError as error:
            raise ApiError("InvalidParameter", f"The body is not UTF-8: {error}.") from error

    def common(self, name: str) -> str:
        """A common parameter; empty if absent."""
        return self.headers.get(f"x-tc-{name.lower()}", "") if self.is_tc3 else self.form.get(name, "")


def parameters(message: Message) -> dict[str, Any]:
    """The action's own parameters. From a form they are all strings, which the request models convert."""
    if message.method != "POST" or message.content_type == FORM:
        own = message.form.items()
        return unflatten(own if message.is_tc3 else [(name, value) for name, value in own if name not in COMMON])
    if message.content_type != CONTENT_TYPE:
        kind = message.content_type or "none"
        raise ApiError("UnsupportedOperation", f"A body of type {kind} is not taken; send {CONTENT_TYPE}.")
    try:
        members = read_json(message.body.decode() or "{}")
    except ValueError as error:
        raise ApiError("InvalidParameter", f"The body is not JSON: {error}.") from error
    if not isinstance(members, dict):
        raise ApiError("InvalidParameter", "The body is not a JSON object.")
    _check_shape(members, MAX_DEPTH)
    return members


def unflatten(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`A.B.0.C=1` → `{"A": {"B": [{"C": "1"}]}}`. Members numbered from 0 become a list."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        *way, last = name.split(".")
        if "" in way or not last or len(way) >= MAX_DEPTH:
            raise ApiError("InvalidParameter", f"`{name[:200]}` is no parameter name.")
        node = root
        for part in way:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise _contradiction(name)
        if last in node:
            raise _contradiction(name)
        node[last] = value
    return {name: _with_lists(value, name) for name, value in root.items()}


def _check_shape(value: Any, deeper: int) -> None:
    if isinstance(value, str) and not _is_unicode(value):
        raise ApiError("InvalidParameter", "The body holds text that is no Unicode (a lone surrogate).")
    if not isinstance(value, dict | list):
        return
    if not deeper:
        raise ApiError("InvalidParameter", f"The body is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        raise ApiError("InvalidParameter", f"A list of the body has more than {MAX_ITEMS} elements.")
    for item in value.values() if isinstance(value, dict) else value:
        _check_shape(item, deeper - 1)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(text: str) -> Any:
    """Raise ValueError for anything that is not strict JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def success(result: Mapping[str, Any], request_id: str) -> bytes:
    return _envelope({**result, "RequestId": request_id})


def failure(error: ApiError, request_id: str) -> bytes:
    return _envelope({"Error": {"Code": error.code, "Message": error.message}, "RequestId": request_id})


def _envelope(response: Mapping[str, Any]) -> bytes:
    # ASCII: names of objects may hold lone surrogates, which UTF-8 cannot encode and JSON can escape.
    return json.dumps({"Response": response}, separators=(",", ":"), allow_nan=False).encode("ascii")


def _pairs(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise ApiError("InvalidParameter", f"The form cannot be read: {error}.") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise ApiError("InvalidParameter", "A parameter is given twice.")
    return form


def _with_lists(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        return value
    members = {part: _with_lists(member, f"{name}.{part}") for part, member in value.items()}
    if not any(part.isdecimal() for part in members):
        return members
    try:
        return [members[str(index)] for index in range(len(members))]
    except KeyError as error:
        problem = f"The elements of `{name}` are not numbered from 0 upwards: there is no `{name}.{error.args[0]}`."
        raise ApiError("InvalidParameter", problem) from error


def _contradiction(name: str) -> ApiError:
    return ApiError("InvalidParameter", f"`{name}` is given both as a value and as an object.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is too large")
    return value
