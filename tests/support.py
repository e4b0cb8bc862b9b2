"""What the tests of the logic share: rows, snapshots, a clock that jumps, scripted listings."""

from __future__ import annotations

import json
from typing import Any

from pytest_tlsandbox.client.models import ProcessInfo, parse_list
from pytest_tlsandbox.client.processes import ProcessLister
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.errors import SandboxFault
from pytest_tlsandbox.snapshot import ProcessSnapshot

T0 = 1_710_000_000_000
"""2024-03-09 16:00:00 UTC, in the wire's milliseconds."""


class FakeClock(Clock):
    """A clock on which a sleep takes no time at all."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:  # type: ignore[override]
        return self.now

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.slept.append(seconds)
        self.now += seconds


def raw(
    pid: int = 41, command: str = "python", args: Any = ("train.py",), **fields: Any
) -> dict[str, Any]:
    """A row as it comes over the wire; running, unless fields say otherwise."""
    row = {
        "handle": pid,
        "pid": pid,
        "status": "running",
        "exit_code": None,
        "signal": None,
        "stdin_writable": False,
        "command": command,
        "args": list(args) if isinstance(args, tuple) else args,
        "started_at": T0,
        "ended_at": None,
    }
    row.update(fields)
    return row


def ended(code: int | None = 0, **fields: Any) -> dict[str, Any]:
    """The fields of a row that exited after 9 s."""
    return {"status": "exited", "exit_code": code, "ended_at": T0 + 9000, **fields}


def signaled(number: int | None, **fields: Any) -> dict[str, Any]:
    """The fields of a row that a signal ended after 9 s."""
    return {"status": "signaled", "signal": number, "ended_at": T0 + 9000, **fields}


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


class ScriptedLister:
    """Lists what a script says, by the seconds that have passed since the first look.

    ``script`` maps a time to rows, or to a fault, that hold from then on. ``latency`` is what a
    look takes.
    """

    label = "my-sandbox"
    test_deadline = staticmethod(lambda: None)
    patience = 30.0
    give_up_at = ProcessLister.give_up_at

    def __init__(
        self,
        clock: FakeClock,
        script: dict[float, list[dict[str, Any]] | SandboxFault],
        latency: float = 0.0,
    ) -> None:
        self.clock = clock
        self.looks: list[float] = []
        self.limits: list[float] = []
        self._start = clock.monotonic()
        self._script = script
        self._latency = latency

    def look(self, *, limit: float = 5.0) -> ProcessSnapshot:
        begun = self.clock.monotonic()
        at = begun - self._start
        self.looks.append(round(at, 6))
        self.limits.append(limit)
        answer = self._script[max(time for time in self._script if time <= at + 1e-9)]
        self.clock.now += min(self._latency, limit)
        if isinstance(answer, SandboxFault):
            raise answer
        seen = snapshot(*answer)
        return ProcessSnapshot(
            seen.processes,
            seen.unreadable,
            sandbox=self.label,
            begun=begun,
            ended=self.clock.monotonic(),
        )

    def list(self) -> ProcessSnapshot:
        return self.look(limit=5.0)

    def output(self, pid: int, stream: str, *, limit: float | None = None) -> list[str]:
        return {"stderr": ["first", "second", "third", "Traceback: no memory"]}.get(stream, [])
