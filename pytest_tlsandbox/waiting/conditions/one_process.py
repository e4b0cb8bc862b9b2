"""What the conditions on one process share: to choose among matches, to tell why none fits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import (
    AmbiguousProcess,
    Inconclusive,
    ProcessNotFound,
    ProcessOOMKilled,
    UnexpectedExit,
    WaitTimedOut,
)
from pytest_tlsandbox.formatting.states import describe_state
from pytest_tlsandbox.formatting.words import capitalized, count, named, seconds
from pytest_tlsandbox.messages.failure import Explanation, Field, Listed
from pytest_tlsandbox.types import CRASH_SIGNALS
from pytest_tlsandbox.waiting.conditions.results import (
    CORRECTION_TIME,
    MORE_MEMORY,
    SUCCESSOR_TIME,
    WHY_IT_ENDS,
    Impossible,
    Met,
    Pending,
    Verdict,
    not_found,
    still,
    unreadable_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.history.history import History
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick
    from pytest_tlsandbox.waiting.selectors import Selection, Selector


_SAID_BY_SHELLS = {
    126: "a shell exits 126 where it may not run a program: is it executable?",
    127: "a shell exits 127 where it finds no such program: is it installed, and on PATH?",
    137: "a shell exits 137 where its child was SIGKILLed, as by an OOM kill: "
    "assert_no_oom(suspected=True)",
}


class OneProcess:
    """Judges the one process that a selector means."""

    wanted: str
    wants_an_end: bool
    waits = True
    """A process may be yet to come."""
    pick_hint = ', or pick="newest"'

    def __init__(self, selector: Selector, history: History, pick: Pick | None) -> None:
        self._selector = selector
        self._history = history
        self._pick = pick

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        """Judge one look."""
        selection = self._selector.select(snapshot)
        fitting = [row for row in selection.matches if self.fits(row)]
        if fitting:
            if len(fitting) > 1 and self._pick is None:
                return self._ambiguous(fitting)
            row = self._choose(fitting)
            if self.wants_an_end and self._is_lost(row):
                return Impossible(self._end_finding(row, doubt=True), CORRECTION_TIME, row.identity)
            return self.satisfied(row)
        if selection.gone:
            return self._unreadable(snapshot) or self._gone(selection.last_seen)
        if not selection.matches:
            return self._missing(snapshot, selection)
        if selection.living:
            if len(selection.living) > 1 and self._pick is None:
                return self._ambiguous(selection.living)
            row = self._choose(selection.living)
            return self.waiting(row)
        return self._ended(self._choose(selection.matches), selection)

    def fits(self, row: ProcessInfo) -> bool:
        """Tell whether a process is as wanted."""
        raise NotImplementedError

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        """Set what was wanted beside what is."""
        raise NotImplementedError

    def satisfied(self, row: ProcessInfo) -> Verdict:
        """Give the verdict for a process that fits."""
        stands_for = CORRECTION_TIME if self._open_to_doubt(row) else 0.0
        return Met(row, stands_for, key=row.identity)

    def waiting(self, row: ProcessInfo) -> Verdict:
        """Give the verdict for a living process that does not fit."""
        hint = "a longer timeout=, if it only needs more time"
        if row.managed and row.ended:
            hint = f"{WHY_IT_ENDS}; its supervisor starts it again"
        return Pending(
            lambda: Explanation(
                WaitTimedOut,
                still(row),
                process=row,
                fields=self.fields(row),
                hint=hint,
            )
        )

    def declare(self, row: ProcessInfo) -> None:
        """Record that the test expects what it asked for by name, so that the guard does not fail it."""

    def _open_to_doubt(self, row: ProcessInfo) -> bool:
        run = self._history.run_of(row)
        return self.wants_an_end and run is not None and run.may_be_corrected

    def _is_lost(self, row: ProcessInfo) -> bool:
        """Return whether the sandbox lost the end that the row shows."""
        run = self._history.run_of(row)
        return run is not None and run.end is not None and run.end.lost

    def _was_sent(self, row: ProcessInfo, number: int | None) -> bool:
        run = self._history.run_of(row)
        return run is not None and run.was_sent(number)

    def _choose(self, rows: Sequence[ProcessInfo]) -> ProcessInfo:
        return rows[0] if self._pick == "oldest" else rows[-1]

    def _ambiguous(self, rows: Sequence[ProcessInfo]) -> Impossible:
        return Impossible(
            Explanation(
                AmbiguousProcess,
                f"{len(rows)} processes are meant by {self._selector.label}",
                because="exactly one is needed, and these match",
                listed=tuple(Listed(row) for row in rows),
                hint="a longer text, a pid, by(...)" + self.pick_hint,
            )
        )

    def _unreadable(self, snapshot: ProcessSnapshot) -> Impossible | None:
        """Tell a row that cannot be read from one that is gone."""
        if not any(row.pid == self._selector.pid for row in snapshot.unreadable):
            return None
        return unreadable_rows(snapshot, None, {self._selector.pid})

    def _gone(self, row: ProcessInfo | None) -> Impossible:
        name = self._selector.label if row is None else named(row)
        return Impossible(
            Explanation(
                ProcessNotFound,
                f"Gone: {name} is no longer listed",
                because=f"wanted {self.wanted}; how it ended cannot be known",
                process=row,
                hint="was the sandbox or its daemon restarted, or the process removed by a kill?",
            ),
            stands_for=CORRECTION_TIME,
        )

    def _missing(self, snapshot: ProcessSnapshot, selection: Selection) -> Verdict:
        if self.waits:
            return Pending(lambda: not_found(self._selector, snapshot, selection))
        return Impossible(not_found(self._selector, snapshot, selection))

    def _ended(self, row: ProcessInfo, selection: Selection) -> Verdict:
        doubt = self._open_to_doubt(row)
        finding = self._end_finding(row, doubt=doubt)
        stands_for = SUCCESSOR_TIME if selection.successors else CORRECTION_TIME if doubt else 0.0
        if selection.successors:
            finding = replace(
                finding, because=f"it has ended, and nothing followed within {SUCCESSOR_TIME:g} s"
            )
        if selection.older:
            before = ("before", f"{count(len(selection.older), 'other')} ended before this test")
            finding = replace(finding, remarks=(*finding.remarks, before))
        return Impossible(finding, stands_for, key=row.identity)

    def _end_finding(self, row: ProcessInfo, *, doubt: bool) -> Explanation:
        finding = Explanation(
            UnexpectedExit,
            self._end_headline(row),
            because="it has ended",
            process=row,
            fields=self.fields(row),
            hint=self._hint_after(row),
        )
        if row.oom_killed or row.state == "oom_killed":
            whose = "" if row.state == "oom_killed" else "a child of "
            return replace(
                finding,
                error=ProcessOOMKilled,
                headline=f"OOM-killed: {whose}{named(row)}, wanted {self.wanted}",
            )
        if doubt:
            return replace(
                finding,
                error=Inconclusive,
                headline=f"Unknown end: {named(row)} {describe_state(row)}",
                because=f"{_unknown_in_words(row)}, and did not within {CORRECTION_TIME:g} s",
                hint="run it again: the sandbox loses the end of a few processes in a thousand",
            )
        run = self._history.run_of(row)
        if run is not None and run.gave_up and row.managed:
            restarts = count(row.managed.restart_count, "restart")
            return replace(
                finding,
                because=f"its supervisor gave up after {restarts}",
                hint=WHY_IT_ENDS,
            )
        return finding

    def _end_headline(self, row: ProcessInfo) -> str:
        state = describe_state(row)
        if self.wants_an_end or row.lifetime is None:
            return f"{capitalized(state)}: {named(row)}, wanted {self.wanted}"
        ran = f"ran {seconds(row.lifetime.total_seconds())} and {state}"
        return f"Ended already: {named(row)} {ran}, wanted {self.wanted}"

    def _hint_after(self, row: ProcessInfo) -> str:
        """Say what to try after an end that was not wanted."""
        if row.oom_killed or row.state == "oom_killed":
            return MORE_MEMORY
        if row.exit_code in _SAID_BY_SHELLS:
            return _SAID_BY_SHELLS[row.exit_code]
        if row.signal is not None and self._was_sent(row, row.signal):
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


def _unknown_in_words(row: ProcessInfo) -> str:
    if row.state == "exited":
        return "the sandbox does not say how it really ended"
    if row.signal is None:
        return "the sandbox does not name the signal"
    return "the sandbox gives this signal to good ends as well, and may put it right"
