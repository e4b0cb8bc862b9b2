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

    def add(self, fault: SandboxFault, ended: float) -> None:
        """Take in one more."""
        self.end = ended
        label, count = self.faults[-1] if self.faults else ("", 0)
        if label == fault.label:
            self.faults[-1] = (label, count + 1)
        else:
            self.faults.append((fault.label, 1))


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
        self._first: ProcessSnapshot | None = None

    def __repr__(self) -> str:
        self._fold_first()
        return f"<Timeline: {self.looks} looks at {len(self._changes)} processes>"

    def add(self, snapshot: ProcessSnapshot) -> list[tuple[ProcessInfo, Change]]:
        """Take in a good look; give what has changed since the one before."""
        at = snapshot.begun - self.start
        changed: list[tuple[ProcessInfo, Change]] = []
        if self.last is None:
            self._first = snapshot
        elif snapshot.processes is not self.last.processes:
            self._fold_first()
            changed = self._take_in(snapshot, self.looks)
        self.looks += 1
        self.last = snapshot
        self._time_in_looks += snapshot.ended - snapshot.begun
        if self._in_outage:
            self.outages[-1].end = at  # nothing was seen until this look
        self._in_outage = False
        return changed

    def add_fault(self, fault: SandboxFault, begun: float, ended: float) -> None:
        """Take in a look that failed."""
        if not self._in_outage:
            self.outages.append(Outage(begun - self.start, ended - self.start))
        self.outages[-1].add(fault, ended - self.start)
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
        self._fold_first()
        return self._changes.get(_followed(process), [])

    def _fold_first(self) -> None:
        """Take in the first look, put off until it matters: most judgements need no second one."""
        if self._first is not None:
            self._take_in(self._first, 0)
            self._first = None

    def _take_in(self, snapshot: ProcessSnapshot, look: int) -> list[tuple[ProcessInfo, Change]]:
        at = snapshot.begun - self.start
        changed = []
        listed: dict[Hashable, ProcessInfo] = {_followed(row): row for row in snapshot}
        for key, row in listed.items():
            before = self._rows.get(key)
            if row is not before and row != before:
                moment = row.ended_at if row.ended else row.started_at
                change = Change(at, describe_state(row), look, moment)
                changed += self._note(key, row, change)
        for key in self._rows.keys() - listed.keys():
            changed += self._note(key, self._rows[key], Change(at, NOT_LISTED, look))
        self._rows = listed
        return changed

    def _note(
        self, key: Hashable, row: ProcessInfo, change: Change
    ) -> list[tuple[ProcessInfo, Change]]:
        """Keep a change, if it is one; gives it again then."""
        changes = self._changes.setdefault(key, [])
        if changes and changes[-1].state == change.state:
            return []
        changes.append(change)
        return [(row, change)]


def _followed(row: ProcessInfo) -> Hashable:
    """Give what stays the same over the restarts of a managed process, and for others the run."""
    return row.managed.id if row.managed else row.identity
