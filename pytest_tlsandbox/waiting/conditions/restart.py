"""A condition that is met if a supervisor has restarted one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import AssertionFailed, WaitTimedOut
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.history.incidents import RESTART
from pytest_tlsandbox.waiting.conditions.condition import Impossible, Pending, Result
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.selectors import Selector

if TYPE_CHECKING:
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.waiting.selectors import Selection


@dataclass(eq=False, repr=False)
class WasRestarted(ProcessCondition):
    """A condition that is met after a given number of restarts of one process.

    Only restarts after a given position in the history count. Restarts that this plugin requested
    do not count.
    """

    restarts: int
    position: int

    def __post_init__(self) -> None:
        self.wanted = count(self.restarts, "restart")

    def fits(self, row: ProcessInfo) -> bool:
        return self._restarts(row) >= self.restarts

    def alive(self, row: ProcessInfo) -> Result:
        if row.managed is None:
            hint = "start it with name= or restart="
            return Impossible(self._explain(AssertionFailed, "Has no supervisor", row, hint))
        # From now on, follow this process over its restarts, even if it was selected by its pid.
        self.selector = Selector(row, self.selector.history)
        what = count(self._restarts(row), "restart")
        explanation = self._explain(WaitTimedOut, what, row, wanted=str(self.restarts))
        return Pending(lambda: explanation, until_end_of=None if row.ended else row)

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        restarts_later = row.managed is not None and row.managed.status != "stopped"
        one_run = selection.each_run and restarts_later
        return self.alive(row) if one_run else super().ended(row, selection)

    def declare(self, row: ProcessInfo) -> None:
        for run in self._restarted_runs(row):
            run.declared |= {RESTART}

    def _restarts(self, row: ProcessInfo) -> int:
        return sum(run.times for run in self._restarted_runs(row))

    def _restarted_runs(self, row: ProcessInfo) -> list[Run]:
        own = self._run_of(row)
        return [
            incident.run
            for incident in self.selector.history.incidents(self.position)
            if incident.kind == RESTART
            and own is not None
            and incident.run.generation is own.generation
            and not (incident.run.restarted_here or incident.run.assumed)
        ]
