"""Test which requests the server answers, to whom, and how it passes bodies and streams."""

import asyncio
import socket

import pytest

from pytest_tlsandbox.local.asgi import Response
from tests.contract.sandbox_api import refusal


@pytest.mark.parametrize("child", ["", "exec 3<&0; sleep 600 <&3 &"])
def test_writing_to_an_ended_process_fails_even_if_a_child_holds_the_pipe(api, child):
    pid = api.start("sh", "-c", f"{child} sleep 0.2", stdin_mode="pipe")
    answer = refusal(api.send(pid, "stdin", data=b"x" * 2**20))
    assert answer == (400, "Process stdin is closed", "STDIN_NOT_WRITABLE")


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic {key}", "{key}"])
@pytest.mark.parametrize("path", ["/processes", "/files?path=/", "/nope"])
def test_every_route_requires_the_key(api, path, given):
    key = api.sandbox.api_key.reveal()
    headers = {"Authorization": given and given.format(key=key)}
    for answer in (api.call("GET", path, headers=headers), api.handshake("", **headers)):
        assert refusal(answer) == (401, "Missing or invalid API key", "UNAUTHORIZED")


@pytest.mark.parametrize("header", ["Host", "X-Tensorlake-Sandbox-Id"])
def test_request_for_another_sandbox_id_returns_404(api, header):
    suffix = ".local" if header == "Host" else ""
    assert api.call("GET", "/health", headers={header: f"local{suffix}"}).status_code == 200
    answer = api.call("GET", "/health", headers={header: f"x{suffix}"})
    assert refusal(answer) == (404, "Sandbox 'x' not found", "SANDBOX_NOT_FOUND")


def test_server_listens_on_127_0_0_1_only(sandbox):
    port = int(sandbox.url.rpartition(":")[2])
    with socket.socket() as elsewhere:  # the port is free on other addresses
        elsewhere.bind(("127.0.0.2", port))


def test_head_request_is_answered_without_a_body(api):
    answer = api.call("HEAD", "/processes")
    assert (answer.status_code, answer.content) == (200, b"")


def test_response_stream_ends_when_the_client_disconnects():
    sent = []

    async def parts():
        yield b"one"
        await asyncio.sleep(600)

    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message.get("body"))

    asyncio.run(asyncio.wait_for(Response(parts()).send(receive, send), 10))
    assert sent == [None, b"one"]
