"""The protocol of conditions, their three results, and the conditions on the whole list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pytest_tlsandbox.errors import Inconclusive, WaitTimedOut
from pytest_tlsandbox.formatting.text import count, printable, shorten
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, living_first
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable

    from pytest_tlsandbox.models import ProcessInfo

SUCCESSOR_TIME = 2.0
"""Grace period in seconds for a successor after all processes that a text selects have ended."""
CORRECTION_TIME = 1.0
"""Settling time in seconds of an uncertain end and of a row that vanished or cannot be read."""
SETTLING_TIME = 0.2
"""Settling time in seconds of a negative assertion while a checked process is alive."""
_LONGEST_VALUE = 40
"""Maximum width of a user's value in a first line, in columns."""
MORE_MEMORY = "give the sandbox more memory (memory_mb; --tlsandbox-memory for local)"
RUN_AGAIN = "run the test again: the sandbox loses the end of a few processes in a thousand"


def after_a_crash(row: ProcessInfo) -> str:
    """Return the hint after a crash of a process; empty if there is none for its language."""
    python = "python" in row.command.rpartition("/")[2]
    return "python -X faulthandler prints where it crashed" if python else ""


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
    """The condition may still be met.

    Attributes:
        explain: returns what is missing at the deadline.
        until_end_of: the process whose end the condition waits for, if that is all it waits for.

    """

    explain: Callable[[], Explanation]
    until_end_of: ProcessInfo | None = None


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
    """Met if a function of the user returns a truthy value.

    A message lists only the processes that are alive or began after ``baseline``.
    """

    def __init__(
        self,
        function: Callable[[ProcessSnapshot], Any],
        baseline: ProcessSnapshot | None = None,
    ) -> None:
        self._function = function
        name = getattr(function, "__name__", type(function).__name__)
        self._name = "the condition" if name == "<lambda>" else name
        self._baseline = baseline
        self.wanted = f"{self._name} to be true"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Call the function and return the result; an error from the function ends the wait."""
        value = self._function(snapshot)
        return Met(value) if value else Pending(lambda: self._never(value, snapshot))

    def _never(self, value: object, snapshot: ProcessSnapshot) -> Explanation:
        before = self._baseline
        rows = [
            row
            for row in living_first(snapshot)
            if not row.ended or before is None or before.find(row.identity) is None
        ]
        left_out = len(snapshot) - len(rows)
        result = mask_text(repr(value))
        remarks = [("ended", f"{count(left_out, 'process')} before this test")] if left_out else []
        remarks += [("returned", result)] if len(result) > _LONGEST_VALUE else []
        remarks += (
            [("condition", source)] if (source := _returned_expression(self._function)) else []
        )
        return Explanation(
            WaitTimedOut,
            f"{printable(self._name)} was still {shorten(result, _LONGEST_VALUE)}",
            remarks=tuple(remarks),
            listed=tuple(map(Listed, rows)),
            hint="return the value that the condition compares: this message shows it"
            if value is False or value is None
            else "",
        )


def _returned_expression(function: object) -> str:
    """Return the source of what a function returns last, masked; empty if it is not available.

    Failures show the line of the test, and so the whole of a lambda.
    """
    import ast
    import inspect
    import textwrap

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))  # type: ignore[arg-type]
    except (OSError, SyntaxError, TypeError):
        return ""
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value]
    return mask_text(ast.unparse(returns[-1])) if returns else ""


def unreadable_rows(
    snapshot: ProcessSnapshot,
    baseline: ProcessSnapshot | None,
    pids: Container[int | None] | None,
    check: str,
) -> Impossible | None:
    """Return the inconclusive result of a check if rows that it needs cannot be read.

    Args:
        snapshot: the snapshot.
        baseline: a snapshot whose unreadable rows do not matter; None if all matter.
        pids: if set, only rows with one of these pids, or with an unreadable pid, matter.
        check: what is checked, such as "for OOM kills".

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
    listed = len(snapshot) + len(snapshot.unreadable)
    explanation = Explanation(
        Inconclusive,
        f"Cannot check {check}: {len(rows)} of {count(listed, 'row')} in the list cannot be read",
        because="an unreadable row may be about the process in question",
        remarks=tuple(("unreadable", str(row)) for row in rows[:5]),
        hint="update pytest-tlsandbox if the sandbox is newer; GET /api/v1/processes shows the row",
    )
    return Impossible(explanation, CORRECTION_TIME)
