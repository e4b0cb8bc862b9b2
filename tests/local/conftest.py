from __future__ import annotations

import socket
import time
from contextlib import closing, contextmanager
from io import FileIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests

from pytest_tlsandbox.local.process import Process, now_ms
from pytest_tlsandbox.local.request_bodies import StartRequest
from pytest_tlsandbox.local.sandbox import start_local_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_tlsandbox.local.sandbox import LocalSandbox

# This program allocates memory until it is killed.
HOG = "b = bytearray()\nwhile True: b += b'x' * (1 << 20)"


def until(probe: Callable[[], Any], seconds: float = 30) -> Any:
    """Call ``probe`` until its result is truthy, and return the result."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"no answer within {seconds} s"
        time.sleep(0.005)
    return answer


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


def outcome(row: Any) -> tuple[Any, ...]:
    """Return the status, the exit code, the signal and the OOM flag of a row."""
    return tuple(row[name] for name in ("status", "exit_code", "signal", "oom_killed"))


def refusal(answer: requests.Response) -> tuple[int, str, str | None]:
    """Return the status, the error and the code of a rejected request."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"error", "code"}
    return answer.status_code, body["error"], body.get("code")


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


class Api:
    """Call the API of a sandbox with a plain HTTP client."""

    def __init__(self, sandbox: LocalSandbox) -> None:
        self.sandbox = sandbox
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {sandbox.api_key.reveal()}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        url = f"{self.sandbox.url}/api/v1{path}"
        return self._session.request(method, url, timeout=60, **options)

    def start(self, command: str, *args: str, **fields: Any) -> Any:
        body = {"command": command, "args": args, **fields}
        answer = self.call("POST", "/processes", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["pid"]

    def send(self, pid: int | str, action: str, **body: Any) -> requests.Response:
        return self.call("POST", f"/processes/{pid}/{action}", **body)

    def kill(self, pid: int | str) -> requests.Response:
        return self.call("DELETE", f"/processes/{pid}")

    def run(self, command: str, *args: str, **fields: Any) -> Any:
        """Start a program, wait until it ends, and return its row."""
        return self.ended(self.start(command, *args, **fields))

    def printed(self, command: str, *args: str, **fields: Any) -> Any:
        """Run a program to its end and return the lines of its stdout."""
        return self.lines(self.run(command, *args, **fields)["pid"])

    def python(self, program: str, *args: str, **fields: Any) -> Any:
        return self.start("python", "-c", program, *args, **fields)

    def get(self, pid: int | str) -> Any:
        return self.call("GET", f"/processes/{pid}").json()

    def ended(self, pid: int | str) -> Any:
        return until(lambda: (row := self.get(pid))["status"] != "running" and row)

    def lines(self, pid: int | str, stream: str = "stdout", at_least: int = 0) -> Any:
        def read() -> Any:
            answer = self.call("GET", f"/processes/{pid}/{stream}").json()
            return len(answer["lines"]) >= at_least and answer

        return until(read)["lines"]

    def rows(self) -> Any:
        return self.call("GET", "/processes").json()["processes"]

    def close(self) -> None:
        self._session.close()


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
