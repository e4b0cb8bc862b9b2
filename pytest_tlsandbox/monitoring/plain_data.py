"""Tests, processes and times as plain data, which xdist workers send to the controller."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.models import ProcessInfo


class Place(NamedTuple):
    """A phase of one attempt at a test; outside of tests, all fields are None."""

    test: str | None = None
    attempt: int | None = None
    phase: str | None = None


class WallClock:
    """Converts moments of the monotonic clock to times of day, and back.

    ``time.time`` is a class attribute for the reason that ``Clock`` gives.
    """

    _now = staticmethod(time.time)

    def __init__(self, clock: Clock) -> None:
        self._offset = self._now() - clock.monotonic()

    def at(self, moment: float) -> str:
        """Return the time of a moment on the monotonic clock, by this machine's clock."""
        return iso(datetime.fromtimestamp(self._offset + moment, timezone.utc))

    def monotonic(self, time: datetime) -> float:
        """Return the moment on the monotonic clock, in seconds, of a time by this machine's clock."""
        return time.timestamp() - self._offset


def iso(time: datetime) -> str:
    """Return a time in UTC as text, to the millisecond."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(time: str) -> int:
    """Return a time of a report in milliseconds. Python 3.10 does not parse its "Z"."""
    return round(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000)


def identity_text(row: ProcessInfo) -> str:
    """Identify one run that was listed, as text: handle, pid and start in milliseconds."""
    started = int(row.started_at.timestamp() * 1000)
    return f"{'-' if row.handle is None else row.handle}/{row.pid}/{started}"
