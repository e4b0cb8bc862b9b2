"""Many looks, folded into the changes of state that they showed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_tlsandbox.status import describe_state

if TYPE_CHECKING:
    from collections.abc import Hashable
    from datetime import datetime

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.errors import SandboxFault
    from pytest_tlsandbox.snapshot import ProcessSnapshot

NOT_LISTED = "not listed"


@dataclass(frozen=True, slots=True)
class Change:
    """From here on a process was in this state: ``at`` seconds after the first look began.

    ``moment`` is when it began by the sandbox's clock, where the sandbox tells.
    """

    at: float
    state: str
    look: int
    moment: datetime | None = None


@dataclass
class Outage:
    """Looks that failed, with none that succeeded between them. Times as in :class:`Change`."""

    start: float
    end: float
    faults: list[tuple[str, int]] = field(default_factory=list)
    """Labels in the order they came, each with how often it came in a row."""

    def __str__(self) -> str:
        return ", then ".join(f"{label} x{n}" if n > 1 else label for label, n in self.faults)


class Timeline:
    """What one wait saw.

    Attributes:
        looks: how many looks succeeded.
        outages: the streaks of looks that did not.
        last: the last good snapshot.

    """

    def __init__(self, start: float) -> None:
        self.start = start
        self.looks = 0
        self.outages: list[Outage] = []
        self.last: ProcessSnapshot | None = None
        self._time_in_looks = 0.0
        self._changes: dict[Hashable, list[Change]] = {}
        self._rows: dict[Hashable, ProcessInfo] = {}
        self._in_outage = False

    def __repr__(self) -> str:
        return f"<Timeline: {self.looks} looks at {len(self._changes)} processes>"

    def add(self, snapshot: ProcessSnapshot) -> list[tuple[ProcessInfo, Change]]:
        """Take in a good look; give what has changed since the one before."""
        at = snapshot.begun - self.start
        same = self.last is not None and snapshot.processes is self.last.processes
        changed = [] if same else self._take_in(snapshot, at)
        first = self.looks == 0
        self.looks += 1
        self.last = snapshot
        self._time_in_looks += snapshot.ended - snapshot.begun
        if self._in_outage:
            self.outages[-1].end = at  # nothing was seen until this look
        self._in_outage = False
        return [] if first else [(row, change) for row, change in changed if change is not None]

    def add_fault(self, fault: SandboxFault, begun: float, ended: float) -> None:
        """Take in a look that failed."""
        if not self._in_outage:
            self.outages.append(Outage(begun - self.start, ended - self.start))
        outage = self.outages[-1]
        outage.end = ended - self.start
        label, count = outage.faults[-1] if outage.faults else ("", 0)
        if label == fault.label:
            outage.faults[-1] = (label, count + 1)
        else:
            outage.faults.append((fault.label, 1))
        self._in_outage = True

    @property
    def outage(self) -> Outage | None:
        """The streak of failed looks that has not ended yet."""
        return self.outages[-1] if self._in_outage else None

    @property
    def faults(self) -> Counter[str]:
        """How often each fault was met."""
        total: Counter[str] = Counter()
        for outage in self.outages:
            for label, count in outage.faults:
                total[label] += count
        return total

    @property
    def seconds_a_look(self) -> float:
        """Mean time a good look took."""
        return self._time_in_looks / self.looks if self.looks else 0.0

    def changes(self, process: ProcessInfo) -> list[Change]:
        """Give the states a process was seen in, oldest first; a managed one over its restarts."""
        return self._changes.get(_followed(process), [])

    def _take_in(
        self, snapshot: ProcessSnapshot, at: float
    ) -> list[tuple[ProcessInfo, Change | None]]:
        changed = []
        listed: dict[Hashable, ProcessInfo] = {_followed(row): row for row in snapshot}
        for key, row in listed.items():
            before = self._rows.get(key)
            if row is not before and row != before:
                moment = row.ended_at if row.ended else row.started_at
                changed.append((row, self._change(key, at, describe_state(row), moment)))
        for key in self._rows.keys() - listed.keys():
            changed.append((self._rows[key], self._change(key, at, NOT_LISTED)))  # noqa: PERF401
        self._rows = listed
        return changed

    def _change(
        self, key: Hashable, at: float, state: str, moment: datetime | None = None
    ) -> Change | None:
        changes = self._changes.setdefault(key, [])
        if changes and changes[-1].state == state:
            return None
        changes.append(Change(at, state, self.looks, moment))
        return changes[-1]


def _followed(row: ProcessInfo) -> Hashable:
    """Give what stays the same over the restarts of a managed process, and for others the run."""
    return row.managed.id if row.managed else row.identity
