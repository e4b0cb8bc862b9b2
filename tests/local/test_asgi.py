"""Test how the ASGI layer passes requests and responses; ``test_routes`` covers the routes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.local.asgi import Request, Response, asgi_app

from .conftest import request_bytes, send_raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_tlsandbox.local.sandbox import LocalSandbox


async def serve(handle: Any, *received: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that an application sends in response to these ASGI messages."""
    sent: list[dict[str, Any]] = []
    messages = iter(received)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    app = asgi_app({"/": {"GET": handle}}, lambda request: None)
    scope = {"type": "http", "headers": [], "method": "GET", "raw_path": b"/"}
    await app(scope, receive, send)
    return sent


def test_response_stream_is_closed_when_the_client_disconnects() -> None:
    ended = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.sleep(600)
        finally:
            ended.append(True)

    async def handle(request: Request) -> Response:
        return Response(parts())

    async def bodies() -> list[bytes | None]:
        sent = await serve(handle, {"type": "http.request"}, {"type": "http.disconnect"})
        await asyncio.sleep(0)
        assert ended == [True]
        return [message.get("body") for message in sent]

    assert asyncio.run(bodies()) == [None, b"one"]


def test_exception_in_a_response_stream_propagates_to_the_server() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        raise ValueError("broken")

    async def handle(request: Request) -> Response:
        return Response(parts())

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(serve(handle, *[{"type": "http.request"}] * 9))


def test_request_is_not_answered_if_the_client_disconnects_while_sending_the_body() -> None:
    async def handle(request: Request) -> Response:
        return Response(await request.body())

    first = {"type": "http.request", "body": b"half", "more_body": True}
    assert asyncio.run(serve(handle, first, {"type": "http.disconnect"})) == []


def test_pipelined_requests_are_answered_in_order_even_after_rejected_bodies(
    sandbox: LocalSandbox,
) -> None:
    start = sandbox, "POST /processes", "Content-Type: application/json"
    chunked = b"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"
    requests = (
        request_bytes(*start, "Content-Length: 1", body=b"{")
        + request_bytes(*start, "Transfer-Encoding: chunked", body=chunked)
        + request_bytes(sandbox, "PUT /nope", "Content-Length: 3", body=b"abc")
        + request_bytes(sandbox, "HEAD /health")
        + request_bytes(sandbox, "GET /health", "Connection: close")
    )
    with send_raw(sandbox, requests) as client:
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"400", b"422", b"404", b"200", b"200"]
    assert answers.endswith(b'\r\n\r\n{"healthy":true}')
