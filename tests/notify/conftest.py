"""A receiver of notifications: a real HTTP server that can be told to behave badly, in the ways that receivers do."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sqlalchemy as sa
from postgresql import postgresql

from mps_dagster.storage import database
from mps_dagster.storage.database import Database, PostgresqlDatabase, SqliteDatabase, Tables

# Tencent's CMQ SDK of 2020 imports a function of it that it never calls; Python 3.13 has it no more.
sys.modules["mailcap"] = types.ModuleType("mailcap")
sys.modules["mailcap"].subst = None


class Receiver:
    """Answers as it is told and keeps what it got."""

    def __init__(self) -> None:
        self.status, self.delay_s, self.headers = 200, 0.0, {}
        self.behave: Callable[[BaseHTTPRequestHandler, threading.Event], None] | None = None
        """Instead of an answer; ends when the event is set."""
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), body))
                # A sender that has lost patience closes the connection.
                with suppress(ConnectionError):
                    if receiver.behave:
                        receiver.behave(self, receiver.closing)
                    else:
                        self._answer()

            def _answer(self) -> None:
                time.sleep(receiver.delay_s)
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"said")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def ids(self) -> list[str]:
        return [headers["X-MPS-Event-Id"] for _, headers, _ in self.got]


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    with postgresql() as server:
        yield server.url.replace("postgresql://", "postgresql+psycopg2://")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def open_database(request, tmp_path) -> Callable[[Tables], Database]:
    """A new database of each kind, in which each call finds the same tables."""
    if request.param == "sqlite":
        return lambda tables: SqliteDatabase(tmp_path / f"{tables.name}.sqlite", tables)
    url = request.getfixturevalue("postgresql_url")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA IF EXISTS mps CASCADE"))
    database._postgresql.cache_clear()
    return lambda tables: PostgresqlDatabase(url, tables)


@pytest.fixture(autouse=True)
def receivers_may_be_here(monkeypatch) -> None:
    """Ours are no public addresses."""
    monkeypatch.setenv("MPS_WEB__ALLOW", '["127.0.0.1"]')


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.closing.set()
    receiver.server.shutdown()
    receiver.server.server_close()
