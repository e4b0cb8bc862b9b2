"""What travels from the process that runs a test to the one that reports: plain data, all of it."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from pytest_tlsandbox.clock import Clock


class Facts(TypedDict, total=False):
    """What one report of a test carries."""

    worker: str | None
    attempt: int
    oom: bool
    findings: list[dict[str, Any]]
    meant: list[str]
    """Keys of what looks like a finding to others, and was done through this plugin."""
    unknown_ends: list[dict[str, Any]]
    """Processes whose end the sandbox lost, and which no test answers for."""
    gaps: list[dict[str, Any]]
    sandboxes: dict[str, dict[str, Any]]
    processes: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    outages: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    looks: int


class HostTime:
    """Moments of the waits' clock as times of day.

    ``time.time`` is a class attribute for the reason that ``Clock`` gives.
    """

    _now = staticmethod(time.time)

    def __init__(self, clock: Clock) -> None:
        self._offset = self._now() - clock.monotonic()

    def at(self, moment: float) -> str:
        """Return the time of a moment on the waits' clock, by this machine's clock."""
        return iso(datetime.fromtimestamp(self._offset + moment, timezone.utc))


def iso(time: datetime) -> str:
    """Return a time in UTC as text, to the millisecond."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
