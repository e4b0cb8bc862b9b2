"""What a condition is, its three results, and the conditions on the whole list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pytest_tlsandbox.errors import Inconclusive, WaitTimedOut
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, living_first
from pytest_tlsandbox.messages.explanation import Explanation, Listed

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable

SUCCESSOR_TIME = 2.0
"""Grace period in seconds for a successor, once all processes that a text selects have ended."""
CORRECTION_TIME = 1.0
"""Settling time in seconds of a doubtful end, and of a row that vanished or cannot be read."""
SETTLING_TIME = 0.2
"""Settling time in seconds of a negative assertion while a process in question is alive."""
MORE_MEMORY = (
    "more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the process"
)
WHY_IT_ENDS = "what it wrote last says why it ends"
MORE_TIME = "a longer timeout=, if it only needs more time"


@dataclass(frozen=True)
class Met:
    """The condition is met. ``unsettled`` explains that it was not met for long enough."""

    value: Any
    settling_time: float = 0.0
    key: Hashable = None
    longest_gap: float | None = None
    """Seconds between two polls after which the settling time begins anew; None: never."""
    unsettled: Explanation | None = None


@dataclass(frozen=True)
class Pending:
    """The condition may yet be met. ``explain`` says what is missing if the deadline comes first."""

    explain: Callable[[], Explanation]


@dataclass(frozen=True)
class Impossible:
    """The condition can no longer be met."""

    explanation: Explanation
    settling_time: float = 0.0
    key: Hashable = None

    def explain(self) -> Explanation:
        """Return why."""
        return self.explanation


Result: TypeAlias = Met | Pending | Impossible


class Condition(Protocol):
    """Evaluates one snapshot after the other."""

    wanted: str
    """What is expected, in words."""

    def evaluate(self, snapshot: ProcessSnapshot, /) -> Result:
        """Return the result for a snapshot."""


class Listing:
    """Any snapshot meets it."""

    wanted = "a list of processes"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the snapshot."""
        return Met(snapshot)


class Until:
    """A function of the user returns a true value."""

    def __init__(self, function: Callable[[ProcessSnapshot], Any]) -> None:
        self._function = function
        self._name = getattr(function, "__name__", type(function).__name__)
        self.wanted = f"{self._name} to be true"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Call the function. What it raises ends the wait."""
        value = self._function(snapshot)
        return Met(value) if value else Pending(lambda: self._never(value, snapshot))

    def _never(self, value: object, snapshot: ProcessSnapshot) -> Explanation:
        return Explanation(
            WaitTimedOut,
            f"Never true: {self._name}",
            remarks=(("last", f"it gave {value!r}"),),
            listed=tuple(Listed(row) for row in living_first(snapshot)),
            listed_as=f"of {count(len(snapshot), 'process')}",
            hint=MORE_TIME,
        )


def unreadable_rows(
    snapshot: ProcessSnapshot,
    baseline: ProcessSnapshot | None,
    pids: Container[int | None] | None = None,
) -> Impossible | None:
    """Return that rows cannot be read, so that nothing negative can be said; None if all can.

    Rows that could not be read at the baseline do not matter. ``pids``: only a row with one of
    these, or with a pid that cannot be read, matters.
    """
    known = {row.fingerprint for row in baseline.unreadable} if baseline is not None else set()
    rows = [
        row
        for row in snapshot.unreadable
        if row.fingerprint not in known and (pids is None or row.pid is None or row.pid in pids)
    ]
    if not rows:
        return None
    explanation = Explanation(
        Inconclusive,
        f"Not observed: {count(len(rows), 'row')} of {snapshot.sandbox} cannot be read",
        because="a process that cannot be read may be the one",
        remarks=tuple(("unreadable", str(row)) for row in rows[:5]),
        hint="a newer plugin, if the sandbox is newer; GET /api/v1/processes shows the row",
    )
    return Impossible(explanation, CORRECTION_TIME)
