"""Relay a WebSocket to a TCP port of this machine, frame by frame.

If the port does not accept connections, the server answers 502 before the upgrade, so that the
handshake fails.
"""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.local.asgi import finish_first
from pytest_tlsandbox.local.http_errors import ApiError, PlainTextError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_tlsandbox.local.asgi import Receive, Send

_CONNECT_SECONDS = 5.0
_PART = 64 * 1024
_NORMAL, _UNSUPPORTED_DATA, _BROKEN = 1000, 1003, 1011
_HANDSHAKE = {
    "Connection": "upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "",
}


class Tunnel:
    """A connection to a port, and the response that relays a WebSocket to this port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.close = writer.close
        self.port: int = writer.get_extra_info("peername")[1]

    async def send(self, receive: Receive, send: Send) -> None:
        """Relay data, as binary frames, until one side closes its connection."""
        with closing(self._writer):
            await receive()  # the request to connect
            await send({"type": "websocket.accept"})
            try:
                code = await finish_first(self._relay_to_client(send), self._relay_to_port(receive))
            except OSError:
                code = _BROKEN
            with suppress(OSError):  # the client may be the side that has gone
                await send({"type": "websocket.close", "code": code})

    async def _relay_to_client(self, send: Send) -> int:
        while part := await self._reader.read(_PART):
            await send({"type": "websocket.send", "bytes": part})
        return _NORMAL

    async def _relay_to_port(self, receive: Receive) -> int:
        while (message := await receive())["type"] == "websocket.receive":
            part = message.get("bytes")
            if part is None:
                return _UNSUPPORTED_DATA
            self._writer.write(part)
            await self._writer.drain()
        return _NORMAL


def handshake_error(scope: Mapping[str, Any]) -> PlainTextError | None:
    """Return why a request cannot be upgraded to a WebSocket, or None if it can be upgraded."""
    headers = {name.decode(): value.decode("latin-1").lower() for name, value in scope["headers"]}
    for name, wanted in _HANDSHAKE.items():
        if name.lower() not in headers or wanted not in headers[name.lower()]:
            problem = f"did not include '{wanted}'" if wanted else "missing"
            return PlainTextError(400, f"`{name}` header {problem}")
    if scope["http_version"] == "1.0":
        return PlainTextError(426, "WebSocket request could not be upgraded: it is HTTP/1.0")
    return None


async def open_tunnel(port: str) -> Tunnel:
    """Connect to a port of 127.0.0.1.

    Returns:
        The open tunnel.

    Raises:
        ApiError: 400 if the text is not a port, 502 if nothing accepts the connection.

    """
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 2**16):
        raise ApiError(400, f"port must be between 1 and 65535, got '{port}'", "INVALID_PORT")
    try:
        return Tunnel(*await asyncio.wait_for(connect(int(port)), _CONNECT_SECONDS))
    except (OSError, asyncio.TimeoutError):
        raise ApiError(
            502, f"Nothing accepts connections on port {port}", "CONNECTION_REFUSED"
        ) from None


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port of 127.0.0.1.

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
