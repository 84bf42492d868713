"""Connections on which no request comes: uvicorn waits for the rest of a request's head for ever."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class IdleSweep:
    """Called from time to time; drops the connections that took no step since the last time, between two requests.

    They have half a head, the rest of a body whose request was answered, or an answer that the client does not read.
    """

    def __init__(self, connections: Set[Any]) -> None:
        self._connections = connections
        self._idle: dict[H11Protocol, object] = {}

    async def __call__(self) -> None:
        idle = {
            # The last request, or None: another one means that there was activity.
            connection: connection.cycle
            for connection in self._connections
            if connection.cycle is None or connection.cycle.response_complete
        }
        for connection, last in idle.items():
            if connection in self._idle and self._idle[connection] is last:
                # Not `close`, which waits until what is still to be sent has been taken.
                connection.transport.abort()
        self._idle = idle
