"""What travels from the process that runs a test to the one that tells: plain data, all of it."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypedDict

from pytest_tlsandbox.guard.rules import identity_text, verdict_of
from pytest_tlsandbox.messages.words import named

if TYPE_CHECKING:
    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.guard.rules import Incident


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
    outages: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
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
