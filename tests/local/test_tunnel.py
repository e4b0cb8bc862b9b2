"""Test the tunnel from a WebSocket to a port; its handshake fails if the port refuses."""

import asyncio
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
import websocket

from pytest_tlsandbox.local import tunnel
from tests.contract.sandbox_api import refusal

from .conftest import free_port, is_gone, new_sandbox, port_of


def accept(service):
    accepted, _ = service.accept()
    accepted.settimeout(10)
    return accepted


@contextmanager
def opened(sandbox, service):
    """Open a tunnel; yield its WebSocket and the connection that the service accepted."""
    url = f"{sandbox.url.replace('http', 'ws')}/api/v1/tunnels/tcp?port={port_of(service)}"
    header = [f"Authorization: Bearer {sandbox.api_key.reveal()}"]
    client = websocket.create_connection(url, header=header, timeout=10)
    with accept(service) as accepted:
        yield client, accepted
    client.shutdown()


@pytest.mark.parametrize("size", [1, 100, 70_000, 8 * 2**20])
def test_tunnel_relays_bytes_both_ways(sandbox, service, size):
    sent, received = os.urandom(size), bytearray()
    with ThreadPoolExecutor(1) as pool, opened(sandbox, service) as (client, accepted):
        pool.submit(client.send_binary, sent)
        pool.submit(accepted.sendall, accepted.makefile("rb").read(size))
        while len(received) < size:
            received += client.recv()
    assert received == sent


PORTS = [None, "", "0", "65536", "99999999999", "-1", "+80", "80.0", "http", "%30", "\u0663"]


@pytest.mark.parametrize("port", PORTS)
def test_tunnel_to_an_invalid_port_returns_400(api, port):
    answer = api.handshake("" if port is None else f"?port={port}")
    text = {None: "", "%30": "0"}.get(port, port and port.replace("+", " "))
    error = f"port must be between 1 and 65535, got '{text}'"
    assert refusal(answer) == (400, error, "INVALID_PORT")


def test_tunnel_to_a_port_without_a_listener_returns_502(api):
    port = free_port()
    error = f"Nothing accepts connections on port {port}"
    assert refusal(api.handshake(f"?port={port}")) == (502, error, "CONNECTION_REFUSED")


def test_tunnel_closes_the_connection_to_the_service_if_the_client_has_gone(api, service):
    # The case of the words and the additional word are those of a browser.
    browser = {"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket"}
    answer = api.handshake(f"?port={port_of(service)}", **browser)
    with accept(service) as accepted:
        assert (answer.status_code, accepted.recv(1)) == (101, b"")


def test_request_that_is_not_a_websocket_handshake_returns_400(api):
    answer = api.call("GET", "/tunnels/tcp?port=1")
    text = "`Connection` header did not include 'upgrade'"
    assert (answer.status_code, answer.text) == (400, text)


def close_code(client):
    opcode, frame = client.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    return int.from_bytes(frame[:2], "big")


def test_text_frame_closes_the_tunnel(sandbox, service):
    with opened(sandbox, service) as (client, accepted):
        client.send_text("text")
        assert (close_code(client), accepted.recv(1)) == (1003, b"")


@pytest.mark.parametrize(("reset", "code"), [(False, 1000), (True, 1011)])
def test_tunnel_closes_when_the_service_closes_the_connection(sandbox, service, reset, code):
    with opened(sandbox, service) as (client, accepted):
        accepted.sendall(b"last")
        assert client.recv() == b"last"
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
        accepted.close()
        assert close_code(client) == code


def test_bytes_sent_just_before_the_client_closes_the_tunnel_reach_the_service(sandbox, service):
    with opened(sandbox, service) as (client, accepted):
        client.send_binary(b"last")
        client.close()
        assert accepted.recv(100) + accepted.recv(100) == b"last"


def test_sandbox_can_be_closed_while_a_tunnel_and_a_stream_are_open(service):
    with new_sandbox() as api, opened(api.sandbox, service) as (_, accepted):
        pid = api.start("sleep", "600")
        api.follow(pid)
        api.sandbox.close()
        assert api.sandbox._server.returncode == 0  # the server was not killed
        assert (accepted.recv(1), is_gone(pid)) == (b"", True)


def test_tunnel_cannot_connect_a_port_to_itself(monkeypatch):
    """Linux connects a socket to itself if it selects the requested port as the local port."""
    port = free_port()
    from_the_same_port = partial(asyncio.open_connection, local_addr=("127.0.0.1", port))
    monkeypatch.setattr(asyncio, "open_connection", from_the_same_port)
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(tunnel.connect(port))
