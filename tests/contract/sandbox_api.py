"""A plain HTTP client of the sandbox API, which does not use the package."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def until(probe: Callable[[], Any], seconds: float = 30) -> Any:
    """Call ``probe`` until its result is truthy, and return the result."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"no answer within {seconds} s"
        time.sleep(0.005)
    return answer


def outcome(row: Any) -> tuple[Any, ...]:
    """Return the status, the exit code, the signal and the OOM flag of a row."""
    return row["status"], row["exit_code"], row["signal"], row.get("oom_killed") or False


def refusal(answer: requests.Response) -> tuple[int, str, str | None]:
    """Return the status, the error and the code of a rejected request."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"error", "code"}
    return answer.status_code, body["error"], body.get("code")


def flat(row: Any) -> Any:
    """Return the fields of a row and of its managed part in one dict; ``run`` is the row status."""
    managed = row.pop("managed")
    return {**row, "run": row["status"], **managed}


class SandboxApi:
    """Call the API of a sandbox with a plain HTTP client.

    Args:
        url: the base URL, without ``/api/v1``.
        key: the API key.
        headers: headers that each request needs to reach the sandbox.
        may_exceed_memory: whether a test may use all memory of the sandbox.

    """

    def __init__(
        self,
        url: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        *,
        may_exceed_memory: bool = False,
    ) -> None:
        self.url = url
        self.may_exceed_memory = may_exceed_memory
        self._names = itertools.count()
        self._session = requests.Session()
        self._session.trust_env = not url.startswith("http://127.")
        self._session.headers.update({"Authorization": f"Bearer {key}", **(headers or {})})

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, f"{self.url}/api/v1{path}", timeout=60, **options)

    def start_row(self, command: str, *args: str, **fields: Any) -> Any:
        body = {"command": command, "args": args, **fields}
        answer = self.call("POST", "/processes", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def start(self, command: str, *args: str, **fields: Any) -> Any:
        return self.start_row(command, *args, **fields)["pid"]

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

    def is_alive(self, pid: int) -> bool:
        """Return whether a process of the sandbox is alive, even one that is not listed."""
        script = f"case $(cut -d')' -f2 /proc/{pid}/stat) in ''|' Z'*) exit 1; esac"
        row: Any = self.run("sh", "-c", script)
        return bool(row["exit_code"] == 0)

    def lines(self, pid: int | str, stream: str = "stdout", at_least: int = 0) -> Any:
        def read() -> Any:
            answer = self.call("GET", f"/processes/{pid}/{stream}").json()
            return len(answer["lines"]) >= at_least and answer

        return until(read)["lines"]

    def rows(self) -> Any:
        return self.call("GET", "/processes").json()["processes"]

    def new_name(self) -> str:
        """Return a name that no process of this sandbox has."""
        return f"contract-{time.time_ns()}-{next(self._names)}"

    def close(self) -> None:
        self._session.close()


class Managed:
    """A managed process with a unique name."""

    def __init__(self, api: SandboxApi, name: str) -> None:
        self.api = api
        self.name = name

    def post(self, command: str = "true", *args: str, **fields: Any) -> Any:
        body = {"command": command, "args": args, "name": self.name, **fields}
        return self.api.call("POST", "/processes", json=body)

    def start(self, script: str, **fields: Any) -> Any:
        answer = self.post("sh", "-c", script, **fields)
        assert answer.status_code == 201, answer.text
        return flat(answer.json())

    def restart(self) -> Any:
        return self.api.send(self.name, "restart")

    def row(self) -> Any:
        return flat(self.api.get(self.name))

    def when(self, **fields: Any) -> Any:
        """Wait until the row has these fields, and return the row."""
        return until(lambda: (row := self.row()).items() >= fields.items() and row)
