"""The condition that exactly the given number of matching processes run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import (
    InvalidArgument,
    ProcessOOMKilled,
    TLSandboxError,
    UnexpectedExit,
    WaitTimedOut,
)
from pytest_tlsandbox.formatting.processes import describe_end
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.waiting.conditions.condition import (
    SUCCESSOR_TIME,
    Impossible,
    Met,
    Pending,
    Result,
)
from pytest_tlsandbox.waiting.suggestions import not_found

if TYPE_CHECKING:
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.waiting.selectors import Selection, Selector


class NumberRuns:
    """Met if exactly ``number`` matching processes run.

    The value is the list of these processes.
    """

    def __init__(self, selector: Selector, number: int) -> None:
        if not selector.may_select_others:
            raise InvalidArgument(
                "process must be a selector that can match several processes (text, a regex, by(...) "
                f"or a function); got {selector.label}"
            )
        self._selector = selector
        self._number = number
        self.wanted = f"{number} running"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the result of the condition for a snapshot.

        If all matching processes have ended and none will be restarted, the result is impossible.
        """
        selection = self._selector.select(snapshot)
        running = [row for row in selection.matches if row.state == "running"]
        if len(running) == self._number:
            return Met(running)
        if selection.living or not selection.matches:
            return Pending(lambda: self._explain(WaitTimedOut, selection, snapshot))
        killed = any(row.oom_killed or row.state == "oom_killed" for row in selection.matches)
        error = ProcessOOMKilled if killed else UnexpectedExit
        explanation = self._explain(error, selection, snapshot)
        return Impossible(explanation, SUCCESSOR_TIME, key=len(selection.matches))

    def _explain(
        self, error: type[TLSandboxError], selection: Selection, snapshot: ProcessSnapshot
    ) -> Explanation:
        if not selection.matches:
            return not_found(self._selector, snapshot, selection)
        rows = sorted(selection.matches, key=lambda row: not row.ended)
        states = Counter(describe_end(row) if row.ended else row.state for row in rows)
        what = f"{count(states.pop('running', 0), 'process')} running"
        others = [f"{number}x {state}" if number > 1 else state for state, number in states.items()]
        return Explanation(
            error,
            what,
            self._selector.label + (f"; the others: {', '.join(others)}" if others else ""),
            str(self._number),
            listed=tuple(Listed(row, output=row.ended) for row in rows),
        )
