"""The files of the pages in a bucket, beside the manifests:

    _mps/pages/index.html           all sources, with index.json
    _mps/pages/<digest>/index.html  a source, with page.json
    _mps/pages/static/<version>/    scripts, styles and the player

They hold relative addresses only, so that any web server can serve the bucket; files in other buckets are named, not linked.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TypeVar

from pydantic import ValidationError

from mps_dagster.errors import SourceNotAccessible, StorageFailed
from mps_dagster.execution.assemble import upload_digest
from mps_dagster.execution.outdated import MANIFESTS
from mps_dagster.frozen import Facts
from mps_dagster.pages.page import Page
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.keys import content_type_of
from mps_dagster.workflow.model import RECORDS_DIR

PAGES = f"{RECORDS_DIR}pages/"
KEEP_ENTRIES = 1000
"""Sources in the index, which is read and written with each run; the pages of older ones stay."""
Document = TypeVar("Document", bound=Facts)

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:",
    "media-src 'self' blob:", "connect-src 'self' data: blob:", "font-src 'self' data:", "worker-src 'self' blob:",
    "base-uri 'none'", "form-action 'self'",
))  # fmt: skip
"""What a browser may load for a page: what its own server has."""
TRIES = 20
"""Of a swap that others were quicker with."""


class Entry(Facts):
    """A source in the index."""

    digest: str
    bucket: str
    key: str
    state: str
    """Of its newest task run."""
    states: dict[str, str]
    """By workflow."""
    ended_s: float
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    poster_bucket: str = ""
    poster: str = ""
    problem: str = ""
    """Of the newest run, in words."""


class Index(Facts):
    entries: tuple[Entry, ...] = ()
    """The newest first."""

    def with_entry(self, entry: Entry) -> Index:
        others = (other for other in self.entries if other.digest != entry.digest)
        newest = sorted((entry, *others), key=lambda one: one.ended_s, reverse=True)
        return Index(entries=tuple(newest[:KEEP_ENTRIES]))

    def without(self, digests: Container[str]) -> Index:
        return Index(entries=tuple(entry for entry in self.entries if entry.digest not in digests))


def page_dir(bucket: str, upload: str) -> str:
    """The prefix of a source's page."""
    return f"{PAGES}{upload_digest(bucket, upload)}/"


def publish_page(page: Page, bucket: Bucket) -> str:
    """Write the page of a source, keep what it says of other runs, and enter it in the index; return its key."""
    folder = page_dir(page.bucket, page.key)
    _publish_static(bucket)
    whole = _swap(bucket, f"{folder}page.json", Page, page.with_runs)
    document = rendered("source", static=f"../static/{version()}/", root="../../../", bucket=bucket.name)
    bucket.write(f"{folder}index.html", document, content_type="text/html; charset=utf-8")
    _swap(bucket, f"{PAGES}index.json", Index, lambda index: (index or Index()).with_entry(entry_of(whole)))
    return f"{folder}index.html"


def read_page(bucket: Bucket, digest: str) -> Page:
    """Raise `SourceNotAccessible` if there is none."""
    return Page.model_validate_json(bucket.read(f"{PAGES}{digest}/page.json"))


def read_index(bucket: Bucket) -> Index:
    """The sources with a page in this bucket."""
    return _parsed(Index, _content(bucket, f"{PAGES}index.json")) or Index()


def remove_pages(bucket: Bucket, before: datetime) -> int:
    """Remove the pages that were written before, and of which no manifest is left; return how many."""
    gone = {digest for digest in _old(bucket, before) if next(bucket.list(f"{MANIFESTS}{digest}/"), None) is None}
    if gone:
        _swap(bucket, f"{PAGES}index.json", Index, lambda index: (index or Index()).without(gone))
    for digest in gone:
        for name in ("index.html", "page.json"):
            bucket.delete(f"{PAGES}{digest}/{name}")
    return len(gone)


def _old(bucket: Bucket, before: datetime) -> Iterator[str]:
    for info in bucket.list(PAGES):
        digest, _, name = info.key.removeprefix(PAGES).partition("/")
        if name == "page.json" and info.modified < before:
            yield digest


def entry_of(page: Page) -> Entry:
    source, newest, poster = page.source, page.runs[0], page.poster
    failure = next((output.message for output in newest.outputs if output.status == "FAIL"), "")
    return Entry(
        digest=upload_digest(page.bucket, page.key), bucket=page.bucket, key=page.key, state=page.state,
        states={run.workflow: run.state_word for run in reversed(page.runs)}, ended_s=newest.ended_s or newest.created_s,
        duration_s=source.duration_s if source else None, width=source.width if source else None,
        height=source.height if source else None, poster_bucket=poster[0], poster=poster[1],
        problem=newest.message or failure,
    )  # fmt: skip


def rendered(name: str, *, static: str, root: str = "", bucket: str = "") -> bytes:
    """A page's HTML. Without `root`, media and data come from the server that sent it."""
    text = static_files()[f"{name}.html"].read_text(encoding="utf-8")
    values = {"static": static, "root": root, "bucket": bucket, "policy": POLICY}
    for place, value in values.items():
        text = text.replace(f"{{{{ {place} }}}}", html.escape(value))
    return text.encode()


@cache
def static_files() -> Mapping[str, Traversable]:
    """The files of the pages by their path below `static/`."""
    return dict(_walk(resources.files("mps_dagster.pages") / "static", ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        path = f"{prefix}{item.name}"
        found += _walk(item, f"{path}/") if item.is_dir() else [(path, item)]
    return found


@cache
def version() -> str:
    """Of the static files: a bucket may hold pages of several."""
    digest = hashlib.sha256()
    for path, file in static_files().items():
        digest.update(path.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _publish_static(bucket: Bucket) -> None:
    """The files that are not there. The index's HTML comes last and says that all are."""
    index = rendered("index", static=f"static/{version()}/", root="../../", bucket=bucket.name)
    if _content(bucket, f"{PAGES}index.html") == index:
        return
    for path, file in static_files().items():
        bucket.write(f"{PAGES}static/{version()}/{path}", file.read_bytes(), content_type=content_type_of(path))
    bucket.write(f"{PAGES}index.html", index, content_type="text/html; charset=utf-8")


def _content(bucket: Bucket, key: str) -> bytes | None:
    try:
        return bucket.read(key)
    except SourceNotAccessible:
        return None


def _swap(bucket: Bucket, key: str, kind: type[Document], change: Callable[[Document | None], Document]) -> Document:
    """Change a JSON document; what cannot be read, such as that of another version, counts as missing."""
    for _ in range(TRIES):
        old = _content(bucket, key)
        new = change(_parsed(kind, old))
        content = new.model_dump_json().encode()
        if content == old or bucket.swap(key, old, content):
            return new
    raise StorageFailed(f"{bucket.name}/{key} was changed by others {TRIES} times in a row", hint="try again")


def _parsed(kind: type[Document], content: bytes | None) -> Document | None:
    try:
        return kind.model_validate_json(content) if content is not None else None
    except ValidationError:
        return None
