"""Tests, processes, incidents, gaps and times as plain data, which xdist workers can send.

The data names each kind of incident by the rule that reports it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.errors import GuardFailure
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.history.incidents import LEAK, Incident
from pytest_tlsandbox.messages.incidents import describe, run_name, shown_row
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.waiting.conditions import absence

RULES = {
    "oom": absence.OOM,
    "crash": absence.CRASH,
    "restart": absence.RESTART,
    "unhealthy": absence.UNHEALTHY,
    LEAK: absence.Rule((LEAK,), GuardFailure, "Left running", "leaks"),
}
RULE_OF = {kind: name for name, rule in RULES.items() for kind in rule.kinds}
"""The name of the rule that reports each kind of incident; no rule reports the other kinds."""


class Place(NamedTuple):
    """A phase of one attempt to run a test. Outside of tests, all fields are None."""

    test: str | None = None
    attempt: int | None = None
    phase: str | None = None


class WallClock:
    """Converts times of the monotonic clock to times of day, and back.

    A class attribute stores ``time.time``, so that freezegun cannot replace this function (see
    ``Clock``).
    """

    _now = staticmethod(time.time)

    def __init__(self, clock: Clock) -> None:
        self._offset = self._now() - clock.monotonic()

    def at(self, moment: float) -> str:
        """Convert a time of the monotonic clock to a UTC time in ISO 8601 format."""
        return iso(datetime.fromtimestamp(self._offset + moment, timezone.utc))

    def monotonic(self, time: datetime) -> float:
        """Convert a time of day on this machine to seconds on the monotonic clock."""
        return time.timestamp() - self._offset


def iso(time: datetime) -> str:
    """Convert a time to ISO 8601 text in UTC, with milliseconds."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(time: str) -> int:
    """Return a time from a report as the number of milliseconds since 1970.

    The function replaces the "Z" at the end of the time, because Python 3.10 cannot parse the "Z".
    """
    return round(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000)


def describe_gap(gap: Mapping[str, Any]) -> str:
    """Describe a gap by its range of tests and its reason."""
    begun, ended = gap["from_test"] or "the start", gap["to_test"] or "the end"
    return f"from {begun} to {ended}, {count(gap['tests'], 'test')}: {gap['why']}"


def identity_text(row: ProcessInfo) -> str:
    """Return text that identifies a listed run: its handle, pid and start in milliseconds."""
    started = int(row.started_at.timestamp() * 1000)
    return f"{'-' if row.handle is None else row.handle}/{row.pid}/{started}"


def incident_data(rule: str, incident: Incident, sandbox: str, place: Place) -> dict[str, Any]:
    """Return an incident, its rule, and where it happened as plain data."""
    run = incident.run
    return {
        "rule": rule,
        "process": identity_text(shown_row(run)),
        "run": run.number if run.generation.id is not None else None,
        "name": run_name(run),
        "what": describe(incident),
        "sandbox": sandbox,
        **place._asdict(),
    }
