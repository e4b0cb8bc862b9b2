from __future__ import annotations

import socket
from contextlib import closing, contextmanager
from io import FileIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_tlsandbox.local.process import Process, now_ms
from pytest_tlsandbox.local.request_bodies import StartRequest
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.contract.sandbox_api import SandboxApi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.sandbox import LocalSandbox

# This program allocates memory until it is killed.
HOG = "b = bytearray()\nwhile True: b += b'x' * (1 << 20)"


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def unstarted(handle: int = 1, pid: int = 1, stdout: int | None = None) -> Process:
    """Return a process without a running program; ``stdout`` is the reading end of a pipe."""
    pipe = None if stdout is None else FileIO(stdout)
    child: Any = SimpleNamespace(pid=pid, stdin=None, stdout=pipe, stderr=None)
    return Process(handle, StartRequest("true"), child, now_ms())


def send_raw(sandbox: LocalSandbox, data: bytes) -> socket.socket:
    """Send bytes unchanged; an HTTP client would reject or correct invalid requests."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(data)
    return client


def request_bytes(
    sandbox: LocalSandbox, line: str, *headers: str, body: bytes = b"", version: str = "1.1"
) -> bytes:
    """Return a request as bytes; ``line`` is the method and the path below ``/api/v1``."""
    method, path = line.split(" ", 1)
    head = [f"{method} /api/v1{path} HTTP/{version}", "Host: local.local"]
    head += [f"Authorization: Bearer {sandbox.api_key.reveal()}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


class Api(SandboxApi):
    """Call the API of an embedded sandbox with a plain HTTP client."""

    def __init__(self, sandbox: LocalSandbox) -> None:
        super().__init__(sandbox.url, sandbox.api_key.reveal())
        self.sandbox = sandbox


@contextmanager
def new_sandbox(**options: Any) -> Iterator[Api]:
    """Start a separate sandbox for a test."""
    with start_local_sandbox(**options) as sandbox, closing(Api(sandbox)) as api:
        yield api


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    with start_local_sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def api(sandbox: LocalSandbox) -> Iterator[Api]:
    with closing(Api(sandbox)) as api:
        yield api


@pytest.fixture
def sleeper(api: Api) -> Iterator[Any]:
    pid = api.start("sleep", "600")
    yield pid
    api.kill(pid)
