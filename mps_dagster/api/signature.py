"""Authenticates a message by its signature: TC3-HMAC-SHA256, or the older HmacSHA1 and HmacSHA256 (reference G.3). Pure.

Both kinds need the secret key in plain text, and both have gaps: TC3 signs only the headers that the client lists (not
always the action), v1 cannot distinguish `a=1&b=2` in a value from two parameters. Put TLS in front on an untrusted network.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mps_dagster.api.error import ApiError, missing
from mps_dagster.api.wire import FORM, Message

WINDOW_S = 300
SERVICE = "mps"
UNSIGNED = "UNSIGNED-PAYLOAD"
V1_DIGESTS = {"HmacSHA1": "sha1", "HmacSHA256": "sha256"}

_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256\s+Credential=(?P<id>[^/\s,]+)/(?P<date>[\d-]{10})/(?P<service>[\w-]+)/tc3_request\s*,"
    r"\s*SignedHeaders=(?P<headers>[^\s,=]+)\s*,\s*Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a message claims about its sender, not verified yet."""

    secret_id: str
    timestamp: int
    signature: str
    method: str
    """TC3-HMAC-SHA256, HmacSHA1 or HmacSHA256."""
    date: str = ""
    service: str = ""
    signed_headers: tuple[str, ...] = ()


def claim_of(message: Message) -> Claim:
    """Read the claim of a message."""
    if message.common("Token"):
        raise ApiError("AuthFailure.TokenFailure", "Temporary credentials (Token) are not offered here.")
    return _tc3_claim(message) if message.is_tc3 else _v1_claim(message)


def verify(message: Message, claim: Claim, secret_key: str, now: float, *, service: str = SERVICE) -> None:
    """Return if the holder of the key sent this message within the last minutes; otherwise raise `AuthFailure.*`."""
    if abs(now - claim.timestamp) > WINDOW_S:
        off = abs(round(now - claim.timestamp))
        raise ApiError(
            "AuthFailure.SignatureExpire",
            f"Timestamp and the server's clock are {off} s apart; {WINDOW_S} s are allowed. Is the clock right?",
        )
    if claim.signed_headers:
        day = datetime.fromtimestamp(claim.timestamp, UTC).strftime("%Y-%m-%d")
        # The SDK for Node takes the first label of the endpoint for the service.
        services = (service, message.headers.get("host", "").partition(".")[0])
        genuine = claim.date == day and claim.service in services and _tc3_matches(message, claim, secret_key)
    else:
        genuine = _same(_v1_signature(message, claim, secret_key), claim.signature)
    if not genuine:
        raise ApiError(
            "AuthFailure.SignatureFailure",
            "The provided credentials could not be validated. Please check your signature is correct.",
        )


def _tc3_claim(message: Message) -> Claim:
    match = _AUTHORIZATION.fullmatch(message.headers["authorization"].strip())
    if match is None:
        raise ApiError("AuthFailure.InvalidAuthorization", "The Authorization header is not one of TC3-HMAC-SHA256.")
    signed = tuple(match["headers"].lower().split(";"))
    for name in ("content-type", "host"):
        if name not in signed:
            raise ApiError("AuthFailure.InvalidAuthorization", f"SignedHeaders has to name {name}.")
    for name in signed:
        if name not in message.headers:
            raise ApiError("AuthFailure.InvalidAuthorization", f"SignedHeaders names {name!r}, which was not sent.")
    return Claim(
        secret_id=match["id"], timestamp=_timestamp(message), signature=match["signature"], method="TC3-HMAC-SHA256",
        date=match["date"], service=match["service"], signed_headers=signed,
    )  # fmt: skip


def _v1_claim(message: Message) -> Claim:
    if message.method == "POST" and message.content_type != FORM:
        raise ApiError("AuthFailure.InvalidAuthorization", "The request has no Authorization header.")
    for name in ("SecretId", "Signature"):
        if not message.form.get(name):
            raise missing(name)
    method = message.form.get("SignatureMethod") or "HmacSHA1"
    if method not in V1_DIGESTS:
        raise ApiError("InvalidParameterValue", f"SignatureMethod is {' or '.join(V1_DIGESTS)}.")
    return Claim(message.form["SecretId"], _timestamp(message), message.form["Signature"], method)


def _timestamp(message: Message) -> int:
    text = message.common("Timestamp")
    if not text:
        raise missing("Timestamp")
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ApiError("InvalidParameterValue", "Timestamp is seconds since 1970 in decimal digits.")
    return int(text)


def _tc3_matches(message: Message, claim: Claim, secret_key: str) -> bool:
    key = f"TC3{secret_key}".encode()
    for part in (claim.date, claim.service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    sent = {name: message.headers[name].strip() for name in claim.signed_headers}
    # The documentation signs header values in lower case, the SDK for Python as they are sent, and the one for Node the host
    # without its port.
    bare = {**sent, "host": re.sub(r":[0-9]{1,5}$", "", sent["host"])}
    ways = (sent, {name: value.lower() for name, value in sent.items()}, bare)
    return any(
        _same(hmac.digest(key, _tc3_text(message, claim, headers).encode(), "sha256").hex(), claim.signature)
        for headers in ways
    )


def _tc3_text(message: Message, claim: Claim, values: Mapping[str, str]) -> str:
    """The text that is signed."""
    headers = "".join(f"{name}:{values[name]}\n" for name in claim.signed_headers)
    is_post = message.method == "POST"
    payload = message.body if is_post else b""
    if message.headers.get("x-tc-content-sha256") == UNSIGNED:
        payload = UNSIGNED.encode()
    query = "" if is_post else message.query
    canonical = "\n".join(
        [message.method, "/", query, headers, ";".join(claim.signed_headers), hashlib.sha256(payload).hexdigest()]
    )
    scope = f"{claim.date}/{claim.service}/tc3_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"{claim.method}\n{claim.timestamp}\n{scope}\n{digest}"


def _v1_signature(message: Message, claim: Claim, secret_key: str) -> str:
    signed = sorted((name.replace("_", "."), value) for name, value in message.form.items() if name != "Signature")
    listed = "&".join(f"{name}={value}" for name, value in signed)
    text = f"{message.method}{message.headers.get('host', '')}/?{listed}"
    return base64.b64encode(hmac.digest(secret_key.encode(), text.encode(), V1_DIGESTS[claim.method])).decode()


def _same(one: str, other: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
