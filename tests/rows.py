"""Rows of the process list, and processes and snapshots that are parsed from rows."""

from __future__ import annotations

import json
from typing import Any

from pytest_tlsandbox.client.response_bodies import parse_list
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.testing.scripted_lister import STARTED_AT as T0
from pytest_tlsandbox.testing.scripted_lister import row as raw


def ended(code: int | None = 0, **fields: Any) -> dict[str, Any]:
    """Return the fields of a row that exited after 9 s."""
    return {"status": "exited", "exit_code": code, "ended_at": T0 + 9000, **fields}


def signaled(number: int | None, **fields: Any) -> dict[str, Any]:
    """Return the fields of a row that a signal ended after 9 s."""
    return {"status": "signaled", "signal": number, "ended_at": T0 + 9000, **fields}


OOM = signaled(9, status="oom_killed", oom_killed=True)
"""The fields of a row that was OOM-killed after 9 s."""


def managed(name: str | None = "web", status: str = "running", **fields: Any) -> dict[str, Any]:
    """Return the ``managed`` object of a row."""
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
    """Return a process, parsed from a JSON row."""
    return snapshot(raw(*args, **fields)).processes[0]


def snapshot(*rows: dict[str, Any], at: float = 0.0) -> ProcessSnapshot:
    """Return a snapshot, parsed from JSON rows; ``at`` is its time in seconds."""
    read, unreadable = parse_list(json.dumps({"processes": rows}).encode())
    return ProcessSnapshot(read, unreadable, sandbox="my-sandbox", begun=at, ended=at)
