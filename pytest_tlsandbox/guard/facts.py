"""What travels from the process that runs a test to the one that tells: plain data, all of it."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypedDict

from pytest_tlsandbox.guard.rules import identity_text, verdict_of
from pytest_tlsandbox.messages.words import named, short_name
from pytest_tlsandbox.status import describe_state

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.guard.rules import Incident
    from pytest_tlsandbox.snapshot import ProcessSnapshot


class Finding(TypedDict):
    """An incident, where it belongs, and how it is told."""

    key: str
    rule: str
    verdict: str
    observed: bool
    sandbox: str
    process: str
    name: str
    what: str
    test: str | None
    attempt: int | None
    phase: str | None
    worker: str | None
    told: str
    """At the ``test``, or at the end of the ``session``: it is of no test, or of no one knows which."""
    allowed: str | None
    at: str


class Facts(TypedDict, total=False):
    """What one report of a test carries."""

    worker: str | None
    attempt: int
    oom: bool
    findings: list[Finding]
    meant: list[str]
    """Keys of what looks like a finding to others, and was done through this plugin."""
    gaps: list[dict[str, Any]]
    sandboxes: dict[str, dict[str, Any]]
    processes: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    looks: int


def finding_of(
    incident: Incident,
    sandbox: str,
    place: tuple[str | None, int | None, str | None],
    *,
    told: str,
    allowed: str | None,
    worker: str | None,
    at: str,
) -> Finding:
    """Give an incident as data; ``place`` is its test, the attempt at it, and the phase."""
    test, attempt, phase = place
    return {
        "key": f"{sandbox} {incident.key}",
        "rule": incident.rule,
        "verdict": verdict_of(incident),
        "observed": incident.observed,
        "sandbox": sandbox,
        "process": identity_text(incident.row),
        "name": named(incident.row),
        "what": incident.what,
        "test": test,
        "attempt": attempt,
        "phase": phase,
        "worker": worker,
        "told": told,
        "allowed": allowed,
        "at": at,
    }


class HostTime:
    """Moments of the waits' clock as times of day.

    ``time.time`` is a class attribute for the reason that ``Clock`` gives.
    """

    _now = staticmethod(time.time)

    def __init__(self, clock: Clock) -> None:
        self._offset = self._now() - clock.monotonic()

    def at(self, moment: float) -> str:
        """Give the time of a moment on the waits' clock, by this machine's clock."""
        return iso(datetime.fromtimestamp(self._offset + moment, timezone.utc))


def iso(time: datetime) -> str:
    """Give a time in UTC as text, to the millisecond."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Recorder:
    """Folds looks into the processes that are new and the changes of their state."""

    def __init__(self, host: HostTime) -> None:
        self.place: tuple[str | None, int | None, str | None] = (None, None, None)
        """Test, attempt and phase in which it looks."""
        self._host = host
        self._rows: dict[str, dict[Hashable, ProcessInfo]] = {}
        self._states: dict[tuple[str, str], dict[str, Any]] = {}
        self._processes: list[dict[str, Any]] = []
        self._changes: list[dict[str, Any]] = []

    def observe(self, sandbox: str, snapshot: ProcessSnapshot) -> None:
        """Take in a look."""
        first = sandbox not in self._rows
        rows = {} if first else self._rows[sandbox]
        listed: dict[Hashable, ProcessInfo] = {row.identity: row for row in snapshot}
        self._rows[sandbox] = listed
        seen_at = self._host.at(snapshot.begun)
        for identity, row in listed.items():
            old = rows.get(identity)
            if old is None:
                self._add(sandbox, row, before=first)
            if old != row:
                self._change(sandbox, identity_text(row), _state_of(row), _moment_of(row), seen_at)
        for identity in rows.keys() - listed.keys():
            gone = identity_text(rows[identity])
            self._change(sandbox, gone, {"state": "not listed"}, None, seen_at)

    def take(self) -> Facts:
        """Give what is new since the last time."""
        facts: Facts = {"processes": self._processes, "changes": self._changes}
        self._processes, self._changes = [], []
        return facts

    def _add(self, sandbox: str, row: ProcessInfo, *, before: bool) -> None:
        managed = row.managed
        self._processes.append(
            {
                "id": identity_text(row),
                "sandbox": sandbox,
                "handle": row.handle,
                "pid": row.pid,
                "started_at": iso(row.started_at),
                "name": short_name(row),
                "managed": None if managed is None else {"id": managed.id, "name": managed.name},
                "command_line": row.masked_command_line,
                "before_the_session": before,
                "test": None if before else self.place[0],
            }
        )

    def _change(
        self, sandbox: str, process: str, state: dict[str, Any], at: str | None, seen_at: str
    ) -> None:
        if self._states.get((sandbox, process)) == state:
            return
        self._states[sandbox, process] = state
        test, attempt, phase = self.place
        self._changes.append(
            {
                "sandbox": sandbox,
                "process": process,
                **state,
                "at": at,
                "seen_at": seen_at,
                "test": test,
                "attempt": attempt,
                "phase": phase,
            }
        )


def _state_of(row: ProcessInfo) -> dict[str, Any]:
    managed = row.managed
    return {
        "state": row.state,
        "text": describe_state(row),
        "exit_code": row.exit_code,
        "signal": row.signal,
        "oom_killed": row.oom_killed or row.state == "oom_killed",
        "supervisor": None
        if managed is None
        else {
            "status": managed.status,
            "restarts": managed.restart_count,
            "health": managed.health_status,
        },
    }


def _moment_of(row: ProcessInfo) -> str | None:
    """Give when the sandbox says that a row came to be as it is, where it does."""
    if row.ended:
        return None if row.ended_at is None else iso(row.ended_at)
    return iso(row.started_at)
