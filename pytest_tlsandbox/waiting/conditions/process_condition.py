"""The base class of conditions on one process: it chooses a match and explains its end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import describe_going_on, describe_state, named
from pytest_tlsandbox.formatting.text import capitalized, count, seconds
from pytest_tlsandbox.messages.explanation import Explanation, Field, Listed
from pytest_tlsandbox.types import CRASH_SIGNALS
from pytest_tlsandbox.waiting.conditions.condition import (
    CORRECTION_TIME,
    MORE_MEMORY,
    MORE_TIME,
    SUCCESSOR_TIME,
    WHY_IT_ENDS,
    Impossible,
    Met,
    Pending,
    Result,
    unreadable_rows,
)
from pytest_tlsandbox.waiting.suggestions import not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick
    from pytest_tlsandbox.waiting.selectors import Selection, Selector


_HINTS_FOR_SHELLS = {
    126: "a shell exits 126 where it may not run a program: is it executable?",
    127: "a shell exits 127 where it finds no such program: is it installed, and on PATH?",
    137: "a shell exits 137 where its child was SIGKILLed, as by an OOM kill: "
    "assert_no_oom(suspected=True)",
}


class ProcessCondition:
    """Evaluates the one process that a selector selects.

    Attributes:
        wanted: the expectation in words, for messages.
        wants_an_end: whether the process is expected to end, so that an uncertain end matters.
        waits: whether a process that is not listed yet leaves the condition pending.
        pick_hint: the end of the hint if several processes match.

    """

    wanted: str
    wants_an_end = False
    waits = True
    pick_hint = ', or pick="newest"'

    def __init__(self, selector: Selector, pick: Pick | None = None) -> None:
        self._selector = selector
        self._history = selector.history
        self._pick = pick

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the result; impossible if several processes match and none is picked."""
        selection = self._selector.select(snapshot)
        fitting = [row for row in selection.matches if self.fits(row)]
        candidates = fitting or selection.living
        if len(candidates) > 1 and self._pick is None:
            return self._ambiguous(candidates)
        if fitting:
            row = self._choose(fitting)
            return self._lost_end(row) if self._is_lost(row) else self.met(row)
        if selection.gone:
            return self._unreadable(snapshot) or self._gone(selection.last_seen)
        if candidates:
            return self.alive(self._choose(candidates))
        if selection.matches:
            return self.ended(self._choose(selection.matches), selection)
        explain = partial(not_found, self._selector, snapshot, selection)
        return Pending(explain) if self.waits else Impossible(explain())

    def fits(self, row: ProcessInfo) -> bool:  # noqa: ARG002
        """Return whether a process meets the condition."""
        return False

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:  # noqa: ARG002
        """Return expected and actual values, for the message."""
        return ()

    def met(self, row: ProcessInfo) -> Result:
        """Return the result for a process that meets the condition."""
        settling_time = CORRECTION_TIME if self._may_be_corrected(row) else 0.0
        return Met(row, settling_time, key=row.identity)

    def alive(self, row: ProcessInfo) -> Result:
        """Return the result for a living process that does not meet the condition."""
        hint = f"{WHY_IT_ENDS}; its supervisor starts it again"
        return self._pending(
            f"Still {describe_going_on(row)}", row, hint if row.managed and row.ended else MORE_TIME
        )

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        """Return the result for an ended process that does not meet the condition."""
        doubt = self._may_be_corrected(row)
        explanation = self._explain_end(row, doubt=doubt)
        settling_time = CORRECTION_TIME if doubt else 0.0
        if selection.successors:
            settling_time = SUCCESSOR_TIME
            explanation = replace(
                explanation,
                because=f"it has ended, and nothing followed within {SUCCESSOR_TIME:g} s",
            )
        if selection.older:
            before = ("before", f"{count(len(selection.older), 'other')} ended before this test")
            explanation = replace(explanation, remarks=(*explanation.remarks, before))
        return Impossible(explanation, settling_time, key=row.identity)

    def declare(self, row: ProcessInfo) -> None:
        """Record the incidents that the test asked for, so that the guard does not report them."""

    def _explain(
        self,
        error: type[errors.TLSandboxError],
        headline: str,
        row: ProcessInfo,
        hint: str,
        because: str = "",
    ) -> Explanation:
        return Explanation(
            error, headline, because, process=row, fields=self.fields(row), hint=hint
        )

    def _pending(self, headline: str, row: ProcessInfo, hint: str) -> Pending:
        return Pending(lambda: self._explain(errors.WaitTimedOut, headline, row, hint))

    def _lost_end(self, row: ProcessInfo) -> Impossible:
        return Impossible(self._explain_end(row, doubt=True), CORRECTION_TIME, row.identity)

    def _is_lost(self, row: ProcessInfo) -> bool:
        """Return whether the condition needs the end of this process and the sandbox lost it."""
        run = self._history.run_of(row)
        return self.wants_an_end and run is not None and run.end is not None and run.end.lost

    def _may_be_corrected(self, row: ProcessInfo) -> bool:
        run = self._history.run_of(row)
        return self.wants_an_end and run is not None and run.may_be_corrected

    def _was_sent_its_signal(self, row: ProcessInfo) -> bool:
        run = self._history.run_of(row)
        return run is not None and run.was_sent(row.signal)

    def _choose(self, rows: Sequence[ProcessInfo]) -> ProcessInfo:
        return rows[0] if self._pick == "oldest" else rows[-1]

    def _ambiguous(self, rows: Sequence[ProcessInfo]) -> Impossible:
        return Impossible(
            Explanation(
                errors.AmbiguousProcess,
                f"{len(rows)} processes are meant by {self._selector.label}",
                because="exactly one is needed, and these match",
                listed=tuple(Listed(row) for row in rows),
                hint="a longer text, a pid, by(...)" + self.pick_hint,
            )
        )

    def _unreadable(self, snapshot: ProcessSnapshot) -> Impossible | None:
        """Return the inconclusive result if the row of the process is listed but unreadable."""
        if not any(row.pid == self._selector.pid for row in snapshot.unreadable):
            return None
        return unreadable_rows(snapshot, None, {self._selector.pid})

    def _gone(self, row: ProcessInfo | None) -> Impossible:
        name = self._selector.label if row is None else named(row)
        explanation = Explanation(
            errors.ProcessNotFound,
            f"Gone: {name} is no longer listed",
            because=f"wanted {self.wanted}; how it ended cannot be known",
            process=row,
            hint="was the sandbox or its daemon restarted, or the process removed by a kill?",
        )
        return Impossible(explanation, CORRECTION_TIME)

    def _explain_end(self, row: ProcessInfo, *, doubt: bool = False) -> Explanation:
        name, state = named(row), describe_state(row)
        if row.oom_killed or row.state == "oom_killed":
            whose = "" if row.state == "oom_killed" else "a child of "
            headline = f"OOM-killed: {whose}{name}, wanted {self.wanted}"
            return self._explain(
                errors.ProcessOOMKilled, headline, row, MORE_MEMORY, "it has ended"
            )
        if doubt:
            return self._explain(
                errors.Inconclusive,
                f"Unknown end: {name} {state}",
                row,
                "run it again: the sandbox loses the end of a few processes in a thousand",
                f"{_why_unknown(row)}, and did not within {CORRECTION_TIME:g} s",
            )
        if self.wants_an_end or row.lifetime is None:
            headline = f"{capitalized(state)}: {name}, wanted {self.wanted}"
        else:
            ran = f"ran {seconds(row.lifetime.total_seconds())} and {state}"
            headline = f"Ended already: {name} {ran}, wanted {self.wanted}"
        hint, because = self._hint_after(row), "it has ended"
        run = self._history.run_of(row)
        if run is not None and run.gave_up and row.managed:
            restarts = count(row.managed.restart_count, "restart")
            hint, because = WHY_IT_ENDS, f"its supervisor gave up after {restarts}"
        return self._explain(errors.UnexpectedExit, headline, row, hint, because)

    def _hint_after(self, row: ProcessInfo) -> str:
        """Return the hint for an unexpected end."""
        if row.oom_killed or row.state == "oom_killed":
            return MORE_MEMORY
        if row.exit_code in _HINTS_FOR_SHELLS:
            return _HINTS_FOR_SHELLS[row.exit_code]
        if self._was_sent_its_signal(row):
            return (
                'wait_for_process(process, status="signaled"), if that is the end that was meant: '
                "this test sent the signal"
            )
        if row.signal in CRASH_SIGNALS:
            return "python -X faulthandler, or the program's own way to say where it crashed"
        if row.signal is not None:
            return "who sent the signal? this test did not"
        if not self.wants_an_end:
            return "wait_for_exit(process), if it is to end"
        return f"exit_code={row.exit_code}, if it is to end so" if row.exit_code else ""


def _why_unknown(row: ProcessInfo) -> str:
    if row.state == "exited":
        return "the sandbox does not say how it really ended"
    if row.signal is None:
        return "the sandbox does not name the signal"
    return "the sandbox gives this signal to good ends as well, and may put it right"
