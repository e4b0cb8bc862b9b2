"""What the tests of the logic share: rows, snapshots, a clock that jumps, scripted listings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.client.parsing import parse_list
from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.testing import scripted_lister as listings
from pytest_tlsandbox.testing.clock import FakeClock
from pytest_tlsandbox.testing.scripted_lister import STARTED_AT as T0
from pytest_tlsandbox.testing.scripted_lister import row as raw

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    """The public one, with a clock that is always given, and something on every stderr."""

    def __init__(
        self,
        clock: FakeClock,
        script: dict[float, list[dict[str, Any]] | InfrastructureError],
        latency: float = 0.0,
    ) -> None:
        super().__init__(script, clock=clock, latency=latency)

    def output(self, pid: int, stream: str = "output", *, limit: float | None = None) -> list[str]:
        return {"stderr": ["first", "second", "third", "Traceback: no memory"]}.get(stream, [])
