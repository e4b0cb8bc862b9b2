"""A condition for the number of matching processes that are running."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import describe_end
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.waiting.conditions.condition import SUCCESSOR_TIME, Impossible, Met, Pending
from pytest_tlsandbox.waiting.suggestions import not_found

if TYPE_CHECKING:
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.waiting.conditions.condition import Result
    from pytest_tlsandbox.waiting.selectors import Selection, Selector


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
                "process must be a selector that can match several processes (text, a regex, by(...) "
                f"or a function); got {self.selector.label}"
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
        states = Counter(describe_end(row) if row.ended else row.state for row in rows)
        what = f"{count(states.pop('running', 0), 'process')} running"
        others = [f"{number}x {state}" if number > 1 else state for state, number in states.items()]
        subject = self.selector.label + (f"; the others: {', '.join(others)}" if others else "")
        listed = tuple(Listed(row, output=row.ended) for row in rows)
        return Explanation(error, what, subject, str(self.number), listed=listed)
