"""The pages of sources behind the API's keys, with what a bucket alone does not give: runs that go on, and uploads.

`GET /pages/` is the index, `/pages/source/<bucket>/<digest>/` a source, `/pages/task/<TaskId>/` a task run that goes on. The
HTML is the package's own, never the bucket's: an upload could be a page with scripts.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from mps_dagster.api.actions.tasks import STATES
from mps_dagster.api.error import ApiError
from mps_dagster.api.files import media, place_in, status_of
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.sessions import Sessions
from mps_dagster.control import tags
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.launching import upload_and_launch
from mps_dagster.control.task_run import StoredRun, run_id_of
from mps_dagster.control.tasks import describe_run, outline
from mps_dagster.errors import InvalidInput, MpsError, SourceNotAccessible
from mps_dagster.pages.page import Page, page_of
from mps_dagster.pages.site import (
    PAGES,
    POLICY,
    Entry,
    entry_of,
    read_index,
    read_page,
    rendered,
    static_files,
    version,
)
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.disk import filling
from mps_dagster.storage.keys import check_key, content_type_of
from mps_dagster.workflow.model import Workflow

GOING_ON = [*STATES["WAITING"], *STATES["PROCESSING"]]
FORM_BYTES = 4096
SHOWN_RUNS = 100
"""Runs that go on, in the index; and the newest ones, whose tags tell of further buckets with pages."""
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
KEPT_S = 365 * 24 * 3600
"""Static files have their version in the address."""
Handler = Callable[[Request, ApiKey], Response]


def pages(settings: Settings, sessions: Sessions) -> Mount:
    """All routes below `/pages`."""
    site = _Site(settings, sessions, Buckets(settings))

    def page(name: str) -> Callable[[Request], Response]:
        return site.for_people(lambda request, key: _html(name))  # noqa: ARG005

    return Mount("/pages", routes=[
        Route("/", page("index"), methods=["GET"]),
        Route("/index.json", site.for_script(site.index), methods=["GET"]),
        Route("/task/{task}/", page("source"), methods=["GET"]),
        Route("/task/{task}/page.json", site.for_script(site.task), methods=["GET"]),
        Route("/source/{bucket:path}/{digest}/", page("source"), methods=["GET"]),
        Route("/source/{bucket:path}/{digest}/page.json", site.for_script(site.source), methods=["GET"]),
        Route("/media/{path:path}", site.for_script(site.media), methods=["GET"]),
        Route("/static/{version}/{path:path}", _static, methods=["GET"]),
        Route("/upload/{workflow}/{name:path}", site.upload, methods=["POST"]),
        Route("/login", site.login_form, methods=["GET"]),
        Route("/login", site.login, methods=["POST"]),
    ])  # fmt: skip


@dataclass(frozen=True)
class _Site:
    settings: Settings
    sessions: Sessions
    buckets: Buckets

    @property
    def deployment(self) -> Deployment:
        return Deployment.of(self.settings)

    def for_people(self, handler: Handler) -> Callable[[Request], Response]:
        """Whoever is not signed in is sent to the form."""

        def handle(request: Request) -> Response:
            key = self.sessions.key_of(request)
            if key is None:
                return RedirectResponse(f"/pages/login?{urlencode({'next': request.url.path})}")
            return handler(request, key)

        return handle

    def for_script(self, handler: Handler) -> Callable[[Request], Response]:
        def handle(request: Request) -> Response:
            key = self.sessions.key_of(request)
            if key is None:
                return PlainTextResponse("sign in first", status_code=401)
            try:
                return handler(request, key)
            except (MpsError, ApiError) as error:
                return _refused(error)

        return handle

    def index(self, request: Request, key: ApiKey) -> Response:  # noqa: ARG002
        """The sources with a page in any bucket that outputs go to, and the runs that go on."""
        deployment = self.deployment
        dagster = deployment.dagster
        going_on = [run for run in dagster.runs({"statuses": GOING_ON}, limit=SHOWN_RUNS) if run.workflow]
        live = [entry for run in going_on if (entry := _live_entry(deployment, run, key))]
        entries = [
            {**entry.model_dump(), "href": f"source/{quote(bucket, safe='')}/{entry.digest}/"}
            for bucket, entry in self._entries(deployment, key)
        ]
        entries.sort(key=lambda entry: float(entry["ended_s"]), reverse=True)
        workflows = [
            {"name": workflow.name, "title": workflow.title or workflow.description}
            for workflow in deployment.project.workflows if key.may_write(workflow.trigger.bucket)
        ]  # fmt: skip
        return JSONResponse({"entries": [*live, *entries], "workflows": workflows})

    def _entries(self, deployment: Deployment, key: ApiKey) -> Iterator[tuple[str, Entry]]:
        newest = deployment.dagster.runs({}, limit=SHOWN_RUNS)
        named = [run.tags.get(tags.PAGE, "").partition(f"/{PAGES}")[0] for run in newest]
        configured = [workflow.output.bucket for workflow in deployment.project.workflows]
        for bucket in dict.fromkeys(filter(None, (*configured, *named))):
            if key.may_read(bucket):
                try:
                    yield from ((bucket, entry) for entry in read_index(self.buckets.short_timeout.get(bucket)).entries)
                except MpsError:
                    # A bucket that does not answer hides no other.
                    continue

    def task(self, request: Request, key: ApiKey) -> Response:
        """The page of a task run as Dagster has it now; once it is written, where it is."""
        task = request.path_params["task"]
        try:
            run = self.deployment.dagster.newest_of(run_id_of(task))
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        state = describe_run(self.deployment, run) if run else None
        if run is None or state is None or not key.may_see(run.tags.get(tags.ACCOUNT), state.bucket):
            raise SourceNotAccessible(f"there is no task {task}")
        if state.state == "FINISH" and (written := _written(run)):
            return JSONResponse({"moved": written})
        return _document(page_of(state, run.tags.get(tags.HOST) or self.settings.host_name))

    def source(self, request: Request, key: ApiKey) -> Response:
        bucket, digest = request.path_params["bucket"], request.path_params["digest"]
        key.check_read(bucket)
        return _document(read_page(self.buckets.get(bucket), check_key(digest)))

    def media(self, request: Request, key: ApiKey) -> Response:
        place = place_in(request, "/pages/media")
        key.check_read(place[0])
        return media(self.buckets, self.settings, place, request)

    async def upload(self, request: Request) -> Response:
        """Put a file where the workflow looks for uploads, and run the workflow on it; answer with the TaskId."""
        key = self.sessions.key_of(request)
        # A form of another site can send a file, but not with a header of ours.
        if key is None or request.headers.get("x-mps-upload") != "1":
            return PlainTextResponse("sign in first", status_code=401)
        scratch, name = self.settings.scratch_dir, posixpath.basename(request.path_params["name"])
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            workflow = self._workflow(request.path_params["workflow"], key)
            target = check_key(f"{workflow.trigger.prefix}{name}")
            with NamedTemporaryFile(dir=scratch, prefix="upload-") as file:
                with filling(f"cannot take the upload {name}", scratch):
                    await _receive(request, file, self.settings.max_source_bytes)
                task = await run_in_threadpool(upload_and_launch, self.deployment, workflow, Path(file.name), target)
        except (MpsError, ApiError) as error:
            return _refused(error)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse({"task_id": task, "href": f"task/{task}/"})

    def _workflow(self, name: str, key: ApiKey) -> Workflow:
        workflow = self.deployment.workflow(name)
        key.check_write(workflow.trigger.bucket)
        return workflow

    def login_form(self, request: Request) -> Response:
        token = request.query_params.get("token")
        if token is None:
            return _html("login")
        key = self.sessions.by_token(token)
        return self._signed_in(key, request, "/pages/") if key else _html("login", status=401)

    async def login(self, request: Request) -> Response:
        form = dict(parse_qsl((await _body(request)).decode(errors="replace"), max_num_fields=4))
        key = self.sessions.by_secret(form.get("secret_id", ""), form.get("secret_key", ""))
        target = request.query_params.get("next", "/pages/")
        if key is None:
            return _html("login", status=401)
        return self._signed_in(key, request, target if target.startswith("/pages/") else "/pages/")

    def _signed_in(self, key: ApiKey, request: Request, target: str) -> Response:
        return self.sessions.sign_in(key, request, RedirectResponse(target, status_code=303))


def _live_entry(deployment: Deployment, run: StoredRun, key: ApiKey) -> dict[str, Any] | None:
    """A run that goes on, as an entry of the index; None if the key may not see it."""
    state = outline(deployment, run)
    if not key.may_see(run.tags.get(tags.ACCOUNT), state.bucket):
        return None
    entry = entry_of(page_of(state, ""))
    return {**entry.model_dump(), "href": f"task/{state.task_id}/"}


def _written(run: StoredRun) -> str:
    """The address of the source's page, once it is in the bucket."""
    bucket, found, rest = run.tags.get(tags.PAGE, "").partition(f"/{PAGES}")
    return f"/pages/source/{quote(bucket, safe='')}/{posixpath.dirname(rest)}/" if found else ""


async def _body(request: Request) -> bytes:
    """Of the login form; what is longer is none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            return b""
    return body


async def _receive(request: Request, file: Any, limit: int) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise InvalidInput(f"the file has more than {limit} bytes", hint="MPS_MAX_SOURCE_BYTES is the limit")
        await run_in_threadpool(file.write, chunk)
    if not size:
        raise InvalidInput("the file is empty")
    file.flush()


def _document(page: Page) -> Response:
    return Response(page.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-cache"})


def _html(name: str, *, status: int = 200) -> Response:
    document = rendered(name, static=f"/pages/static/{version()}/")
    return Response(document, status, {**HEADERS, "Cache-Control": "no-cache"}, "text/html; charset=utf-8")


def _static(request: Request) -> Response:
    path = request.path_params["path"]
    if path not in static_files():
        return PlainTextResponse("there is no such file", status_code=404)
    headers = {**HEADERS, "Cache-Control": f"public, max-age={KEPT_S}, immutable"}
    return Response(static_files()[path].read_bytes(), 200, headers, content_type_of(path))


def _refused(error: MpsError | ApiError) -> Response:
    return PlainTextResponse(str(error), status_code=403 if isinstance(error, ApiError) else status_of(error))
