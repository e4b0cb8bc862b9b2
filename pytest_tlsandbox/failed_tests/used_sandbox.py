"""Find new events in a sandbox while a test runs, and find the sandbox's current outage."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.formatting.text import printable

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_tlsandbox.connections import Connection
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.monitoring.plain_data import WallClock
    from pytest_tlsandbox.types import Stream

CLOCKS_DIFFER = 0.5
"""Tolerated difference, in seconds, between the clock of a sandbox and this machine's clock."""


class Outage(NamedTuple):
    """An interval in which no call to a sandbox succeeds.

    Attributes:
        sandbox: the sandbox.
        number: the number of outages of the sandbox so far, including this outage.
        since: when the first failed call began, in seconds of the monotonic clock.
        what: the error of the first failed call, in one line.

    """

    sandbox: UsedSandbox
    number: int
    since: float
    what: str


class UsedSandbox:
    """A sandbox that this session's tests use. The object observes the calls to the sandbox.

    Attributes:
        client: the client of the sandbox.
        history: the history of the sandbox.
        label: the name of the sandbox, for messages.
        shared: whether several xdist workers use the sandbox.
        outage: the outage that has not ended yet; None if the last call succeeded.
        begun: when the running test began, in seconds of the monotonic clock.
        position: the position in the history after which events are new, which is the start or the
            last failure of the test.
        since: the time of that position, in seconds of the monotonic clock.

    """

    def __init__(self, connection: Connection, wall_clock: WallClock) -> None:
        self.client, self.shared = connection.client, connection.shared
        self.history, self.label = self.client.history, self.client.label
        self.outage: Outage | None = None
        self._outages = 0
        self._wall_clock = wall_clock
        self.client.observers.append(self)
        self.begin_test()

    def begin_test(self) -> None:
        """Forget the data of the previous test."""
        self._polled = False
        self._started_before = len(self.history.started)
        self.forget_events()
        self.begun = self.since

    def forget_events(self) -> None:
        """Forget all earlier events, so that only later events count as new."""
        last = self.history.last
        self.position, self.since = self.history.position, self.client.clock.monotonic()
        self._earliest = self.since if last is None else last.begun - CLOCKS_DIFFER

    def call_failed(self, fault: InfrastructureError, begun: float) -> None:
        """Begin an outage, or continue the current outage."""
        if self.outage is None:
            self._outages += 1
            self.outage = Outage(self, self._outages, begun, printable(fault.first_line))
        fault.outage = self.outage

    def call_succeeded(self, begun: float) -> None:  # noqa: ARG002 - of the protocol
        """End the outage."""
        self.outage = None

    def output_read(self, pid: int, stream: Stream, lines: list[str]) -> None:
        """Ignore the output."""

    @property
    def was_called(self) -> bool:
        """Whether the running test has listed or started processes, or has tried to do so."""
        tried = self.outage is not None and self.outage.since > self.since
        return tried or self.history.position > self.position

    def poll_once(self, deadline: float) -> None:
        """List the processes, but at most once in each test."""
        left = deadline - self.client.clock.monotonic()
        if left > 0 and not self._polled:
            self._polled = True
            with contextlib.suppress(InfrastructureError):  # call_failed gets it
                self.client.poll(limit=left)

    def belongs_to_the_test(self, run: Run) -> bool:
        """Return whether an event of a run is attributed to the running test."""
        started = self.history.started[self._started_before :]
        return not self.shared or any(run.generation is each.generation for each in started)

    def time_of(self, moment: datetime | None, seen: float, run: Run) -> float | None:
        """Return the time at which an event happened, in seconds of the monotonic clock.

        If possible, the result is calculated from ``moment``. This is not possible if ``moment`` is
        None, or if the clocks differ so much that the calculated time cannot be true. In this case,
        the result is ``seen`` for a new event, and None for an old event. An event is old if it may
        have happened before the first list call.

        Args:
            moment: the time by the clock of the sandbox, if it is known.
            seen: when a list call first showed the event.
            run: the run that the event happened to.

        """
        at = None if moment is None else self._wall_clock.monotonic(moment)
        if at is not None and self._earliest <= at <= seen + CLOCKS_DIFFER:
            return at
        # Events that the very first list call showed may be old.
        first = self.history.first
        is_old = first is not None and seen <= first.begun and run not in self.history.started
        return None if is_old else seen
