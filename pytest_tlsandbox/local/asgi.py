"""Define the requests, responses and routes of an ASGI application.

The sandbox does not need the features of a web framework. Starlette would also install anyio, whose
pytest plugin delays every start of pytest by 70 ms.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
Handler = Callable[..., Awaitable["Answer"]]
"""Receives the request, and the named groups of the path as keyword arguments."""
Routes = Mapping[str, Mapping[str, Handler]]
"""The handlers of each path, by method; a path is a regular expression."""

T = TypeVar("T")

BODY_LIMIT = 2 * 1024 * 1024
"""Maximum bytes of a request body, as in the daemon's framework; a longer body causes a 413."""


class Request:
    """A request.

    Attributes:
        scope: the request line and the headers, as ASGI defines them.
        headers: the headers; the names are in lower case.

    """

    def __init__(self, scope: dict[str, Any], receive: Receive) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self._has_more = scope["type"] == "http"

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query string."""
        text = self.scope["query_string"].decode("latin-1")
        return dict(parse_qsl(text, keep_blank_values=True, errors="replace"))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the parts of the body that have not been read yet.

        Raises:
            ClientDisconnected: the client disconnected before the end of the body.

        """
        while self._has_more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            self._has_more = message.get("more_body", False)
            yield message.get("body", b"")

    async def body(self) -> bytes:
        """Read the body, or raise ``PlainTextError`` (413) if it is too long."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > BODY_LIMIT:
                error = "Failed to buffer the request body: length limit exceeded"
                raise PlainTextError(413, error)
        return bytes(body)


class Answer(Protocol):
    """A response, or the object that replaces a response after an upgrade of the connection."""

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the response."""


class Response(NamedTuple):
    """A response. The parts of a streamed body are sent until the client disconnects.

    A response without a body has no content type.
    """

    body: bytes | AsyncIterator[bytes] = b""
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the response."""
        headers = [*self.headers]
        if isinstance(self.body, bytes) and self.status != 204:
            headers.append((b"content-length", b"%d" % len(self.body)))
        if self.body:
            headers.append((b"content-type", self.content_type.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if isinstance(self.body, bytes):
            await send({"type": "http.response.body", "body": self.body})
        else:
            await finish_first(_send_parts(self.body, send), _wait_for_disconnect(receive))


class ClientDisconnected(Exception):
    """The client closed the connection before it had sent its whole request."""


class ApiError(Exception):
    """An error that the server converts to a response.

    The body of the response is ``{"error": ..., "code": ...}``.

    Attributes:
        response: the response.

    """

    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        """Create the response; without a code, the body contains only ``error``."""
        super().__init__(error)
        body = {"error": error} if code is None else {"error": error, "code": code}
        self.response = json_response(body, status)


class PlainTextError(ApiError):
    """An error that the daemon's web framework reports in a plain text response."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(status, error)
        self.response = Response(error.encode(), status, "text/plain; charset=utf-8")


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response with a JSON body."""
    return Response(to_json(value), status)


def to_json(value: Any) -> bytes:
    """Return a value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def _call_route(routes: Routes, request: Request) -> Answer:
    """Call the first handler whose path and method match the request.

    Returns:
        The answer of the handler. If no handler matches, the answer is 404 or 405 without a body.

    """
    # The raw path, because a name may contain %2F.
    path, method = request.scope["raw_path"].decode("latin-1"), request.scope["method"]
    allowed: list[str] = []
    for pattern, handlers in routes.items():
        if match := re.fullmatch(pattern, path):
            if handler := handlers.get("GET" if method == "HEAD" else method):
                return await handler(request, **match.groupdict())
            allowed += handlers
    if not allowed:
        return Response(status=404)
    names = ", ".join(allowed).replace("GET", "GET, HEAD")
    return Response(status=405, headers=((b"allow", names.encode()),))


def asgi_app(routes: Routes, check: Callable[[Request], None]) -> Application:
    """Return an ASGI application.

    If the server responded before the client had sent the whole body, most clients would see a
    broken connection instead of the response. So an error is sent after the rest of the body has
    arrived.

    Args:
        routes: the handlers. A handler for GET also handles HEAD.
        check: a function that raises an ``ApiError`` for a request that must be rejected.

    """

    async def serve(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope, send = {**scope, "method": "GET"}, _reject_by_response(send)
        request = Request(scope, receive)
        with suppress(ClientDisconnected):
            try:
                check(request)
                answer = await _call_route(routes, request)
            except ApiError as error:
                answer = error.response
                async for _ in request.chunks():
                    pass
            await answer.send(receive, send)

    return serve


def _reject_by_response(send: Send) -> Send:
    """Return a ``send`` function that can also reject a WebSocket with an HTTP response."""

    async def send_either(message: dict[str, Any]) -> None:
        kind = message["type"].removeprefix("websocket.")
        await send({**message, "type": f"websocket.{kind}"})

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
