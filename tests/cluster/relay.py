"""Passes connections to a listening socket, which is inherited, on to an address: from one network namespace into another.

python relay.py DESCRIPTOR HOST PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from asyncio import StreamReader, StreamWriter


async def main(descriptor: int, host: str, port: int) -> None:
    async def passed_on(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(host, port)
            await asyncio.gather(copied(reader, back), copied(there, writer))
        writer.close()

    server = await asyncio.start_server(passed_on, sock=socket.socket(fileno=descriptor))
    await server.serve_forever()


async def copied(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
