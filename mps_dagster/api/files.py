"""Serves files of outputs, so that Dagster's pages can show pictures and a browser can play what was made.

For 127.0.0.1: no login. Only media types, and never as anything that a browser would run.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from mps_dagster.errors import MpsError, SourceNotAccessible
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.keys import check_key, content_type_of
from mps_dagster.storage.local import LocalBucket

SERVED = ("image/", "video/", "audio/", "text/vtt", "application/vnd.apple.mpegurl")
TEMPLATES = ".templates"
"""Pictures of watermark templates; no bucket is called so."""
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
            return _response(buckets, settings, unquote(bucket), unquote(key))
        except SourceNotAccessible as error:
            return PlainTextResponse(str(error), status_code=404)
        except MpsError as error:
            return PlainTextResponse(str(error), status_code=502 if error.retryable else 400)

    return Starlette(routes=[Route("/{path:path}", serve, methods=["GET"])])


def _response(buckets: Buckets, settings: Settings, bucket: str, key: str) -> Response:
    check_key(key)
    kind = content_type_of(key)
    if not kind.startswith(SERVED) or "svg" in kind:
        return PlainTextResponse(f"{kind} is not served", status_code=403)
    if bucket == TEMPLATES:
        picture = settings.templates_dir / key
        if not picture.is_file():
            raise SourceNotAccessible(f"there is no picture {key}")
        return FileResponse(picture, media_type=kind, headers=HEADERS)
    origin = buckets.get(bucket)
    if isinstance(origin, LocalBucket):
        return FileResponse(origin.path(key), media_type=kind, headers=HEADERS)
    folder = settings.scratch_dir / "served"
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / uuid.uuid4().hex
    origin.fetch(key, copy)
    return FileResponse(copy, media_type=kind, headers=HEADERS, background=BackgroundTask(_remove, copy))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def main() -> None:
    """The process behind `mps up`."""
    import uvicorn

    settings = Settings()
    uvicorn.run(create_app(settings), host="127.0.0.1", port=settings.files_port, log_level="warning")


if __name__ == "__main__":
    main()
