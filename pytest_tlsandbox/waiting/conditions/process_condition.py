"""Choose the process that a condition is about, and explain why the condition is not met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import living_state, short_name
from pytest_tlsandbox.formatting.text import seconds
from pytest_tlsandbox.history.runs import End, Generation, Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.messages.explanation import Explanation, Field, Listed
from pytest_tlsandbox.messages.incidents import used_restarts
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import CRASH_SIGNALS
from pytest_tlsandbox.waiting.conditions.process_list import unreadable_rows
from pytest_tlsandbox.waiting.results import CORRECTION_TIME, Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.selectors import SUCCESSOR_TIME, Selection, Selector
from pytest_tlsandbox.waiting.suggestions import MORE_MEMORY, RUN_AGAIN, after_a_crash, not_found

_HINTS_FOR_SHELLS = {
    126: 'make the program executable: exit code 126 of a shell means "permission denied"',
    127: 'check PATH and the spelling of the program: exit code 127 of a shell means "not found"',
    137: "look for an OOM kill: a shell exits 137 if SIGKILL ended its child",
}


@dataclass(eq=False, repr=False)
class ProcessCondition:
    """A condition on the one process that a selector selects.

    Attributes:
        selector: selects the process.
        wanted: the expectation in words, for messages.
        wants_an_end: whether the process is expected to end; if so, an uncertain exit is
            inconclusive.
        waits: whether the condition is pending, and not impossible, while the process is not listed
            yet, or while a successor of an ended process may appear.
        picks_first: whether one process is picked before the condition is checked. Otherwise, only
            processes that meet the condition are candidates, if there are any.
        pick_hint: the last part of the hint if several processes match.

    """

    selector: Selector
    wanted: str = field(init=False)
    wants_an_end: bool = field(default=False, init=False)
    waits: ClassVar[bool] = True
    picks_first: ClassVar[bool] = False
    pick_hint: ClassVar[str] = '; or pass pick="newest" if several processes are expected'
    _first: ProcessSnapshot | None = field(default=None, init=False)

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the result of the condition for a snapshot."""
        self._first = snapshot if self._first is None else self._first
        selection = self.selector.select(snapshot)
        fitting = [row for row in selection.matches if self.fits(row) and not self._is_lost(row)]
        candidates, at = fitting or selection.living, 0 if self.selector.pick == "oldest" else -1
        if self.picks_first:
            candidates = selection.living or fitting
        if len(candidates) > 1 and self.selector.pick is None:
            return self._ambiguous(candidates)
        if fitting and candidates[at] in fitting:
            return self.met(candidates[at])
        if selection.gone:
            unreadable = unreadable_rows(snapshot, None, {self.selector.pid}, f"for {self.wanted}")
            run = self.selector.bound_run
            return unreadable or self._gone(run.row if run else None)
        if candidates:
            return self.alive(candidates[at])
        if selection.matches:
            return self.ended(selection.matches[at], selection)
        explain = partial(not_found, self.selector, snapshot, selection)
        return Pending(explain) if self.waits else Impossible(explain())

    def fits(self, row: ProcessInfo) -> bool:  # noqa: ARG002
        """Return whether a process meets the condition."""
        return False

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:  # noqa: ARG002
        """Return the fields with their expected and actual values, for the message."""
        return ()

    def met(self, row: ProcessInfo) -> Result:
        """Return the result for a process that meets the condition."""
        return Met(row, self._correction_time(row), key=row.identity)

    def alive(self, row: ProcessInfo) -> Result:
        """Return the result for a living process that does not meet the condition."""
        what = f"Still {living_state(row)}"
        awaited = row if self.wants_an_end and not row.ended else None
        return Pending(lambda: self._explain(errors.WaitTimedOut, what, row), awaited)

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        """Return the result for an ended process that does not meet the condition."""
        explanation, settling_time = self._explain_end(row), self._correction_time(row)
        if selection.successors and self.waits:
            settling_time = SUCCESSOR_TIME
            label = self.selector.label
            alone = f"no other process matching {label} appeared within {SUCCESSOR_TIME:g} s"
            because = "; ".join(filter(None, (explanation.because, alone)))
            explanation = explanation._replace(because=because)
        return Impossible(explanation, settling_time, key=row.identity)

    def declare(self, row: ProcessInfo) -> None:
        """Record which incidents the test expects, so that the guard does not report them."""

    def _explain(
        self, error: type[errors.TLSandboxError], what: str, row: ProcessInfo, hint: str = ""
    ) -> Explanation:
        name, fields = short_name(row), self.fields(row)
        return Explanation(
            error, what, name, self.wanted, process=row, fields=fields, hint=hint, output=True
        )

    def _explain_delay(self, what: str, row: ProcessInfo, hint: str = "") -> Explanation:
        """Explain that a living process has not done something before the deadline."""
        explanation = self._explain(errors.WaitTimedOut, what, row, hint)
        subject = f"{explanation.subject}, still {living_state(row)}"
        return explanation._replace(subject=subject, wanted="")

    def _run_of(self, row: ProcessInfo) -> Run:
        """Return the run of a row.

        If the history does not know the row, because a list call of another thread overtook this
        one, the result is a run of which nothing is known.
        """
        return self.selector.history.run_of(row) or Run(Generation(None))

    def _is_lost(self, row: ProcessInfo) -> bool:
        """Return whether the sandbox lost an exit code that the condition needs."""
        end = self._run_of(row).end
        return self.wants_an_end and end is not None and end.lost

    def _correction_time(self, row: ProcessInfo) -> float:
        """Return for how many seconds the sandbox may still correct how the process ended."""
        uncertain = self.wants_an_end and self._run_of(row).may_be_corrected
        return CORRECTION_TIME if uncertain else 0.0

    def _ambiguous(self, rows: Sequence[ProcessInfo]) -> Impossible:
        what, error = f"{len(rows)} processes match {self.selector.label}", errors.AmbiguousProcess
        hint = "select by longer text, a pid or by(...)" + self.pick_hint
        listed = tuple(map(Listed, rows))
        return Impossible(Explanation(error, what, "", "exactly one", listed=listed, hint=hint))

    def _gone(self, row: ProcessInfo | None) -> Result:
        name = self.selector.label if row is None else short_name(row)
        because = (
            "how it ended is unknown, and its output is gone; another client may have killed it, or the "
            "sandbox daemon may have restarted"
        )
        what, error = "Disappeared from the process list", errors.ProcessNotFound
        explanation = Explanation(error, what, name, self.wanted, because, process=row)
        return Impossible(explanation, CORRECTION_TIME)

    def _explain_end(self, row: ProcessInfo) -> Explanation:
        what, run = End.of_row(row).headline, self._run_of(row)
        if row.oom_killed or row.state == "oom_killed":
            return self._explain(errors.ProcessOOMKilled, what, row, MORE_MEMORY)
        if self._correction_time(row):
            waited = f"within {CORRECTION_TIME:g} s"
            what, because = f"Exited, but no exit code was reported {waited}", ""
            if row.state != "exited":
                what = "Ended (cause unknown)"
                because = f"the sandbox did not confirm the signal {waited}"
            explanation = self._explain(errors.Inconclusive, what, row, RUN_AGAIN)
            return explanation._replace(because=because)
        if row.signal not in (None, *CRASH_SIGNALS, *run.sent):
            what += " (not by this test)"
        first = self._first.find(row.identity) if self._first is not None else None
        wanted = self.wanted.removeprefix("exit code ") if row.state == "exited" else self.wanted
        if run.gave_up and row.managed:
            what += f" ({used_restarts(row.managed.restart_count, row.managed)})"
            wanted = self.wanted
        elif not self.wants_an_end and first is not None and first.ended:
            what += " before the wait began"
        elif not self.wants_an_end and row.lifetime is not None:
            what += f" after {seconds(row.lifetime.total_seconds())}"
        explanation = self._explain(errors.UnexpectedExit, what, row, self._hint_after(row))
        return explanation._replace(wanted=wanted)

    def _hint_after(self, row: ProcessInfo) -> str:
        """Return the hint for a process that ended unexpectedly."""
        if row.oom_killed or row.state == "oom_killed":
            return MORE_MEMORY
        if row.exit_code in _HINTS_FOR_SHELLS:
            return _HINTS_FOR_SHELLS[row.exit_code]
        if row.signal in self._run_of(row).sent:
            return 'use wait_for_process(process, status="signaled") if this signal should end the process'
        if row.signal in CRASH_SIGNALS:
            return after_a_crash(row)
        if row.exit_code == 0 and not self.wants_an_end:
            return "use wait_for_exit() if the process should end"
        return ""
