"""S3 servers that are as particular or as broken as real ones: moto's behind a layer of ours, over HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Environ = dict[str, Any]
Layer = Callable[[Environ], "Answer | None"]
"""Answers a request itself, or changes it and lets it pass."""


@dataclass(frozen=True)
class Answer:
    status: str
    code: str = ""
    body: bytes = b""

    def content(self) -> bytes:
        return self.body or f"<Error><Code>{self.code}</Code><Message>{self.code}</Message></Error>".encode()


CUT = Answer("000")
"""No answer: the connection is cut."""


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None: ...

    def log_error(self, *_: object) -> None: ...


def atomic(app: Callable[..., Any]) -> Callable[..., Any]:
    """S3 checks a condition and writes in one step; moto does not."""
    lock = threading.Lock()

    def atomic(environ: Environ, start_response: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] != "PUT":
            return app(environ, start_response)
        with lock:
            return app(environ, start_response)

    return atomic


@contextmanager
def layered(layer: Layer, header: Callable[[str], str] = str) -> Iterator[str]:
    """The address of moto behind the layer; names of headers come as `header` writes them."""
    moto = atomic(DomainDispatcherApplication(create_backend_app))

    def retold(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(header(name), value) for name, value in pairs]

    def app(environ: Environ, start_response: Callable[..., Any]) -> Any:
        answer = layer(environ)
        if answer is None:
            return moto(environ, lambda status, pairs, *more: start_response(status, retold(pairs), *more))
        if answer is CUT:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        start_response(
            answer.status, [("Content-Type", "application/xml"), ("Content-Length", str(len(answer.content())))]
        )
        return [answer.content()]

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
SECOND_VERSION = {"list-type", "start-after", "continuation-token", "max-keys"}
COS_HOST = "cos.ap-guangzhou.localhost"


def cos(environ: Environ) -> Answer | None:
    """What COS refuses (reference H.1): path style, and bodies with checksums behind them.

    Its listing is the first version of S3's (`marker`); here in pages of two, as a server may answer.
    """
    host = environ["HTTP_HOST"].partition(":")[0]
    bucket = host.removesuffix(COS_HOST).rstrip(".")
    if not bucket:
        return Answer("403 Forbidden", "PathStyleDomainForbidden")
    # Over plain HTTP botocore puts the checksum, that it would send behind the body, into a header.
    if "HTTP_X_AMZ_TRAILER" in environ or "HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM" in environ:
        return Answer("400 Bad Request", "MissingContentLength")
    if environ["REQUEST_METHOD"] == "PUT" and not environ.get("CONTENT_LENGTH"):
        return Answer("411 Length Required", "MissingContentLength")
    if len(environ["PATH_INFO"].encode("latin-1")) - 1 > 850:
        return Answer("400 Bad Request", "KeyTooLong")
    if environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"] == "/":
        asked = [pair for pair in parse_qsl(environ["QUERY_STRING"], True) if pair[0] not in SECOND_VERSION]
        environ["QUERY_STRING"] = urlencode([*asked, ("max-keys", "2")])
    # Of conditions on a PUT its documents say nothing.
    if environ["REQUEST_METHOD"] == "PUT":
        for name in CONDITIONS:
            environ.pop(name, None)
    # moto is asked in path style.
    environ["PATH_INFO"] = f"/{bucket}{environ['PATH_INFO']}"
    for name in ("REQUEST_URI", "RAW_URI"):
        if name in environ:
            environ[name] = f"/{bucket}{environ[name]}"
    environ["HTTP_HOST"] = f"127.0.0.1:{environ['SERVER_PORT']}"
    return None
