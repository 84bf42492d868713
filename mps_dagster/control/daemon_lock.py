"""Only one daemon at a time works on a deployment's records: with two, uploads and retries would be launched twice.

The lock is held on a file in the home; with PostgreSQL, which several hosts can share, also in the database. A daemon that
knows nothing of it (`dagster dev`, `dagster-daemon`) is noticed by its signs of life, and the file says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import IO, Any, Protocol

from mps_dagster.errors import MpsError
from mps_dagster.settings import Settings

FILE = "daemon.lock"
WAIT_S = 10.0
"""For a predecessor that was just told to stop."""
POLL_S = 0.2
OTHER_SHOWN_S = 90
"""A daemon gives a sign of life every 30 s."""
_KEY = int.from_bytes(b"mpsdaemn")
"""PostgreSQL's advisory locks have numbers. They are separate for each database."""


class DaemonRunning(MpsError):
    """Another daemon works on the same records."""


@dataclass(frozen=True, slots=True)
class Holder:
    """What the file says about the daemon that holds the lock, or held it last."""

    pid: int = 0
    host: str = ""
    daemon: str = ""
    """The id in its signs of life."""
    other_s: float = 0.0
    """When another daemon was last noticed, in Unix seconds."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class _Database(Protocol):
    """A connection to PostgreSQL."""

    def cursor(self) -> Any: ...
    def close(self) -> None: ...


@dataclass
class DaemonLock:
    """Held by this process."""

    settings: Settings
    file: IO[str]
    predecessor: Holder
    _holder: Holder = field(init=False)
    _database: _Database | None = None

    def __post_init__(self) -> None:
        # The predecessor's id until this daemon has one: if this one dies before, its successor knows the last signs of life.
        self._write(replace(self.predecessor, pid=os.getpid(), host=socket.gethostname(), other_s=0.0))

    def check(self) -> None:
        """Raise `DaemonRunning` if the database's lock was lost with its connection, and another daemon has it now."""
        if self.settings.database_url is None:
            return
        import psycopg2

        # While the database does not answer, no daemon can do anything.
        with suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
            if self._database is not None and _answers(self._database):
                return
            self._database = _connect(self.settings)
            if not _lock(self._database):
                raise _running(f"the database is locked by {_locker(self._database)}")

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def name(self, daemon: str) -> None:
        """Record the id in this daemon's signs of life."""
        self._write(replace(self._holder, daemon=daemon))

    def notice_other(self) -> None:
        """Record that another daemon gave a sign of life."""
        self._write(replace(self._holder, other_s=time.time()))

    def _write(self, holder: Holder) -> None:
        self._holder = holder
        self.file.seek(0)
        self.file.truncate()
        json.dump(asdict(holder), self.file)
        self.file.flush()


@contextmanager
def daemon_lock(settings: Settings, wait_s: float = WAIT_S) -> Iterator[DaemonLock]:
    """Hold the lock during the block; raise `DaemonRunning` if another daemon does not give it up in time."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with (settings.dagster_home / FILE).open("a+") as file, ExitStack() as stack:
        while not _flock(file):
            if time.monotonic() > deadline:
                raise _running(f"{_read(file)} holds {file.name}")
            time.sleep(POLL_S)
        lock = DaemonLock(settings, file, _read(file))
        stack.callback(lock.close)
        lock.check()
        yield lock


def check_no_daemon(settings: Settings) -> None:
    """Raise `DaemonRunning` if a daemon works on this home. The database's lock is left to the daemon itself."""
    deadline = time.monotonic() + WAIT_S
    while other := holder(settings):
        if time.monotonic() > deadline:
            raise _running(str(other))
        time.sleep(POLL_S)


def holder(settings: Settings) -> Holder | None:
    """The daemon that works on this home, if any."""
    with suppress(FileNotFoundError), (settings.dagster_home / FILE).open() as file:
        # A shared lock: to look at it twice at once is no daemon.
        if not _flock(file, fcntl.LOCK_SH):
            return _read(file)
    return None


def _flock(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: IO[str]) -> Holder:
    file.seek(0)
    with suppress(ValueError, TypeError):
        return Holder(**json.load(file))
    return Holder()


def _running(what: str) -> DaemonRunning:
    return DaemonRunning(
        f"another daemon works on these records: {what}",
        hint="end it (`mps doctor` shows it), or set MPS_HOME, and MPS_DATABASE_URL if it is set, to other ones",
    )


def _connect(settings: Settings) -> _Database:
    import psycopg2

    url = settings.database_url.get_secret_value() if settings.database_url else ""
    # The server must notice soon when this host is gone, or no other can take over.
    connection = psycopg2.connect(
        url, connect_timeout=5, application_name=f"mps_dagster daemon {os.getpid()} on {socket.gethostname()}",
        options="-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
    )  # fmt: skip
    connection.autocommit = True
    database: _Database = connection
    return database


def _answers(database: _Database) -> bool:
    import psycopg2

    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        return False
    return True


def _lock(database: _Database) -> bool:
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_KEY,))
        return bool(cursor.fetchone()[0])


def _locker(database: _Database) -> str:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory'"
            " AND granted AND classid = %s AND objid = %s",
            (_KEY >> 32, _KEY & 0xFFFFFFFF),
        )
        row = cursor.fetchone()
        return str(row[0]) if row else "a process that has just ended"
