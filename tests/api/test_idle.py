"""Which connections are dropped because no request comes on them."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from mps_dagster.api.idle import IdleSweep


def test_only_what_stood_still_between_two_looks_is_dropped():
    """Not what works, however long, nor what has asked something since."""
    silent, answered, working, busy, new = (Mock(cycle=None) for _ in range(5))
    answered.cycle = Mock(response_complete=True)
    working.cycle = Mock(response_complete=False)
    busy.cycle = Mock(response_complete=True)
    connections = {silent, answered, working, busy}
    sweep = IdleSweep(connections)
    asyncio.run(sweep())
    assert not any(connection.transport.abort.called for connection in connections)
    busy.cycle = Mock(response_complete=True)
    connections.add(new)
    asyncio.run(sweep())
    assert {connection for connection in connections if connection.transport.abort.called} == {silent, answered}
