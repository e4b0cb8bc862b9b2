"""Choose the process that a condition is about, and explain why the condition is not met."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import headline_of_end, living_state, short_name
from pytest_tlsandbox.formatting.text import count, seconds
from pytest_tlsandbox.messages.explanation import Explanation, Field, Listed
from pytest_tlsandbox.types import CRASH_SIGNALS
from pytest_tlsandbox.waiting.conditions.condition import (
    CORRECTION_TIME,
    MORE_MEMORY,
    RUN_AGAIN,
    SUCCESSOR_TIME,
    Impossible,
    Met,
    Pending,
    Result,
    after_a_crash,
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
    126: 'make the program executable: exit code 126 of a shell means "permission denied"',
    127: 'check PATH and the spelling of the program: exit code 127 of a shell means "not found"',
    137: "look for an OOM kill: a shell exits 137 if SIGKILL ended its child",
}


class ProcessCondition:
    """A condition on the one process that a selector selects.

    Attributes:
        wanted: the expectation in words, for messages.
        wants_an_end: whether the process is expected to end; if so, an uncertain exit is
            inconclusive.
        waits: whether the condition is pending, and not impossible, while the process is not listed
            yet.
        pick_hint: the last part of the hint if several processes match.

    """

    wanted: str
    wants_an_end = False
    waits = True
    pick_hint = '; or pass pick="newest" if several are expected'

    def __init__(self, selector: Selector, pick: Pick | None = None) -> None:
        self._selector = selector
        self._history = selector.history
        self._pick = pick
        self._first: ProcessSnapshot | None = None

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the result of the condition for a snapshot.

        If several processes match and ``pick`` is None, the result is ``Impossible``.
        """
        self._first = snapshot if self._first is None else self._first
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
        """Return the fields with their expected and actual values, for the message."""
        return ()

    def met(self, row: ProcessInfo) -> Result:
        """Return the result for a process that meets the condition."""
        settling_time = CORRECTION_TIME if self._may_be_corrected(row) else 0.0
        return Met(row, settling_time, key=row.identity)

    def alive(self, row: ProcessInfo) -> Result:
        """Return the result for a living process that does not meet the condition."""
        pending = self._pending(f"Still {living_state(row)}", row)
        return replace(pending, until_end_of=row if self.wants_an_end and not row.ended else None)

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        """Return the result for an ended process that does not meet the condition."""
        doubt = self._may_be_corrected(row)
        explanation = self._explain_end(row, doubt=doubt)
        settling_time = CORRECTION_TIME if doubt else 0.0
        if selection.successors:
            settling_time = SUCCESSOR_TIME
            label = self._selector.label
            alone = f"no other process matching {label} appeared within {SUCCESSOR_TIME:g} s"
            because = "; ".join(filter(None, (explanation.because, alone)))
            explanation = replace(explanation, because=because)
        if selection.older:
            older = ("earlier", f"{count(len(selection.older), 'match')} ended before this test")
            explanation = replace(explanation, remarks=(*explanation.remarks, older))
        return Impossible(explanation, settling_time, key=row.identity)

    def declare(self, row: ProcessInfo) -> None:
        """Record which incidents the test expects, so that the guard does not report them."""

    def _explain(
        self,
        error: type[errors.TLSandboxError],
        what: str,
        row: ProcessInfo,
        hint: str = "",
        because: str = "",
        wanted: str | None = None,
    ) -> Explanation:
        return Explanation(
            error,
            what,
            short_name(row),
            self.wanted if wanted is None else wanted,
            because,
            process=row,
            fields=self.fields(row),
            hint=hint,
            output=True,
        )

    def _explain_delay(self, what: str, row: ProcessInfo, hint: str = "") -> Explanation:
        """Explain that a living process has not done something before the deadline."""
        explanation = self._explain(errors.WaitTimedOut, what, row, hint, wanted="")
        return replace(explanation, subject=f"{explanation.subject}, still {living_state(row)}")

    def _pending(self, what: str, row: ProcessInfo, hint: str = "", because: str = "") -> Pending:
        return Pending(lambda: self._explain(errors.WaitTimedOut, what, row, hint, because))

    def _lost_end(self, row: ProcessInfo) -> Impossible:
        return Impossible(self._explain_end(row, doubt=True), CORRECTION_TIME, row.identity)

    def _is_lost(self, row: ProcessInfo) -> bool:
        """Return whether the sandbox lost an exit code that the condition needs."""
        run = self._history.run_of(row)
        return self.wants_an_end and run is not None and run.end is not None and run.end.lost

    def _may_be_corrected(self, row: ProcessInfo) -> bool:
        run = self._history.run_of(row)
        return self.wants_an_end and run is not None and run.may_be_corrected

    def _had_ended(self, row: ProcessInfo) -> bool:
        """Return whether the process had ended at the first poll of the wait."""
        first = self._first.find(row.identity) if self._first is not None else None
        return first is not None and first.ended

    def _was_sent_its_signal(self, row: ProcessInfo) -> bool:
        run = self._history.run_of(row)
        return run is not None and row.signal in run.sent

    def _choose(self, rows: Sequence[ProcessInfo]) -> ProcessInfo:
        return rows[0] if self._pick == "oldest" else rows[-1]

    def _ambiguous(self, rows: Sequence[ProcessInfo]) -> Impossible:
        return Impossible(
            Explanation(
                errors.AmbiguousProcess,
                f"{len(rows)} processes match {self._selector.label}",
                wanted="exactly one",
                listed=tuple(Listed(row) for row in rows),
                hint="a longer text, a pid or by(...) as the selector" + self.pick_hint,
            )
        )

    def _unreadable(self, snapshot: ProcessSnapshot) -> Impossible | None:
        """Return an inconclusive result if the row of the process is listed but unreadable."""
        if not any(row.pid == self._selector.pid for row in snapshot.unreadable):
            return None
        return unreadable_rows(snapshot, None, {self._selector.pid}, f"for {self.wanted}")

    def _gone(self, row: ProcessInfo | None) -> Result:
        explanation = Explanation(
            errors.ProcessNotFound,
            "Disappeared from the process list",
            self._selector.label if row is None else short_name(row),
            self.wanted,
            because="how it ended is unknown, and its output is gone; another client may have killed it, "
            "or the sandbox daemon may have restarted",
            process=row,
        )
        return Impossible(explanation, CORRECTION_TIME)

    def _explain_end(self, row: ProcessInfo, *, doubt: bool = False) -> Explanation:
        what = headline_of_end(row)
        if row.oom_killed or row.state == "oom_killed":
            return self._explain(errors.ProcessOOMKilled, what, row, MORE_MEMORY)
        if doubt:
            what, because = _unknown_end(row)
            repeated = row.state == "exited" and self.wanted == "an exit code"
            wanted = "" if repeated else None
            return self._explain(errors.Inconclusive, what, row, RUN_AGAIN, because, wanted)
        foreign = row.signal not in (None, *CRASH_SIGNALS) and not self._was_sent_its_signal(row)
        if foreign:
            what += " (not by this test)"
        run = self._history.run_of(row)
        gave_up = row.managed if run is not None and run.gave_up else None
        if gave_up is not None:
            restarts = count(gave_up.restart_count, "restart")
            what = f"Gave up after {restarts} ({what[:1].lower()}{what[1:]})"
        elif not self.wants_an_end and self._had_ended(row):
            what += " before the wait began"
        elif not self.wants_an_end and row.lifetime is not None:
            what += f" after {seconds(row.lifetime.total_seconds())}"
        return self._explain(
            errors.UnexpectedExit,
            what,
            row,
            self._hint_after(row),
            "",
            self.wanted.removeprefix("exit code ")
            if row.state == "exited" and gave_up is None
            else None,
        )

    def _hint_after(self, row: ProcessInfo) -> str:
        """Return the hint for a process that ended unexpectedly."""
        if row.oom_killed or row.state == "oom_killed":
            return MORE_MEMORY
        if row.exit_code in _HINTS_FOR_SHELLS:
            return _HINTS_FOR_SHELLS[row.exit_code]
        if row.signal is not None and self._was_sent_its_signal(row):
            return 'wait_for_process(process, status="signaled") if this signal should end it'
        if row.signal in CRASH_SIGNALS:
            return after_a_crash(row)
        if row.exit_code == 0 and not self.wants_an_end:
            return "wait_for_exit() instead, if it should end"
        return ""


def _unknown_end(row: ProcessInfo) -> tuple[str, str]:
    """Return what is known about an end that the sandbox did not correct, and why it is unknown."""
    waited = f"within {CORRECTION_TIME:g} s"
    if row.state == "exited":
        return f"Exited, but no exit code was reported {waited}", ""
    if row.signal is None:
        return "Ended in an unknown way", f"the sandbox did not name the signal {waited}"
    because = (
        "sandboxes report SIGHUP for some processes that exited, and correct it later; this one was "
        f"not corrected {waited}"
    )
    return "Ended in an unknown way", because
