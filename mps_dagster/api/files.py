"""Serves files of outputs, so that Dagster's pages can show pictures and a browser can play what was made.

For 127.0.0.1: no login. Only media types, and never as anything that a browser would run.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mps_dagster.errors import MpsError, SourceNotAccessible
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.keys import check_key, content_type_of

SERVED = ("image/", "video/", "audio/", "text/vtt", "application/vnd.apple.mpegurl")
TEMPLATES = ".templates"
"""Pictures of watermark templates; no bucket is called so."""
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
HEADERS = {
    # An SVG or a playlist could hold script or addresses; nothing here may act.
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self'; media-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def create_app(settings: Settings) -> Starlette:
    """`GET /<bucket>/<key>`"""
    buckets = Buckets(settings)

    def serve(request: Request) -> Response:
        # The bucket's name is one segment with its slashes escaped (s3:%2F%2Fmedia), so it is read from the raw path.
        bucket, _, key = request.scope["raw_path"].decode("ascii", "replace").lstrip("/").partition("/")
        try:
            return _response(buckets, settings, unquote(bucket), unquote(key), request)
        except SourceNotAccessible as error:
            return PlainTextResponse(str(error), status_code=404)
        except MpsError as error:
            return PlainTextResponse(str(error), status_code=502 if error.retryable else 400)

    return Starlette(routes=[Route("/{path:path}", serve, methods=["GET"])])


def _response(buckets: Buckets, settings: Settings, bucket: str, key: str, request: Request) -> Response:
    check_key(key)
    kind = content_type_of(key)
    if not kind.startswith(SERVED) or "svg" in kind:
        return PlainTextResponse(f"{kind} is not served", status_code=403)
    if bucket == TEMPLATES:
        picture = settings.templates_dir / key
        if not picture.is_file():
            raise SourceNotAccessible(f"there is no picture {key}")
        return FileResponse(picture, media_type=kind, headers=HEADERS)
    return _streamed(buckets.get(bucket), key, kind, request)


def _streamed(origin: Bucket, key: str, kind: str, request: Request) -> Response:
    """The object or the part of it that is asked for, as it comes out of the bucket; nothing is kept here."""
    info = origin.head(key)
    etag = f'"{info.etag}"'
    # A part of an earlier version is of no use to who has another one.
    asked = request.headers.get("range", "") if request.headers.get("if-range", etag) == etag else ""
    asked_for = _part(asked, info.size)
    part = range(info.size) if asked_for is None else asked_for
    headers = {**HEADERS, "Accept-Ranges": "bytes", "ETag": etag, "Content-Length": str(len(part))}
    status = 200
    if asked_for is not None:
        status = 206 if part else 416
        shown = f"{part.start}-{part.stop - 1}" if part else "*"
        headers["Content-Range"] = f"bytes {shown}/{info.size}"
    if not part or request.method == "HEAD":
        return Response(None, status, headers, kind)
    chunks = origin.stream(key, start=part.start, length=len(part), etag=info.etag)
    return StreamingResponse(chunks, status, headers, kind)


def _part(asked: str, size: int) -> range | None:
    """The bytes of a Range header; None if it asks for none, for several parts or for what nobody understands."""
    found = RANGE.fullmatch(asked)
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        return range(max(0, size - int(found[2])), size)
    first, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    # One that ends before it begins is to be ignored (RFC 9110); one that begins behind the end is not.
    return None if found[2] and end <= first else range(first, min(size, end))


def main() -> None:
    """The process behind `mps up`."""
    import uvicorn

    settings = Settings()
    uvicorn.run(create_app(settings), host="127.0.0.1", port=settings.files_port, log_level="warning")


if __name__ == "__main__":
    main()
