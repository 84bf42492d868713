"""The API's HTTP server: `POST /` and `GET /` in MPS's wire, `GET /health`, and the pages for people. Start it with `python -m`."""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import cache
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from mps_dagster.api.action import Action
from mps_dagster.api.actions.meta_data import meta_data_actions
from mps_dagster.api.actions.schedules import schedule_actions
from mps_dagster.api.actions.tasks import task_actions
from mps_dagster.api.actions.templates import template_actions
from mps_dagster.api.actions.usage import usage_actions
from mps_dagster.api.actions.workflows import workflow_actions
from mps_dagster.api.idle import IdleSweep
from mps_dagster.api.keys import load_keys
from mps_dagster.api.limits import RateLimits
from mps_dagster.api.openapi import openapi
from mps_dagster.api.pages import pages
from mps_dagster.api.parse_notification import PARSE_NOTIFICATION
from mps_dagster.api.service import VERSION, Service
from mps_dagster.api.sessions import Sessions
from mps_dagster.api.wire import CONTENT_TYPE, Message
from mps_dagster.errors import MpsError
from mps_dagster.settings import Settings

log = logging.getLogger(__name__)

BODY_S = 30.0
"""Time limit for receiving a body; the largest needs 3 Mbit/s."""
SWEEP_S = 15
"""Time between two sweeps of idle connections; the head of a request has to arrive within two of them."""
MAX_HEAD_BYTES = 64 * 2**10


def create_service(settings: Settings) -> Service:
    """The service with all actions that are offered."""
    actions: dict[str, Action[Any]] = {
        "ParseNotification": PARSE_NOTIFICATION,
        **task_actions(settings),
        **meta_data_actions(settings),
        **usage_actions(settings),
        **template_actions(settings),
        **workflow_actions(settings),
        **schedule_actions(settings),
    }
    keys = load_keys(settings)
    if not keys:
        log.warning("no client can call: there are no keys in %s or MPS_API__SECRET_ID", settings.api_keys_path)
    return Service(actions, keys, RateLimits(settings.api.rates), settings.api.max_body_bytes)


def create_app(service: Service, *mounts: Mount) -> Starlette:
    """All answers of the API have status 200, errors too: the SDKs read no others."""

    async def call(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(request, service.max_body_bytes)
        except ClientDisconnect:
            return Response()
        except TimeoutError:
            return Response(status_code=408, headers={"Connection": "close"})
        message = Message(request.method, dict(request.headers), request.scope["query_string"].decode("latin-1"), body)
        peer = request.client.host if request.client else ""
        return Response(await run_in_threadpool(service.answer, message, peer), media_type=CONTENT_TYPE)

    # Async, to answer even when all threads are busy.
    async def health(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse({"status": "ok"})

    @cache
    def rendered() -> bytes:
        return bytes(JSONResponse(openapi(service.actions, VERSION)).body)

    async def description(request: Request) -> Response:  # noqa: ARG001
        return Response(rendered(), media_type=CONTENT_TYPE)

    return Starlette(
        routes=[
            Route("/", call, methods=["GET", "POST"]),
            Route("/health", health, methods=["GET"]),
            Route("/openapi.json", description, methods=["GET"]),
            *mounts,
        ]
    )


def create_server(settings: Settings, service: Service) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(service, pages(settings, Sessions(service.keys))), host=settings.api.host, port=settings.api.port,
        # Our audit log says more, and URLs of v1 hold signatures.
        access_log=False, log_level="warning", server_header=False,
        # Not httptools, even if it is installed: it accepts a head of any size.
        http="h11", h11_max_incomplete_event_size=MAX_HEAD_BYTES, ws="none", timeout_notify=SWEEP_S,
    )  # fmt: skip
    server = uvicorn.Server(config)
    config.callback_notify = IdleSweep(server.server_state.connections)
    return server


async def _body(request: Request, limit: int) -> bytes:
    """Read at most one byte more than the limit, by which the service notices a body that is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            # uvicorn drops the rest, so that the client gets to read the answer.
            break
    return bytes(body[: limit + 1])


def main() -> None:
    """The process behind the API."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    audit = logging.getLogger("mps_dagster.api.audit")
    audit.addHandler(lines)
    audit.propagate = False
    settings = Settings()
    try:
        service = create_service(settings)
    except MpsError as error:
        sys.exit(str(error))
    create_server(settings, service).run()


if __name__ == "__main__":
    main()
