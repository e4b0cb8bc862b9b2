"""Helpers of the tests: sandboxes with a fake clock and scripted list calls, and their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any, TypeVar

import pytest

from pytest_tlsandbox.client.transport import Answer
from pytest_tlsandbox.errors import InfrastructureError, SandboxUnreachable, TLSandboxError
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing import scripted_lister as listings
from pytest_tlsandbox.testing.clock import FakeClock
from tests.rows import OOM, T0, ended, managed, process, raw, signaled, snapshot  # noqa: F401 - for tests that import both from here

E = TypeVar("E", bound=BaseException)


def sample_of(cases: Mapping[str, Any], *names: str) -> list[Any]:
    """Return the cases as parameters; only ``make nightly`` runs the unnamed ones."""
    assert set(names) <= set(cases)
    return [
        pytest.param(case, id=name, marks=[] if name in names else pytest.mark.slow)
        for name, case in cases.items()
    ]


class ScriptedLister(listings.ScriptedLister):
    """The public scripted lister, with a required clock and output that changes over time.

    ``written`` maps a time in seconds to the lines on stdout and stderr from then on, or to the
    error of reading them. ``reads`` contains the time, stream and time limit of each read.
    ``ports`` maps a time to the state of every port from then on, or to the error of a probe.
    ``limits`` contains the time limit of each list call, in seconds.
    """

    def __init__(self, clock, script, latency=0.0, written=None, ports=None):
        super().__init__(script, clock=clock, latency=latency)
        self._written = written or {0: ([], ["first", "second", "third", "Traceback: no memory"])}
        self._ports = ports or {0: "open"}
        self.reads, self.probes, self.limits = [], [], []

    def _request(self, method: str, path: str, *, limit: float = 0.0, **sent: Any) -> Answer:
        if path == "/processes":
            self.limits.append(limit)
        return super()._request(method, path, limit=limit, **sent)

    def probe_port(self, _process: ProcessInfo, port: int, *, limit: float) -> Any:
        return self._answer(self._ports, self.probes, port, limit)

    def output(self, pid: int, stream: str = "output", *, limit: float | None = None) -> list[str]:
        stdout, stderr = self._answer(self._written, self.reads, stream, limit)
        return {"stdout": stdout, "stderr": stderr}.get(stream, [*stdout, *stderr])

    def _answer(self, script: dict[float, Any], calls: list[Any], *call: Any) -> Any:
        at = self.clock.monotonic() - self._start
        calls.append((round(at, 6), *call))
        answer = script[max(time for time in script if time <= at + 1e-9)]
        if isinstance(answer, InfrastructureError):
            raise answer
        return answer


def box_of(script, *, latency=0.0, written=None, ports=None, started=(), **options):
    """Return a sandbox that lists scripted rows, or always the same rows; waits take no time."""
    script = script if isinstance(script, dict) else {0: script}
    box = Sandbox(ScriptedLister(FakeClock(), script, latency, written, ports), **options)
    box._started += started
    return box


def silent_box(script: Any, **options: Any) -> Sandbox:
    """Return a sandbox as ``box_of`` does, whose processes have written nothing."""
    return box_of(script, written={0: ([], [])}, **options)


def polls(box: Sandbox) -> list[float]:
    """Return the times of all list calls, in seconds since the sandbox was created."""
    return box._client.polls


def pass_time(box: Sandbox, seconds: float = 1) -> Sandbox:
    """Advance the clock of a sandbox by some seconds, and return the sandbox."""
    box._client.clock.now += seconds
    return box


def failure(call: Callable[[], object], error: type[E] = TLSandboxError) -> E:
    """Return the error that a call raises."""
    with pytest.raises(error) as caught:
        call()
    return caught.value


def outcome(call: Callable[[], object]) -> tuple[str, str]:
    """Return the name and the first line of the error that a call raises."""
    error = failure(call)
    return type(error).__name__, error.first_line


def make(call: Any, on: object) -> Any:
    """Make a call that ``mock.call`` recorded, or call a function with the object."""
    if not isinstance(call, tuple):
        return call(on)
    name, args, options = call
    return getattr(on, name)(*args, **options)


def result_of(call: Callable[[], Any]) -> str:
    """Return "pid 41" for a process that a call returns, its error, or otherwise "passes".

    Several processes are returned as "pids [41, 42]", and an error as its class and first line.
    """
    try:
        value = call()
    except TLSandboxError as error:
        return f"{type(error).__name__}: {error.first_line}"
    if isinstance(value, list):
        return f"pids {[row.pid for row in value]}"
    return f"pid {value.pid}" if isinstance(value, ProcessInfo) else "passes"


def assert_result(box: Sandbox, call: Any, expected: str, earliest: float, latest: float) -> None:
    """Check the result of a call, as ``result_of`` returns it, and the time of its last poll."""
    assert result_of(lambda: make(call, box)) == expected
    assert earliest <= polls(box)[-1] <= latest


def unreachable(label: str = "502", text: str = "", **more: Any) -> SandboxUnreachable:
    """Return a transient error."""
    text = f"my-sandbox {text or f'answered {label}'}"
    return SandboxUnreachable(text, label=label, transient=True, **more)


def dedented(indented: str) -> str:
    """Return a message without the indentation that it has in the source of a test."""
    return dedent(indented).strip()
