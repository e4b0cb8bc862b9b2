"""Conditions on the whole process list, and on rows that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.text import count, printable, shorten
from pytest_tlsandbox.history.runs import End
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, living_first
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.waiting.results import CORRECTION_TIME, Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.selectors import SUCCESSOR_TIME, Selection, Selector
from pytest_tlsandbox.waiting.suggestions import SEE_ROWS, not_found

_LONGEST_VALUE = 40
"""Maximum width, in columns, of a user's value in the first line of a message."""


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
        rows = living_first(snapshot)
        if self.baseline is not None:
            find = self.baseline.find
            rows = [row for row in rows if not row.ended or find(row.identity) is None]
        result = mask_text(repr(value))
        remarks = [("returned", result)] if len(result) > _LONGEST_VALUE else []
        source = _returned_expression(self.function)
        remarks += [("condition", source)] if source else []
        return Explanation(
            errors.WaitTimedOut,
            "Condition not met",
            f"{printable(self._name)} returned {shorten(result, _LONGEST_VALUE)}",
            remarks=tuple(remarks),
            listed=tuple(map(Listed, rows)),
            listed_as="processes alive now or started in this test",
        )


@dataclass(eq=False, repr=False)
class NumberRuns:
    """A condition that is met if exactly ``number`` matching processes are running.

    The value of the result is the list of these processes.
    """

    selector: Selector
    number: int

    def __post_init__(self) -> None:
        if not self.selector.may_select_others:
            raise errors.InvalidArgument(
                "argument 'process' must be a selector that can match several processes (text, a regex, "
                f"by(...) or a function); got {self.selector.label}"
            )
        self.wanted = f"{self.number} running"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the result of the condition for a snapshot.

        The result is ``Impossible`` if all matching processes have ended and none will be
        restarted.
        """
        selection = self.selector.select(snapshot)
        running = [row for row in selection.matches if row.state == "running"]
        if len(running) == self.number:
            return Met(running)
        if not selection.matches:
            return Pending(lambda: not_found(self.selector, snapshot, selection))
        if selection.living:
            return Pending(lambda: self._explain(errors.WaitTimedOut, selection))
        killed = any(row.oom_killed or row.state == "oom_killed" for row in selection.matches)
        error = errors.ProcessOOMKilled if killed else errors.UnexpectedExit
        explanation = self._explain(error, selection)
        return Impossible(explanation, SUCCESSOR_TIME, key=len(selection.matches))

    def _explain(self, error: type[errors.TLSandboxError], selection: Selection) -> Explanation:
        rows = sorted(selection.matches, key=lambda row: not row.ended)
        states = Counter(str(End.of_row(row)) if row.ended else row.state for row in rows)
        what = f"{count(states.pop('running', 0), 'process')} running"
        others = [f"{number}x {state}" if number > 1 else state for state, number in states.items()]
        subject = self.selector.label
        if others:
            subject += f"; {states.total()} not running ({', '.join(others)})"
        listed = tuple(Listed(row, output=row.ended) for row in rows)
        return Explanation(error, what, subject, str(self.number), listed=listed)


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
    snapshot: ProcessSnapshot, baseline: ProcessSnapshot | None, pids: set[int | None], check: str
) -> Impossible | None:
    """Return an inconclusive result if a check needs rows that cannot be read.

    Args:
        snapshot: the snapshot.
        baseline: a snapshot whose unreadable rows are ignored; None if all unreadable rows matter.
        pids: the pid of each selector of the check, or None if a selector is not bound to one run;
            if all pids are known, only rows with these pids or without a readable pid matter.
        check: the purpose of the check, such as "for OOM kills".

    Returns:
        The result; None if all needed rows can be read.

    """
    known = {row.fingerprint for row in baseline.unreadable} if baseline is not None else set()
    rows = [row for row in snapshot.unreadable if row.fingerprint not in known]
    if pids and None not in pids:
        rows = [row for row in rows if row.pid is None or row.pid in pids]
    if not rows:
        return None
    listed = count(len(snapshot) + len(snapshot.unreadable), "row")
    what = f"Cannot check {check}: {len(rows)} of {listed} in the process list cannot be read"
    because = "an unreadable row may contain what this check looks for"
    error, remarks = errors.Inconclusive, tuple(("unreadable", str(row)) for row in rows[:5])
    explanation = Explanation(error, what, because=because, remarks=remarks, hint=SEE_ROWS)
    return Impossible(explanation, CORRECTION_TIME)
