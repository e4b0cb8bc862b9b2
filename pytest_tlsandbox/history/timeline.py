"""The timeline of a wait, which contains its polls, outages and state changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter

from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.runs import Change
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo


@dataclass
class Outage:
    """A series of failed polls without a successful poll between them.

    Attributes:
        start: when its first poll was sent, in seconds since the wait began.
        end: when it ended, or when its last poll failed, in seconds since the wait began.
        faults: the label of the error of each failed poll, in order.

    """

    start: float
    end: float = field(init=False)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        series = [(label, len([*same])) for label, same in groupby(self.faults)]
        return ", then ".join(f"{label} x{n}" if n > 1 else label for label, n in series)

    def add(self, fault: InfrastructureError, ended: float) -> None:
        """Record a failed poll that ended ``ended`` seconds after the start of the wait."""
        self.end = ended
        self.faults.append(fault.label)


class Timeline:
    """The polls and outages of one wait.

    Args:
        start: when the wait began, in seconds of the monotonic clock.
        history: the history of the sandbox.

    Attributes:
        start: when the wait began, in seconds of the monotonic clock.
        history: the history of the sandbox.
        outages: the outages, oldest first.
        outage: the outage that has not ended yet; None if the last poll succeeded.
        looks: the number of successful polls.
        time_in_looks: the total duration of the successful polls, in seconds.
        last: the snapshot of the last successful poll; None if no poll succeeded.

    """

    def __init__(self, start: float, history: History) -> None:
        self.start = start
        self.outages: list[Outage] = []
        self.outage: Outage | None = None
        self.last: ProcessSnapshot | None = None
        self.history = history
        self.looks = 0
        self._looked_at: list[float] = []
        self.time_in_looks = 0.0

    def add(self, snapshot: ProcessSnapshot) -> None:
        """Record the snapshot of a successful poll."""
        self.last = snapshot
        self.looks += 1
        self._looked_at.append(snapshot.begun)
        self.time_in_looks += snapshot.ended - snapshot.begun
        if self.outage is not None:
            self.outage.end = snapshot.begun - self.start  # the outage lasts until this poll
            self.outage = None

    def add_fault(self, fault: InfrastructureError, begun: float, ended: float) -> None:
        """Record a failed poll.

        Args:
            fault: the error of the poll.
            begun: when the poll began, in seconds of the monotonic clock.
            ended: when the poll ended, in seconds of the monotonic clock.

        """
        if self.outage is None:
            self.outage = Outage(begun - self.start)
            self.outages.append(self.outage)
        self.outage.add(fault, ended - self.start)

    def states(self, process: ProcessInfo) -> list[Change]:
        """Return the state changes of a process during this wait.

        Args:
            process: the process; the result includes earlier and later runs of the same generation.

        Returns:
            The changes, whose ``at`` is in seconds since the wait began.

        """
        run = self.history.run_of(process)
        if run is None or not self._looked_at:
            return []
        first, last = self._looked_at[0], self._looked_at[-1]
        changes = chain.from_iterable(each.changes for each in run.generation.runs)
        states: list[Change] = []
        for change in sorted(changes, key=attrgetter("at")):
            if change.at <= first:
                states.clear()  # of the states before the first poll, only the last one was seen
            if change.at <= last:
                states.append(change._replace(at=max(change.at, first) - self.start))
        return states
