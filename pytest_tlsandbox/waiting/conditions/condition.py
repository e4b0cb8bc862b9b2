"""The protocol of conditions, their three results, and the conditions on the whole list."""

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
"""Grace period in seconds for a successor after all processes that a text selects have ended."""
CORRECTION_TIME = 1.0
"""Settling time in seconds of an uncertain end and of a row that vanished or cannot be read."""
SETTLING_TIME = 0.2
"""Settling time in seconds of a negative assertion while a checked process is alive."""
MORE_MEMORY = (
    "more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the process"
)
WHY_IT_ENDS = "what it wrote last says why it ends"
MORE_TIME = "a longer timeout=, if it only needs more time"


@dataclass(frozen=True)
class Met:
    """The condition is met.

    Attributes:
        value: what the helper returns.
        settling_time: for how many seconds the result must not change before it counts.
        key: two results are the same if their types and keys are equal.
        longest_gap: seconds between two polls after which the settling time restarts; None: never.
        unsettled: the explanation if the deadline comes before the settling time is over.

    """

    value: Any
    settling_time: float = 0.0
    key: Hashable = None
    longest_gap: float | None = None
    unsettled: Explanation | None = None


@dataclass(frozen=True)
class Pending:
    """The condition may still be met; ``explain`` returns what is missing at the deadline."""

    explain: Callable[[], Explanation]


@dataclass(frozen=True)
class Impossible:
    """The condition can no longer be met.

    Attributes:
        explanation: why.
        settling_time: for how many seconds the result must not change before it counts.
        key: two results are the same if their types and keys are equal.

    """

    explanation: Explanation
    settling_time: float = 0.0
    key: Hashable = None

    def explain(self) -> Explanation:
        """Return why the condition can no longer be met."""
        return self.explanation


Result: TypeAlias = Met | Pending | Impossible


class Condition(Protocol):
    """Evaluates one snapshot after the other, and may keep state between them."""

    wanted: str
    """The expectation in words, for messages."""

    def evaluate(self, snapshot: ProcessSnapshot, /) -> Result:
        """Return the result for a snapshot."""


class Listing:
    """Met by any snapshot."""

    wanted = "a list of processes"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the result whose value is the snapshot."""
        return Met(snapshot)


class Until:
    """Met if a function of the user returns a truthy value."""

    def __init__(self, function: Callable[[ProcessSnapshot], Any]) -> None:
        self._function = function
        self._name = getattr(function, "__name__", type(function).__name__)
        self.wanted = f"{self._name} to be true"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Call the function and return the result; an error from the function ends the wait."""
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
    """Return the inconclusive result of a check on absence if rows cannot be read.

    Args:
        snapshot: the snapshot.
        baseline: a snapshot whose unreadable rows do not matter; None if all matter.
        pids: if set, only rows with one of these pids, or with an unreadable pid, matter.

    Returns:
        The result; None if all rows that matter can be read.

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
