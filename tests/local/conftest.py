from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests

from pytest_tlsandbox.local.server import start_local_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_tlsandbox.local.server import LocalSandbox

# Grows until somebody stops it.
HOG = "b = bytearray()\nwhile True: b += b'x' * (1 << 20)"


def until(probe: Callable[[], Any], seconds: float = 10) -> Any:
    """Ask again until the answer is truthy; give it."""
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


class Api:
    """The API of a sandbox, as a client that only knows HTTP sees it."""

    def __init__(self, sandbox: LocalSandbox) -> None:
        self.sandbox = sandbox
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {sandbox.api_key.reveal()}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        url = f"{self.sandbox.url}/api/v1{path}"
        return self._session.request(method, url, timeout=10, **options)

    def start(self, command: str, *args: str, **fields: Any) -> Any:
        body = {"command": command, "args": args, **fields}
        answer = self.call("POST", "/processes", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["pid"]

    def python(self, program: str, *args: str, **fields: Any) -> Any:
        return self.start("python", "-c", program, *args, **fields)

    def get(self, pid: int) -> Any:
        return self.call("GET", f"/processes/{pid}").json()

    def ended(self, pid: int) -> Any:
        return until(lambda: (row := self.get(pid))["status"] != "running" and row)

    def lines(self, pid: int, stream: str = "stdout", at_least: int = 0) -> Any:
        def read() -> Any:
            answer = self.call("GET", f"/processes/{pid}/{stream}").json()
            return len(answer["lines"]) >= at_least and answer

        return until(read)["lines"]

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    with start_local_sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def api(sandbox: LocalSandbox) -> Iterator[Api]:
    api = Api(sandbox)
    yield api
    api.close()


@pytest.fixture
def sleeper(api: Api) -> Iterator[Any]:
    pid = api.start("sleep", "600")
    yield pid
    api.call("DELETE", f"/processes/{pid}")
