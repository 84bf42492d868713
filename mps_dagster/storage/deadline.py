"""HTTP that ends at a point in time, whatever the peer does: a socket's own timeout restarts at each byte."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection


class Deadline:
    """Shuts down the connections that were added to it. To their readers it looks as if the peer had closed."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._passed = False
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    @property
    def passed(self) -> bool:
        return self._passed

    def ends(self, connection: socket.socket) -> socket.socket:
        """The same connection. What is kept of it is a duplicate, because TLS takes the original away."""
        with self._lock:
            self._connections.append(connection.dup())
            if self._passed:
                self._shut()
        return connection

    def close(self) -> None:
        """Nothing is ended any more."""
        self._timer.cancel()
        with self._lock:
            while self._connections:
                self._connections.pop().close()

    def _pass(self) -> None:
        with self._lock:
            self._passed = True
            self._shut()

    def _shut(self) -> None:
        for connection in self._connections:
            # The peer may have gone by then.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class DeadlineAdapter(HTTPAdapter):
    """Its connections end at the deadline, from the TLS handshake on."""

    def __init__(self, deadline: Deadline, **options: Any) -> None:
        super().__init__(**options)

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return deadline.ends(super()._new_conn())

        class SecureConnection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return deadline.ends(super()._new_conn())

        self._secure, self._plain = SecureConnection, Connection

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Also of a proxy."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = self._secure if pool.scheme == "https" else self._plain
        return pool
