"""Many looks, folded into the changes of state that they showed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_tlsandbox.status import describe_state

if TYPE_CHECKING:
    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.errors import SandboxFault
    from pytest_tlsandbox.identity import Identity
    from pytest_tlsandbox.snapshot import ProcessSnapshot

NOT_LISTED = "not listed"


@dataclass(frozen=True)
class Change:
    """From here on a process was in this state: ``at`` seconds after the first look began."""

    at: float
    state: str
    look: int


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
        self._changes: dict[Identity, list[Change]] = {}
        self._rows: dict[Identity, ProcessInfo] = {}
        self._in_outage = False

    def __repr__(self) -> str:
        return f"<Timeline: {self.looks} looks at {len(self._changes)} processes>"

    def add(self, snapshot: ProcessSnapshot) -> None:
        """Take in a good look."""
        at = snapshot.begun - self.start
        listed: dict[Identity, ProcessInfo] = {row.identity: row for row in snapshot}
        for identity, row in listed.items():
            if row != self._rows.get(identity):
                self._change(identity, at, describe_state(row))
        for identity in self._rows.keys() - listed.keys():
            self._change(identity, at, NOT_LISTED)
        self._rows = listed
        self.looks += 1
        self.last = snapshot
        self._time_in_looks += snapshot.ended - snapshot.begun
        self._in_outage = False

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
        """Give the states a process was seen in, oldest first."""
        return self._changes.get(process.identity, [])

    def _change(self, identity: Identity, at: float, state: str) -> None:
        changes = self._changes.setdefault(identity, [])
        if not changes or changes[-1].state != state:
            changes.append(Change(at, state, self.looks))
