"""Serves output files, so that Dagster's pages can show pictures and a browser can play media.

Only on 127.0.0.1, without login. Serves media types only, and nothing that a browser would execute.
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

SERVED = ("image/", "video/", "audio/", "text/vtt", "application/vnd.apple.mpegurl", "application/dash+xml")
TEMPLATES = ".templates"
"""The first path segment of watermark templates' pictures; no bucket can have this name."""
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
HEADERS = {
    # A file may contain scripts or addresses; none may be executed or loaded.
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self'; media-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def create_app(settings: Settings) -> Starlette:
    """`GET /<bucket>/<key>`"""
    buckets = Buckets(settings)

    def serve(request: Request) -> Response:
        try:
            return media(buckets, settings, place_in(request), request)
        except MpsError as error:
            return PlainTextResponse(str(error), status_code=status_of(error))

    return Starlette(routes=[Route("/{path:path}", serve, methods=["GET"])])


def status_of(error: MpsError) -> int:
    """HTTP's."""
    if isinstance(error, SourceNotAccessible):
        return 404
    return 502 if error.retryable else 400


def place_in(request: Request, prefix: str = "") -> tuple[str, str]:
    """Bucket and key of the path `<prefix>/<bucket>/<key>`."""
    # The raw path, as the bucket's name is one segment with its slashes escaped (s3:%2F%2Fmedia).
    path = request.scope["raw_path"].decode("ascii", "replace").removeprefix(prefix)
    bucket, _, key = path.lstrip("/").partition("/")
    return unquote(bucket), unquote(key)


def media(buckets: Buckets, settings: Settings, place: tuple[str, str], request: Request) -> Response:
    """A media file, or the part of it that is asked for."""
    bucket, key = place
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
    """Stream the object, or the requested part of it, from the bucket; nothing is stored here."""
    info = origin.head(key)
    etag = f'"{info.etag}"'
    # A client with another version needs the whole object.
    header = request.headers.get("range", "") if request.headers.get("if-range", etag) == etag else ""
    requested = _part(header, info.size)
    part = range(info.size) if requested is None else requested
    headers = {**HEADERS, "Accept-Ranges": "bytes", "ETag": etag, "Content-Length": str(len(part))}
    status = 200
    if requested is not None:
        status = 206 if part else 416
        shown = f"{part.start}-{part.stop - 1}" if part else "*"
        headers["Content-Range"] = f"bytes {shown}/{info.size}"
    if not part or request.method == "HEAD":
        return Response(None, status, headers, kind)
    chunks = origin.stream(key, start=part.start, length=len(part), etag=info.etag)
    return StreamingResponse(chunks, status, headers, kind)


def _part(header: str, size: int) -> range | None:
    """The bytes of a Range header; None if it names none, several parts, or something unknown."""
    match = RANGE.fullmatch(header)
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        return range(max(0, size - int(match[2])), size)
    first, end = int(match[1]), int(match[2]) + 1 if match[2] else size
    # RFC 9110: ignore a range that ends before it begins, but not one that begins after the object's end.
    return None if match[2] and end <= first else range(first, min(size, end))


def main() -> None:
    """The process behind `mps up`."""
    import uvicorn

    settings = Settings()
    uvicorn.run(create_app(settings), host="127.0.0.1", port=settings.files_port, log_level="warning")


if __name__ == "__main__":
    main()
