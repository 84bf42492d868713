"""A client for CMQ and TDMQ-for-CMQ: sending to queues and topics over their HTTP protocol (reference H.3).

Tencent's own SDK (qcloud-cmq-sdk-py3) has had one release, in 2020; the tests check this client against it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from mps_dagster.errors import DeliveryFailed, DeliveryRefused

PATH = "/v2/index.php"
TIMEOUT_S = (3.0, 10.0)
MAX_BYTES = 1_048_576
REFUSED = frozenset({4000, 4400})
"""Parameters that are wrong, a message that is too long: this message will never be taken."""


@dataclass(frozen=True, slots=True)
class Cmq:
    """One endpoint: `https://cmq-gz.public.tencenttdmq.com`."""

    endpoint: str
    secret_id: str
    secret_key: str

    def send(self, queue: str, body: str) -> str:
        """Put a message into a queue; return its id."""
        return str(self._call("SendMessage", {"queueName": queue, "msgBody": body, "delaySeconds": 0})["msgId"])

    def publish(self, topic: str, body: str) -> str:
        """Publish a message to a topic's subscribers; return its id."""
        return str(self._call("PublishMessage", {"topicName": topic, "msgBody": body})["msgId"])

    def _call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        common = {
            "Action": action, "Timestamp": int(time.time()), "Nonce": random.randint(1, 2**31),  # noqa: S311
            "SecretId": self.secret_id, "SignatureMethod": "HmacSHA256", "RequestClient": "mps_dagster",
        }  # fmt: skip
        form = {name: str(value) for name, value in {**common, **parameters}.items()}
        host = urlsplit(self.endpoint).netloc
        form["Signature"] = signature(self.secret_key, host, form)
        try:
            # The address is the deployment's own setting, not a user's.
            response = requests.post(
                f"{self.endpoint.rstrip('/')}{PATH}", data=form, timeout=TIMEOUT_S, allow_redirects=False
            )
            answer = response.json()
            code = int(answer["code"])
        except requests.RequestException as error:
            raise DeliveryFailed(f"{action}: {error}", hint="check MPS_CMQ__ENDPOINT_URL and the network") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DeliveryFailed(f"{action}: the endpoint answered {response.status_code} and no CMQ answer") from error
        if code:
            raise _told(action, code, str(answer.get("message", "")))
        return dict(answer)


def signature(secret_key: str, host: str, parameters: Mapping[str, str], method: str = "POST") -> str:
    """HmacSHA256 over the sorted parameters, their values as they are; `host` with its port, if one is given."""
    joined = "&".join(f"{name.replace('_', '.')}={parameters[name]}" for name in sorted(parameters))
    text = f"{method}{host}{PATH}?{joined}"
    return base64.b64encode(hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def _told(action: str, code: int, message: str) -> DeliveryFailed:
    what = f"{action}: CMQ answered {code}: {message}"
    # 4000 is also what a queue that does not exist is answered with, in words: somebody may make it.
    if code in REFUSED and "exist" not in message.lower():
        return DeliveryRefused(what)
    hint = "check MPS_CMQ__SECRET_ID and MPS_CMQ__SECRET_KEY" if code == 4100 else "does the queue or topic exist?"
    return DeliveryFailed(what, hint=hint)
