"""Relay a WebSocket to a TCP port on this machine, frame by frame.

If the port does not accept connections, the server answers 502 before the upgrade, so that the
handshake fails.
"""

import asyncio
from contextlib import closing, suppress
from typing import NamedTuple

from pytest_tlsandbox.local import asgi

_PART = 64 * 1024
_NORMAL, _UNSUPPORTED_DATA, _BROKEN = 1000, 1003, 1011


class Tunnel(NamedTuple):
    """A connection to a port, and the answer that relays a WebSocket to this port."""

    port: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, receive: asgi.Receive, send: asgi.Send) -> None:
        """Relay data, as binary frames, until one side closes its connection."""
        with closing(self.writer):
            await receive()  # the request to connect
            await send({"type": "websocket.accept"})
            try:
                code = await asgi.finish_first(self._to_client(send), self._to_port(receive))
            except OSError:
                code = _BROKEN
            with suppress(OSError):  # the client may be the side that has gone
                await send({"type": "websocket.close", "code": code})

    async def _to_client(self, send: asgi.Send) -> int:
        while part := await self.reader.read(_PART):
            await send({"type": "websocket.send", "bytes": part})
        return _NORMAL

    async def _to_port(self, receive: asgi.Receive) -> int:
        while (message := await receive())["type"] == "websocket.receive":
            part = message.get("bytes")
            if part is None:
                return _UNSUPPORTED_DATA
            self.writer.write(part)
            await self.writer.drain()
        return _NORMAL


async def open_tunnel(request: asgi.Request) -> Tunnel:
    """Connect to the requested port on 127.0.0.1.

    Returns:
        The open tunnel.

    Raises:
        PlainTextError: 400 if the request is not a WebSocket handshake.
        ApiError: 400 if the port is invalid, or 502 if nothing accepts the connection.

    """
    if request.scope["type"] != "websocket":
        raise asgi.PlainTextError(400, "`Connection` header did not include 'upgrade'")
    port = request.query.get("port", "")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 2**16):
        raise asgi.ApiError(400, f"port must be between 1 and 65535, got '{port}'", "INVALID_PORT")
    try:
        return Tunnel(int(port), *await connect(int(port)))
    except OSError:
        error = f"Nothing accepts connections on port {port}"
        raise asgi.ApiError(502, error, "CONNECTION_REFUSED") from None


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port on 127.0.0.1.

    Returns:
        The two directions of the connection.

    Raises:
        ConnectionRefusedError: nothing accepts the connection.
        OSError: the connection failed for another reason.

    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # Without a listener, the system may select this port for our end and connect us to ourselves.
    if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
        writer.close()
        raise ConnectionRefusedError
    return reader, writer
