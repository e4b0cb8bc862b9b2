"""A network: a relay that delays what passes it, in a separate process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

from benchmarks.serving import in_another_process


@contextlib.contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """Relay connections to a server, and yield the URL of the relay.

    Args:
        url: the URL of the server.
        seconds: the delay in each direction.

    Yields:
        The URL of the relay.

    """
    with in_another_process(_run, urlsplit(url).port, seconds) as pipe:
        yield f"http://127.0.0.1:{pipe.recv()}"


def _run(pipe: Connection, port: int, seconds: float) -> None:
    asyncio.run(_relay(pipe, port, seconds))


async def _relay(pipe: Connection, port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**18):
                loop.call_later(seconds, writer.write, data)
        loop.call_later(seconds, writer.close)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(forward(reader, there[1]), forward(there[0], writer))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()
