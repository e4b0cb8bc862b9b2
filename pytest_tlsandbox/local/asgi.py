"""Define the requests, responses and routes of an ASGI application.

The sandbox does not need the features of a web framework. Starlette would also install anyio, whose
pytest plugin delays every start of pytest by 70 ms.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl

from pytest_tlsandbox.local.http_errors import ApiError, PlainTextError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
    Handler = Callable[["Request"], Awaitable["Answer"]]

T = TypeVar("T")

BODY_LIMIT = 2 * 1024 * 1024
"""Maximum bytes of a request body, as in the daemon's framework; a longer body causes a 413."""


class Request(NamedTuple):
    """A request.

    Attributes:
        scope: the request line and the headers, as ASGI defines them.
        receive: a function that receives the next part of the body, or the end of the connection.
        parameters: the named groups of the route's path.

    """

    scope: dict[str, Any]
    receive: Receive
    parameters: Mapping[str, str] = {}

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query string."""
        text = self.scope["query_string"].decode("latin-1")
        return dict(parse_qsl(text, keep_blank_values=True, errors="replace"))

    @property
    def content_type(self) -> str:
        """The value of the ``Content-Type`` header, or "" if the header is missing."""
        named = (value for name, value in self.scope["headers"] if name == b"content-type")
        return str(next(named, b""), "latin-1")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the parts of the body.

        Raises:
            ClientDisconnected: the client disconnected before the end of the body.

        """
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            yield message.get("body", b"")
            more = message.get("more_body", False)

    async def body(self) -> bytes:
        """Read the body.

        If the server responded before the client had sent the whole body, most clients would see a
        broken connection instead of the response.

        Returns:
            The body.

        Raises:
            PlainTextError: 413 if the body is too long, after the client has sent all of it.

        """
        body = bytearray()
        too_long = False
        async for chunk in self.chunks():
            too_long = too_long or len(body) + len(chunk) > BODY_LIMIT
            if not too_long:
                body += chunk
        if too_long:
            raise PlainTextError(413, "Failed to buffer the request body: length limit exceeded")
        return bytes(body)


class Answer(Protocol):
    """A response, or the object that replaces a response after an upgrade of the connection."""

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the response."""


class Response(NamedTuple):
    """A response. The parts of a streamed body are sent until the client disconnects."""

    body: bytes | AsyncIterator[bytes] = b""
    status: int = 200
    content_type: str | None = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the response."""
        headers = [*self.headers]
        if isinstance(self.body, bytes) and self.status != 204:
            headers.append((b"content-length", b"%d" % len(self.body)))
        if self.content_type is not None:
            headers.append((b"content-type", self.content_type.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if isinstance(self.body, bytes):
            await send({"type": "http.response.body", "body": self.body})
        else:
            await finish_first(_send_parts(self.body, send), _wait_for_disconnect(receive))


class ClientDisconnected(Exception):
    """The client has closed the connection before the end of its request."""


def empty_response(status: int, *headers: tuple[bytes, bytes]) -> Response:
    """Return a response without a body."""
    return Response(b"", status, None, headers)


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response with a JSON body."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode(), status)


class Router:
    """The routes, with a regular expression for each path and a handler for each method."""

    def __init__(self, routes: Mapping[str, Mapping[str, Handler]]) -> None:
        self._routes = [(re.compile(path), handlers) for path, handlers in routes.items()]

    async def handle(self, request: Request) -> Answer:
        """Call the handler of the first route that matches the path and the method.

        The handler for GET also handles HEAD.

        Returns:
            The answer of the handler. If no handler matches, the answer is 404 or 405 without a
            body.

        """
        # The raw path, because a name may contain %2F.
        path, method = request.scope["raw_path"].decode("latin-1"), request.scope["method"]
        found = [(pattern.fullmatch(path), handlers) for pattern, handlers in self._routes]
        matches = [(match, handlers) for match, handlers in found if match]
        for match, handlers in matches:
            if handler := handlers.get("GET" if method == "HEAD" else method):
                return await handler(request._replace(parameters=match.groupdict()))
        if not matches:
            return empty_response(404)
        allowed = ", ".join(matches[0][1]).replace("GET", "GET, HEAD")
        return empty_response(405, (b"allow", allowed.encode()))


def application(handle: Handler) -> Application:
    """Return an ASGI application that converts results and errors of ``handle`` to responses."""

    async def serve(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope, send = {**scope, "method": "GET"}, _reject_by_response(send)
        response: Answer
        try:
            response = await handle(Request(scope, receive))
        except ClientDisconnected:
            return
        except ApiError as error:
            code = {} if error.code is None else {"code": error.code}
            response = json_response({"error": str(error), **code}, error.status)
        except PlainTextError as error:
            response = Response(str(error).encode(), error.status, "text/plain; charset=utf-8")
        await response.send(receive, send)

    return serve


def _reject_by_response(send: Send) -> Send:
    """Return a ``send`` function that can also reject a WebSocket with an HTTP response."""

    async def send_either(message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            # The server closes the connection, so no client must use it again.
            message["headers"].append((b"connection", b"close"))
        await send({**message, "type": f"websocket.{kind.removeprefix('websocket.')}"})

    return send_either


async def _send_parts(parts: AsyncIterator[bytes], send: Send) -> None:
    async for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def finish_first(*works: Coroutine[Any, Any, T]) -> T:
    """Run coroutines until one has finished, cancel the others, and return the first result."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return finished.pop().result()
    finally:
        for task in tasks:
            task.cancel()
