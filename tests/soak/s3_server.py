"""The bucket's server in a process of its own, and a TCP proxy before it that can be cut or made slow.

python -m soak.s3_server
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from s3_servers import layered

CHUNK_BYTES = 65536


class Proxy:
    """Passes connections on. `cut` ends and refuses them; `delay_s` holds back each piece of data, in both directions."""

    def __init__(self, address: str) -> None:
        self._to = urlsplit(address)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.delay_s = 0.0
        self.port = 0
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), name="proxy", daemon=True).start()
        ready.wait(10)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._abort)

    def mend(self) -> None:
        self._is_cut, self.delay_s = False, 0.0

    def _abort(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there_writer}
        try:
            await asyncio.gather(self._relay(reader, there_writer), self._relay(there_reader, writer))
        finally:
            self._open -= {writer, there_writer}

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.close()


@contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """Address and process id."""
    argv = [sys.executable, "-m", "soak.s3_server"]
    tests = Path(__file__).parent.parent
    with subprocess.Popen(argv, cwd=tests, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.kill()


def main() -> None:
    with layered(lambda _: None) as address:
        print(address, flush=True)  # noqa: T201
        # Ends with the soak, even if that was killed.
        sys.stdin.read()
        time.sleep(0)


if __name__ == "__main__":
    main()
