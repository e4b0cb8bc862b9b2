"""The protocol ``Condition``, its three possible results, and conditions on a process list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from pytest_tlsandbox.errors import Inconclusive, WaitTimedOut
from pytest_tlsandbox.formatting.text import count, printable, shorten
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, living_first
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.waiting.selectors import Selector

SUCCESSOR_TIME = 2.0
"""Grace period in seconds for a successor after all processes that match a text have ended."""
CORRECTION_TIME = 1.0
"""Settling time in seconds if an exit is uncertain, or a row vanished or cannot be read."""
SETTLING_TIME = 0.2
"""Settling time in seconds for a negative assertion while a checked process is alive."""
_LONGEST_VALUE = 40
"""Maximum width, in columns, of a user's value in the first line of a message."""
MORE_MEMORY = "raise memory_mb of the sandbox if this memory use is expected"
RUN_AGAIN = "run the test again: sandboxes sometimes lose an exit code (a few in 1000)"


def after_a_crash(row: ProcessInfo) -> str:
    """Return a hint for a crashed process, or "" if there is no hint for its language."""
    python = "python" in row.command.rpartition("/")[2]
    return "use python -X faulthandler to see where the process crashed" if python else ""


@dataclass(frozen=True)
class Met:
    """The condition is met.

    Attributes:
        value: the value that the helper returns.
        settling_time: the seconds for which the result must not change before it counts.
        key: a value that identifies the result; two results are the same if their types and keys
            are equal.
        longest_gap: the maximum time between two polls, in seconds; after a longer gap, the
            settling time starts again.
        unsettled: the explanation to use if the deadline passes before the settling time is over.

    """

    value: Any
    settling_time: float = 0.0
    key: Hashable = None
    longest_gap: float = math.inf
    unsettled: Explanation | None = None


@dataclass(frozen=True)
class Pending:
    """The condition may still be met.

    Attributes:
        explain: a function that returns the explanation to use if the deadline passes.
        until_end_of: the only process whose end can change the result; None if other processes can
            change it too.
        probes: whether the result can also change because of something that the condition probes,
            and that the list does not show.

    """

    explain: Callable[[], Explanation]
    until_end_of: ProcessInfo | None = None
    probes: bool = False
    settling_time: ClassVar[float] = 0.0
    key: ClassVar[Hashable] = None


@dataclass(frozen=True)
class Impossible:
    """The condition can no longer be met.

    Attributes:
        explanation: why the condition can no longer be met.
        settling_time: the seconds for which the result must not change before it counts.
        key: a value that identifies the result; two results are the same if their types and keys
            are equal.

    """

    explanation: Explanation
    settling_time: float = 0.0
    key: Hashable = None

    def explain(self) -> Explanation:
        """Return why the condition can no longer be met."""
        return self.explanation


Result: TypeAlias = Met | Pending | Impossible


class Condition(Protocol):
    """Evaluates a series of snapshots, and may keep state between them."""

    wanted: str
    """The expectation in words, for messages."""

    def evaluate(self, snapshot: ProcessSnapshot, /) -> Result:
        """Return the result for a snapshot."""


class Listing:
    """A condition that every snapshot meets."""

    wanted = "a list of processes"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return a result whose value is the snapshot."""
        return Met(snapshot)


@dataclass(eq=False, repr=False)
class Until:
    """A condition that is met if the user's function returns a truthy value.

    The failure message lists living processes and processes that started after ``baseline``. The
    message does not list any other processes.
    """

    function: Callable[[ProcessSnapshot], Any]
    baseline: ProcessSnapshot | None = None

    def __post_init__(self) -> None:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        self._name = "the lambda" if name == "<lambda>" else name
        self.wanted = f"{self._name} to be true"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Call the function and return the result; an error from the function ends the wait."""
        value = self.function(snapshot)
        return Met(value) if value else Pending(lambda: self._never(value, snapshot))

    def _never(self, value: object, snapshot: ProcessSnapshot) -> Explanation:
        before = self.baseline
        rows = [
            row
            for row in living_first(snapshot)
            if not row.ended or before is None or before.find(row.identity) is None
        ]
        result = mask_text(repr(value))
        remarks = [("returned", result)] if len(result) > _LONGEST_VALUE else []
        source = _returned_expression(self.function)
        remarks += [("condition", source)] if source else []
        return Explanation(
            WaitTimedOut,
            "Condition not met",
            f"{printable(self._name)} returned {shorten(result, _LONGEST_VALUE)}",
            remarks=tuple(remarks),
            listed=tuple(map(Listed, rows)),
            listed_as="processes alive now or started in this test",
        )


def _returned_expression(function: Any) -> str:
    """Return the source of the expression that a function returns, with secrets masked.

    If the function does more than return an expression, the source is empty. For a lambda, the
    source is empty too, because the failure already shows the line of the test.
    """
    import ast
    import inspect
    import textwrap

    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError, TypeError):
        return ""
    body = definition.body if isinstance(definition, ast.FunctionDef) else []
    returned = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
    return "" if returned is None else mask_text(ast.unparse(returned))


def unreadable_rows(
    snapshot: ProcessSnapshot,
    baseline: ProcessSnapshot | None,
    selectors: Sequence[Selector],
    check: str,
) -> Impossible | None:
    """Return an inconclusive result if a check needs rows that cannot be read.

    Args:
        snapshot: the snapshot.
        baseline: a snapshot whose unreadable rows are ignored; None if all unreadable rows matter.
        selectors: the selectors of the check; if each is bound to one run, only the rows with their
            pids and the rows without a readable pid matter.
        check: the purpose of the check, such as "for OOM kills".

    Returns:
        The result; None if all needed rows can be read.

    """
    known = {row.fingerprint for row in baseline.unreadable} if baseline is not None else set()
    rows = [row for row in snapshot.unreadable if row.fingerprint not in known]
    pids = {selector.pid for selector in selectors}
    if pids and None not in pids:
        rows = [row for row in rows if row.pid is None or row.pid in pids]
    if not rows:
        return None
    listed = count(len(snapshot) + len(snapshot.unreadable), "row")
    what = f"Cannot check {check}: {len(rows)} of {listed} in the process list cannot be read"
    because = "an unreadable row may contain what this check looks for"
    remarks = tuple(("unreadable", str(row)) for row in rows[:5])
    hint = "update pytest-tlsandbox if the sandbox is newer; to see the row, send GET /api/v1/processes"
    explanation = Explanation(Inconclusive, what, because=because, remarks=remarks, hint=hint)
    return Impossible(explanation, CORRECTION_TIME)
