"""Checks whether everything that a deployment needs can be used with its settings. Each check yields a `Finding`."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import requests

from mps_dagster.control.cluster import check_settings
from mps_dagster.control.daemon_lock import OTHER_SHOWN_S, holder
from mps_dagster.control.graphql import Dagster
from mps_dagster.control.ray import Ray
from mps_dagster.errors import MpsError, StorageRefused
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.notify.config import CmqSink, LocalSink, SinkConfig, SqsSink, UrlSink
from mps_dagster.notify.outbox import Outbox
from mps_dagster.settings import Settings, unknown_variables
from mps_dagster.storage.announcements import AnnouncementQueue
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.local import LocalBucket
from mps_dagster.storage.sqs import make_sqs_client
from mps_dagster.storage.web import HINT, GuardedSession, InvalidIPAddress
from mps_dagster.workflow.model import RECORDS_DIR, Workflow
from mps_dagster.workflow.project import Project

CONNECT_S = 5
LOW_SPACE_BYTES = 10 * 2**30
PROBE = f"{RECORDS_DIR}probe"


class Unusable(MpsError):
    """Something that a deployment needs cannot be used."""


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    state: Literal["ok", "warning", "failed"]
    detail: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings. Nothing is changed, except that a probe object is written and removed."""
    yield from (Finding("settings", "warning", f"nothing reads {name}") for name in unknown_variables(os.environ))
    yield _tried("project", partial(_project, settings))
    yield _tried("home", partial(_home, settings))
    yield _tried("scratch", partial(_space, settings))
    yield _tried("ffmpeg", partial(_version, settings))
    yield _tried("database", partial(check_database, settings))
    if settings.cluster:
        yield _tried("cluster", partial(_cluster, settings))
    yield from _examine_workflows(settings)
    yield _tried("dead letters", partial(_dead_letters, settings))
    yield _tried("Dagster", partial(_dagster, settings))
    yield _tried("daemon", partial(_daemon, settings))
    yield _answers("API", f"{settings.api_url}/health")


def _examine_workflows(settings: Settings) -> Iterator[Finding]:
    project, buckets = Project.load(settings), Buckets(settings)
    workflows = project.workflows
    yield from (Finding(f"{file.path.parent.name}/{file.path.name}", "failed", file.problem) for file in project.bad)
    read, written = _places(workflows)
    if settings.shared_bucket:
        read, written = read | {settings.shared_bucket}, written | {settings.shared_bucket}
    for name in sorted(read | written):
        yield _tried(f"bucket {name}", partial(_use, buckets, name, reads=name in read, writes=name in written))
    for workflow in workflows:
        if workflow.trigger.queue:
            yield _tried(f"queue {workflow.trigger.queue}", partial(_depth, workflow, settings))
    for sink in {sink.address: sink for workflow in workflows for sink in workflow.notify}.values():
        yield _tried(f"sink {sink.address}", partial(_reach, sink, settings))


def check_database(settings: Settings) -> str:
    """Connect to the database of Dagster's records; raise `Unusable` if that fails."""
    if settings.database_url is None:
        return f"SQLite in {settings.dagster_home}"
    import psycopg2

    url = settings.database_url.get_secret_value()
    parts = urlsplit(url)
    where = f"PostgreSQL at {parts.hostname}:{parts.port or 5432}{parts.path}"
    try:
        connection = psycopg2.connect(url, connect_timeout=CONNECT_S)
    except psycopg2.Error as error:
        raise Unusable(
            f"{where}: {str(error).strip()}", hint="check MPS_DATABASE_URL and that the server is up"
        ) from None
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        [version] = cursor.fetchone() or ["?"]
    connection.close()
    return f"{where}, version {version}"


def _cluster(settings: Settings) -> Finding:
    """The settings that hosts need in common, and the hosts that take runs."""
    check_settings(settings)
    if settings.cluster != "ray":
        return Finding("cluster", "ok", "runs are where the run launcher of dagster.yaml puts them")
    hosts = Ray(settings).hosts()
    other = [host.name for host in hosts if not host.has_our_code]
    taking = [host for host in hosts if host.takes_runs]
    detail = f"{len(taking)} hosts take runs, with {sum(host.cores for host in taking):g} cores (mps workers)"
    if other:
        detail += f"; other code than here: {', '.join(other)}"
    return Finding("cluster", "ok" if taking and not other else "warning", detail)


def _version(settings: Settings) -> str:
    return Ffmpeg.of(settings).version


def _tried(what: str, check: Callable[[], str | Finding]) -> Finding:
    try:
        outcome = check()
    except MpsError as error:
        return Finding(what, "failed", str(error))
    except Exception as error:
        # Any error of a library is a finding, too, and the others still count.
        return Finding(what, "failed", f"{type(error).__name__}: {error}")
    return outcome if isinstance(outcome, Finding) else Finding(what, "ok", outcome)


def _project(settings: Settings) -> str:
    for path in (settings.project / "dagster.yaml", settings.project / "workspace.yaml", settings.workflows_dir):
        if not path.exists():
            hint = "run this in the project's folder, or set MPS_PROJECT; `mps init` makes a project"
            raise Unusable(f"there is no {path}", hint=hint)
    return f"{settings.project}"


def _home(settings: Settings) -> str:
    """Check the home by writing a file, which also fails on a full or read-only disk."""
    folder = _existing(settings.home)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"written by mps doctor")
    except OSError as error:
        raise Unusable(f"nothing can be written to {folder}: {error.strerror}", hint="set MPS_HOME") from error
    return f"{settings.home}"


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _space(settings: Settings) -> Finding:
    folder = _existing(settings.home)
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "warning"] = "ok" if free > LOW_SPACE_BYTES else "warning"
    return Finding("scratch", state, f"{free / 2**30:.0f} GiB free in {folder}")


def _places(workflows: tuple[Workflow, ...]) -> tuple[set[str], set[str]]:
    """Check the buckets of uploads and of outputs."""
    written = {bucket for workflow in workflows for bucket in workflow.written_buckets}
    return {workflow.trigger.bucket for workflow in workflows}, written


def _use(buckets: Buckets, name: str, *, reads: bool, writes: bool) -> str:
    bucket = buckets.get(name)
    if isinstance(bucket, LocalBucket) and not reads and not bucket.root.exists():
        return f"is not there yet; the first output makes {bucket.root}"
    next(bucket.list(RECORDS_DIR), None)
    if not writes:
        return "can be listed"
    bucket.write(PROBE, b"written by mps doctor")
    bucket.read(PROBE)
    try:
        bucket.delete(PROBE)
    except StorageRefused:
        # Deleting is only needed for the playlist or index of a set that is made again, and for old records.
        return f"can be listed, written to and read; {PROBE} stays there, because it may not be deleted"
    return "can be listed, written to and read"


def _depth(workflow: Workflow, settings: Settings) -> str:
    trigger = workflow.trigger
    waiting, received = AnnouncementQueue(trigger.queue, make_sqs_client(settings, trigger.queue_region)).depth()
    return f"{waiting} messages wait, {received} are being worked on"


def _reach(sink: SinkConfig, settings: Settings) -> str:
    match sink:
        case LocalSink():
            return "embedded"
        case SqsSink():
            waiting, _ = AnnouncementQueue(sink.queue, make_sqs_client(settings, sink.region)).depth()
            return f"{waiting} messages wait"
        case CmqSink():
            if not settings.cmq.endpoint_url:
                raise Unusable(
                    "CMQ is not set up", hint="set MPS_CMQ__ENDPOINT_URL, MPS_CMQ__SECRET_ID and MPS_CMQ__SECRET_KEY"
                )
            return _connect(settings.cmq.endpoint_url.replace("{region}", sink.region))
        case UrlSink():
            return _answer(sink, settings)


def _answer(sink: UrlSink, settings: Settings) -> str:
    """Send a HEAD, which is not an event, the same way as events."""
    try:
        sink.key()
        with GuardedSession(settings.web, CONNECT_S) as session:
            reply = session.head(sink.url, timeout=CONNECT_S, allow_redirects=False)
    except KeyError as error:
        raise Unusable(f"its notify_key is in the variable {error}, which is not set") from error
    except InvalidIPAddress as error:
        raise Unusable(f"it leads to {error}", hint=HINT) from error
    except requests.RequestException as error:
        raise Unusable(f"{sink.url} cannot be reached: {error}", hint="is it up, and the address right?") from error
    return f"is there ({reply.status_code} to HEAD)"


def _connect(url: str) -> str:
    """Only connect, as a POST would be an event."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=CONNECT_S).close()
    except OSError as error:
        raise Unusable(
            f"{parts.hostname}:{port} cannot be reached: {error}", hint="is it up, and the address right?"
        ) from error
    return f"{parts.hostname}:{port} takes connections"


def _dead_letters(settings: Settings) -> Finding:
    files = sum(1 for _ in settings.dead_letters_dir.rglob("*.json")) if settings.dead_letters_dir.is_dir() else 0
    outbox = Outbox.of(settings)
    dead = len(outbox.dead()) if outbox.exists else 0
    state: Literal["ok", "warning"] = "warning" if files or dead else "ok"
    detail = f"{files} announcements in {settings.dead_letters_dir}, {dead} notifications (mps notifications dead)"
    return Finding("dead letters", state, detail)


_HEALTH = """{
  workspaceOrError { __typename ... on PythonError { message }
    ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatErrors { message } } } } }"""


def _dagster(settings: Settings) -> Finding:
    """Check that Dagster answers, has loaded the project, and that its daemons are alive."""
    try:
        reply = requests.get(f"{settings.ui_url}/server_info", timeout=CONNECT_S)
    except requests.RequestException:
        return Finding("Dagster", "warning", f"{settings.ui_url} does not answer; start it with `mps up`")
    if "dagster_version" not in reply.text:
        raise Unusable(f"what answers at {settings.ui_url} is not Dagster", hint="set MPS_UI_PORT to another port")
    health = Dagster(settings.ui_url).ask(_HEALTH)
    problems = [*_unloaded(health["workspaceOrError"]), *_ill(health["instance"]["daemonHealth"]["allDaemonStatuses"])]
    if problems:
        raise Unusable("; ".join(problems), hint=f"see {settings.home / 'logs'}")
    return Finding("Dagster", "ok", f"{settings.ui_url}, version {reply.json()['dagster_version']}")


def _daemon(settings: Settings) -> Finding:
    """One daemon works on the records, and no other."""
    found = holder(settings)
    if found is None:
        return Finding("daemon", "warning", "none works on this home; start it with `mps up`")
    if time.time() - found.other_s < OTHER_SHOWN_S:
        raise Unusable(
            f"another daemon than {found} works on these records, too: uploads may be processed twice",
            hint="end it: `dagster dev`, `dagster-daemon`, or one that was left behind",
        )
    return Finding("daemon", "ok", f"{found}, and no other")


def _unloaded(workspace: Mapping[str, Any]) -> Iterator[str]:
    loads = [(entry["name"], entry["locationOrLoadError"] or {}) for entry in workspace.get("locationEntries", ())]
    for name, problem in (("the workspace", workspace), *loads):
        if problem.get("__typename") == "PythonError":
            yield f"{name} cannot be loaded: {problem['message'].strip()}"


def _ill(daemons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for daemon in daemons:
        # None: the daemon has no heartbeat yet.
        if daemon["required"] and daemon["healthy"] is False:
            errors = [error["message"].strip() for error in daemon["lastHeartbeatErrors"] or ()]
            yield f"daemon {daemon['daemonType']} is not well: {'; '.join(errors) or 'it gives no sign of life'}"


def _answers(what: str, url: str) -> Finding:
    try:
        requests.get(url, timeout=CONNECT_S).raise_for_status()
    except requests.RequestException:
        return Finding(what, "warning", f"{url} does not answer; start it with `mps up`")
    return Finding(what, "ok", url)
