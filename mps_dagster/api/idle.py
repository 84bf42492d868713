"""Drops idle connections: uvicorn waits for the rest of a request's head for ever."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class IdleSweep:
    """Called periodically; drops connections between two requests that were idle since the last call.

    Their client sent half a head, still sends a body that was answered, or does not read its answer.
    """

    def __init__(self, connections: Set[Any]) -> None:
        self._connections = connections
        self._idle: dict[H11Protocol, object] = {}

    async def __call__(self) -> None:
        idle = {
            # The last request, or None: a new one means activity.
            connection: connection.cycle
            for connection in self._connections
            if connection.cycle is None or connection.cycle.response_complete
        }
        for connection, last in idle.items():
            if connection in self._idle and self._idle[connection] is last:
                # Not `close`, which waits until the client has read the answer.
                connection.transport.abort()
        self._idle = idle
