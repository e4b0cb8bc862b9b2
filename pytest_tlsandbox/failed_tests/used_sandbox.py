"""Find out what happened in a sandbox while a test ran, and whether the sandbox is available."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from pytest_tlsandbox.client import api
from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.formatting.text import printable
from pytest_tlsandbox.history.incidents import CRASH, OOM, UNHEALTHY
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.messages.incidents import name_of, shown_row
from pytest_tlsandbox.monitoring.plain_data import WallClock
from pytest_tlsandbox.types import CRASH_SIGNALS

_CLOCKS_DIFFER = 0.5
"""Tolerated difference, in seconds, between the clock of a sandbox and this machine's clock."""
badness = ("sandbox", "oom", "crash", "exit", "restart", "none", "").index
"""Returns the rank of a kind of cause; the worst kind has the lowest rank."""


class Event(NamedTuple):
    """An event in a sandbox, for example the start of an outage, in which no call succeeds.

    Attributes:
        at: when the event happened, in seconds of this machine's monotonic clock.
        what: what happened, in words.
        kind: the kind of cause: "sandbox", "oom", "crash", "exit", "restart" or "none"; empty if
            the event cannot explain a failure.
        sandbox: the sandbox in which the event happened.
        run: the affected run; None if the event affected the whole sandbox.
        outage: for an outage, the sandbox's number of outages so far, including this outage.

    """

    at: float
    what: str
    kind: str
    sandbox: UsedSandbox
    run: Run | None = None
    outage: int = 0


class UsedSandbox(api.Observer):
    """A sandbox that this session's tests use. The object observes the calls to the sandbox.

    Attributes:
        client: the client of the sandbox.
        history: the history of the sandbox.
        label: the name of the sandbox, for messages.
        shared: whether several xdist workers use the sandbox.
        outage: the start of the outage that has not ended yet; None if the last call succeeded.

    """

    def __init__(self, connection: Connection, wall_clock: WallClock) -> None:
        self.client, self.shared = connection.client, connection.shared
        self.history, self.label = self.client.history, self.client.label
        self.outage: Event | None = None
        self._outages = 0
        self._wall_clock = wall_clock
        self.client.observers.append(self)
        self.begin_test()

    def begin_test(self) -> None:
        """Forget the data of the previous test."""
        self._polled = False
        self._started_before = len(self.history.started)
        self.forget_events()

    def forget_events(self) -> None:
        """Forget all earlier events, so that only later events count as new."""
        last = self.history.last
        self._position, self._since = self.history.position, self.client.clock.monotonic()
        self._earliest = self._since if last is None else last.begun - _CLOCKS_DIFFER

    def call_failed(self, fault: InfrastructureError, begun: float) -> None:
        """Begin an outage, or continue the current outage."""
        if self.outage is None:
            self._outages += 1
            what = printable(fault.first_line)
            self.outage = Event(begun, what, "sandbox", self, outage=self._outages)
        fault.outage = self.outage

    def call_succeeded(self, begun: float) -> None:  # noqa: ARG002 - of the base class
        """End the outage."""
        self.outage = None

    @property
    def was_called(self) -> bool:
        """Whether the running test has listed or started processes, or has tried to do so."""
        tried = self.outage is not None and self.outage.at > self._since
        return tried or self.history.position > self._position

    def poll_once(self, deadline: float) -> None:
        """List the processes, but at most once in each test."""
        left = deadline - self.client.clock.monotonic()
        if left > 0 and not self._polled:
            self._polled = True
            with contextlib.suppress(InfrastructureError):  # call_failed gets it
                self.client.poll(limit=left)

    def events(self, needed: Iterable[Run]) -> list[Event]:
        """Return what happened since the running test began.

        If the test has already failed, only events since its last failure are returned.

        Args:
            needed: the runs that fixtures of the test started; the end of such a run is always
                returned.

        """
        history = self.history
        events: list[Event] = []
        ends: dict[Run, float] = {}
        for run in history.runs():
            if run.over_at is not None and run.over_at > self._since:
                ends[run] = run.over_at
            elif run.first_seen > self._position and run is run.generation.runs[0]:
                began = self._time_of(shown_row(run).started_at, run.changes[0].at, run)
                if began is not None and self._belongs_to_the_test(run):
                    events.append(Event(began, "started", "", self, run))
        for incident in history.incidents(max(self._position, history.position_of(history.first))):
            run = incident.run
            if incident.kind != UNHEALTHY:
                ends.setdefault(run, incident.at)
            elif self._belongs_to_the_test(run):
                events.append(Event(incident.at, f"Unhealthy: {name_of(run)}", "none", self, run))
        for run in {each.generation.newest for each in needed if not each.generation.alive}:
            if run.over_at is not None and (kind_of(run) or run.ended_here):
                ends.setdefault(run, run.over_at)
        for run, seen in ends.items():
            at = self._time_of(run.end and run.end.ended_at, seen, run)
            if at is not None and not run.assumed:
                events.append(self._end(run, at))
        if history.replaced_at > self._position and history.last is not None:
            what = f"Another sandbox answers as {self.label}"
            events.append(Event(history.last.begun, what, "sandbox", self))
        if self.outage is not None:
            events.append(self.outage)
        return events

    def _end(self, run: Run, at: float) -> Event:
        kind, what = kind_of(run), _describe(run)
        if not self._belongs_to_the_test(run):
            kind, what = "", "ended in other tests"
        elif not kind:
            what = "killed by the tests" if run.ended_here else "ended normally"
        return Event(at, what, kind, self, run)

    def _belongs_to_the_test(self, run: Run) -> bool:
        """Return whether an event of a run is attributed to the running test."""
        started = self.history.started[self._started_before :]
        return not self.shared or any(run.generation is each.generation for each in started)

    def _time_of(self, moment: datetime | None, seen: float, run: Run) -> float | None:
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
        if at is not None and self._earliest <= at <= seen + _CLOCKS_DIFFER:
            return at
        # Events that the very first list call showed may be old.
        first = self.history.first
        is_old = first is not None and seen <= first.begun and run not in self.history.started
        return None if is_old else seen


def kind_of(run: Run) -> str:
    """Return the kind of cause if a run ended in an unexpected way, or "" otherwise."""
    end = run.end
    if end is not None and end.oom_killed:
        return "" if OOM in run.declared else "oom"
    if run.ended_here or not run.over:
        return ""
    if run.gave_up or (end is not None and end.signal in CRASH_SIGNALS):
        return "" if CRASH in run.declared else "crash"
    if end is not None and end.lost:
        return "none"
    if end is None or end.signal is not None or end.exit_code:
        return "exit"
    return "restart" if run.successor is not None and not run.restarted_here else ""


def _describe(run: Run) -> str:
    if run.end is None:
        text = "No longer listed" if run.is_newest else "End not seen"
    else:
        text = "End not known" if run.end.lost else run.end.headline
    gave_up = "; its supervisor gave up" if run.gave_up else ""
    return f"{text}{', then restarted' if run.successor else ''}{gave_up}: {name_of(run)}"
