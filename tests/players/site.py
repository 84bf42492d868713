"""A plain web server for a folder of media, and for the page that plays it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mps_dagster.storage.keys import content_type_of

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Site:
    """A server that runs."""

    address: str
    reports: Queue[dict[str, Any]]
    refused: list[str] = field(default_factory=list)
    """Requests that were not answered with the content."""


class Files(StaticFiles):
    """A folder; what a file is follows from its name, as on our own servers."""

    def file_response(self, full_path: str | os.PathLike[str], *rest: Any, **more: Any) -> Response:
        response = super().file_response(full_path, *rest, **more)
        if "content-type" in response.headers:
            response.headers["content-type"] = content_type_of(os.fspath(full_path))
        return response


class Noting:
    """Notes the requests that fail."""

    def __init__(self, app: ASGIApp, refused: list[str]) -> None:
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._refused.append(f"{message['status']} {scope['path']}")
            await send(message)

        await self._app(scope, receive, noting)


@contextmanager
def site(folder: Path, node_modules: Path) -> Iterator[Site]:
    """Serves `folder` as /media/, the page as /page/ and the players as /npm/."""
    made = Site("", Queue())

    async def report(request: Request) -> Response:
        made.reports.put(json.loads(await request.body()))
        return Response()

    routes = [Mount(f"/{name}", Files(directory=path)) for name, path in _folders(folder, node_modules).items()]
    app = Starlette(
        routes=[Route("/report", report, methods=["POST"]), *routes],
        middleware=[
            Middleware(Noting, refused=made.refused),
            Middleware(CORSMiddleware, allow_origins=["*"], allow_headers=["*"], expose_headers=["*"]),
        ],
    )
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield Site(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", made.reports, made.refused)
    finally:
        server.should_exit = True
        thread.join()


def _folders(folder: Path, node_modules: Path) -> dict[str, Path]:
    return {"media": folder, "page": PAGE, "npm": node_modules}
