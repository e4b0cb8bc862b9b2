import socket
from contextlib import closing, contextmanager
from io import FileIO
from types import SimpleNamespace

import psutil
import pytest

from pytest_tlsandbox.local.process import Process, now_ms
from pytest_tlsandbox.local.request_bodies import StartRequest
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.contract.sandbox_api import SandboxApi

# This program allocates memory until it is killed.
HOG = "b = bytearray()\nwhile True: b += b'x' * (1 << 20)"


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def port_of(service):
    return service.getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as service:
        return port_of(service)


@pytest.fixture
def service():
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.settimeout(10)
        yield service


def unstarted(handle=1, pid=1, stdout=None):
    """Return a process without a running program; ``stdout`` is the reading end of a pipe."""
    pipe = None if stdout is None else FileIO(stdout)
    child = SimpleNamespace(pid=pid, stdin=None, stdout=pipe, stderr=None)
    return Process(handle, StartRequest(command="true"), child, now_ms())


class Api(SandboxApi):
    """Call the API of an embedded sandbox with a plain HTTP client."""

    def __init__(self, sandbox):
        super().__init__(sandbox.url, sandbox.api_key.reveal())
        self.sandbox = sandbox


@contextmanager
def new_sandbox(**options):
    """Start a separate sandbox for a test."""
    with start_local_sandbox(**options) as sandbox, closing(Api(sandbox)) as api:
        yield api


@pytest.fixture(scope="session")
def sandbox():
    with start_local_sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def api(sandbox):
    with closing(Api(sandbox)) as api:
        yield api


@pytest.fixture
def sleeper(api):
    pid = api.start("sleep", "600")
    yield pid
    api.kill(pid)
