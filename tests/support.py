"""What the tests of the logic share: rows, snapshots, a clock that jumps, scripted listings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any, TypeVar

import pytest

from pytest_tlsandbox.client.parsing import parse_list
from pytest_tlsandbox.errors import InfrastructureError, SandboxUnreachable, TLSandboxError
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing import scripted_lister as listings
from pytest_tlsandbox.testing.clock import FakeClock
from pytest_tlsandbox.testing.scripted_lister import STARTED_AT as T0
from pytest_tlsandbox.testing.scripted_lister import row as raw

E = TypeVar("E", bound=BaseException)


def sample_of(cases: Mapping[str, Any], *names: str) -> list[Any]:
    """Return the cases as parameters; only ``make nightly`` runs those that are not named."""
    assert set(names) <= set(cases)
    return [
        pytest.param(case, id=name, marks=[] if name in names else pytest.mark.slow)
        for name, case in cases.items()
    ]


def ended(code: int | None = 0, **fields: Any) -> dict[str, Any]:
    """The fields of a row that exited after 9 s."""
    return {"status": "exited", "exit_code": code, "ended_at": T0 + 9000, **fields}


def signaled(number: int | None, **fields: Any) -> dict[str, Any]:
    """The fields of a row that a signal ended after 9 s."""
    return {"status": "signaled", "signal": number, "ended_at": T0 + 9000, **fields}


OOM = signaled(9, status="oom_killed", oom_killed=True)
"""The fields of a row that was OOM-killed after 9 s."""


def managed(name: str | None = "web", status: str = "running", **fields: Any) -> dict[str, Any]:
    """The ``managed`` object of a row."""
    return {
        "id": name or "p-7f",
        "name": name,
        "status": status,
        "restart_count": 0,
        "restart": {"policy": "on_failure", "max_restarts": 5},
        "health_check": None,
        "health_status": "disabled",
        "consecutive_health_failures": 0,
        "last_exit": None,
        **fields,
    }


def process(*args: Any, **fields: Any) -> ProcessInfo:
    """One process, read from the wire."""
    return snapshot(raw(*args, **fields)).processes[0]


def snapshot(*rows: dict[str, Any], at: float = 0.0) -> ProcessSnapshot:
    """A snapshot of these rows, read from the wire."""
    read, unreadable = parse_list(json.dumps({"processes": rows}).encode())
    return ProcessSnapshot(read, unreadable, sandbox="my-sandbox", begun=at, ended=at)


class ScriptedLister(listings.ScriptedLister):
    """The public one, with a clock that is always given, and output for each process.

    ``written`` maps seconds to the lines on stdout and stderr from then on, or to a fault that
    reading them meets. ``reads`` has when which stream was read, and how many seconds it had.
    """

    def __init__(
        self,
        clock: FakeClock,
        script: dict[float, Any],
        latency: float = 0.0,
        written: dict[float, Any] | None = None,
    ) -> None:
        super().__init__(script, clock=clock, latency=latency)
        self._written = written or {0: ([], ["first", "second", "third", "Traceback: no memory"])}
        self.reads: list[tuple[float, str, float | None]] = []

    def output(self, pid: int, stream: str = "output", *, limit: float | None = None) -> list[str]:
        at = self.clock.monotonic() - self._start
        self.reads.append((round(at, 6), stream, limit))
        answer = self._written[max(time for time in self._written if time <= at + 1e-9)]
        if isinstance(answer, InfrastructureError):
            raise answer
        stdout, stderr = answer
        return {"stdout": stdout, "stderr": stderr}.get(stream, [*stdout, *stderr])


def box_of(script: Any, *, latency: float = 0.0, written: Any = None, **options: Any) -> Sandbox:
    """A sandbox that lists what a script says, or always the same rows; it takes no time."""
    script = script if isinstance(script, dict) else {0: script}
    return Sandbox(ScriptedLister(FakeClock(), script, latency, written), **options)


def polls(box: Sandbox) -> list[float]:
    """When a sandbox was listed, in seconds since it was made."""
    return box._client.polls


def pass_time(box: Sandbox, seconds: float = 1) -> Sandbox:
    """Move the clock of a sandbox on."""
    box._client.clock.now += seconds
    return box


def failure(call: Callable[[], object], error: type[E] = TLSandboxError) -> E:
    """The error that a call raises."""
    with pytest.raises(error) as caught:
        call()
    return caught.value


def outcome(call: Callable[[], object]) -> tuple[str, str]:
    """The name and the first line of the error that a call raises."""
    error = failure(call)
    return type(error).__name__, error.first_line


def unreachable(label: str = "502", text: str = "", **more: Any) -> SandboxUnreachable:
    """An error that may pass."""
    text = f"my-sandbox {text or f'answered {label}'}"
    return SandboxUnreachable(text, label=label, transient=True, **more)


def dedented(indented: str) -> str:
    """A message as it stands in a test."""
    return dedent(indented).strip()
