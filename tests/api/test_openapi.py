"""The description of the wire, and whatever it allows (and does not) sent to a real server: never an internal error, never a hang."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode

from mps_dagster.api.limits import RateLimits
from mps_dagster.api.openapi import openapi
from mps_dagster.api.server import create_service
from mps_dagster.api.service import VERSION
from mps_dagster.control.graphql import Dagster
from mps_dagster.settings import Settings

from .conftest import SECRET_ID, SECRET_KEY, serving

pytestmark = pytest.mark.slow

HOME = Path(gettempdir()) / f"mps-openapi-{os.getpid()}"
SETTINGS = Settings(project=HOME, home=HOME, api={"secret_id": SECRET_ID, "secret_key": SECRET_KEY})
SERVICE = replace(create_service(SETTINGS), limits=RateLimits({"*": 1e6}))
DESCRIPTION = schemathesis.openapi.from_dict(openapi(SERVICE.actions, VERSION))
DESCRIPTION.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, serving(SETTINGS, SERVICE) as address:
        # Dagster itself is met in tests/cli; here it takes whatever it is asked.
        patch.setattr(Dagster, "reload", lambda _: None)
        patch.setattr(Dagster, "launch", lambda *_, **__: "00000000-0000-0000-0000-000000000000")
        patch.setattr(Dagster, "runs", lambda *_, **__: [])
        patch.setattr(Dagster, "count", lambda *_: 0)
        patch.setattr(Dagster, "newest_of", lambda *_: None)
        yield address
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Keeps its connection, and does not look for a proxy before each of twenty thousand requests."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


def signed(address: str, action: str, body: bytes) -> dict[str, str]:
    """Headers of a genuine request, by the description in reference G.3."""
    now = int(time.time())
    scope = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}/mps/tc3_request"
    request = f"POST\n/\n\ncontent-type:application/json\nhost:{address}\n\ncontent-type;host\n{hashlib.sha256(body).hexdigest()}"
    key = f"TC3{SECRET_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"TC3-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return {
        "Content-Type": "application/json", "X-TC-Action": action, "X-TC-Version": VERSION, "X-TC-Timestamp": str(now),
        "Authorization": f"TC3-HMAC-SHA256 Credential={SECRET_ID}/{scope}, SignedHeaders=content-type;host, Signature={signature}",
    }  # fmt: skip


@DESCRIPTION.parametrize()
# The same examples each time: a change is not to be held up by what it did not do. More of them find more.
@hypothesis_settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_answered(case, address, session):
    """With HTTP 200 and a code that says what was wrong, if anything was."""
    action = case.operation.path.partition("=")[2]
    given = {} if isinstance(case.body, schemathesis.core.NotSet) else case.body
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    reply = session.post(f"http://{address}/", data=body, headers=signed(address, action, body), timeout=20)
    assert reply.status_code == 200
    answer = reply.json()["Response"]
    assert answer["RequestId"]
    assert answer.get("Error", {}).get("Code") not in ("InternalError", "AuthFailure.SignatureFailure"), answer


def test_the_description_is_served(address):
    """One path for each action, and every reference in it leads somewhere."""
    document = requests.get(f"http://{address}/openapi.json", timeout=5).json()
    assert {path.partition("=")[2] for path in document["paths"]} == set(SERVICE.actions)
    text = json.dumps(document)
    for name in {part.partition('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
        assert name in document["components"]["schemas"]
