"""The conditions on what a process writes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import Inconclusive, InfrastructureError, UnexpectedExit, WaitTimedOut
from pytest_tlsandbox.formatting.words import count, named
from pytest_tlsandbox.messages.failure import Explanation, Field
from pytest_tlsandbox.waiting.conditions.one_process import OneProcess
from pytest_tlsandbox.waiting.conditions.process import IsListed
from pytest_tlsandbox.waiting.conditions.results import (
    CORRECTION_TIME,
    SUCCESSOR_TIME,
    Impossible,
    Met,
    Pending,
    Verdict,
    regex_hint,
)
from pytest_tlsandbox.waiting.selectors import Selector, label_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.history.history import History
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick
    from pytest_tlsandbox.waiting.selectors import Selection


def output_lost(row: ProcessInfo, snapshot: ProcessSnapshot) -> Explanation | None:
    """Say that the output of a run cannot be read any more: it is told by pid, which is another's."""
    newest = [other for other in snapshot if other.pid == row.pid][-1]
    if newest.identity.same_run(row.identity):
        return None
    return Explanation(
        Inconclusive,
        f"Not read: the output of {named(row)}",
        because=f"pid {row.pid} is another process's by now, and output is asked for by pid",
        process=row,
        hint="read it before the process has ended, or give it a name",
    )


class HasOutput(IsListed):
    """It is listed, and what it has written can be read."""

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        verdict = super().judge(snapshot)
        lost = output_lost(verdict.value, snapshot) if isinstance(verdict, Met) else None
        return verdict if lost is None else Impossible(lost)


class HasWritten(OneProcess):
    """A line of its output has a text, or fits a regex; gives the line.

    ``read`` gives all lines that a process has written so far. A sandbox may list the end of a
    process before it has stored all of its output: the end counts when that stopped growing.
    """

    wants_an_end = False

    def __init__(
        self,
        selector: Selector,
        history: History,
        pattern: str | re.Pattern[str],
        read: Callable[[ProcessInfo], list[str]],
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, history, pick)
        self._search = re.compile(re.escape(pattern) if isinstance(pattern, str) else pattern)
        self._label = label_of(pattern)
        self._hint = regex_hint(pattern) if isinstance(pattern, str) else ""
        self._read = read
        self._snapshot: ProcessSnapshot
        self._lines = 0
        self.wanted = f"a line with {self._label}"

    def fits(self, row: ProcessInfo) -> bool:  # noqa: ARG002 - its output tells, not the row
        return False

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:  # noqa: ARG002 - none was asked for
        return ()

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        self._snapshot = snapshot
        return super().judge(snapshot)

    def waiting(self, row: ProcessInfo) -> Verdict:
        return self._search_output(row) or Pending(lambda: self._not_written(row))

    def _ended(self, row: ProcessInfo, selection: Selection) -> Verdict:
        found = self._search_output(row)
        if found is not None:
            return found
        stands_for = SUCCESSOR_TIME if selection.successors else CORRECTION_TIME
        finding = replace(
            self._end_finding(row, doubt=False),
            because=f"it has ended, and wrote no such line in {count(self._lines, 'line')}",
        )
        if finding.error is UnexpectedExit:
            finding = replace(finding, hint=f"{self._hint}the rest of its output: output(process)")
        return Impossible(finding, stands_for, key=(row.identity, self._lines))

    def _search_output(self, row: ProcessInfo) -> Verdict | None:
        """Look through all lines; a fault that may pass is no end of the wait."""
        lost = output_lost(row, self._snapshot)
        if lost is not None:
            return Impossible(lost)
        try:
            # All, not what is new: stdout comes first, and grows before what stderr has.
            lines = self._read(row)
        except InfrastructureError as fault:
            finding = Explanation(
                type(fault),
                f"Not read: the output of {named(row)}",
                because=str(fault),
                process=row,
            )
            return Pending(lambda: finding) if fault.transient else Impossible(finding)
        self._lines = len(lines)
        line = next((line for line in lines if self._search.search(line)), None)
        return None if line is None else Met(line)

    def _not_written(self, row: ProcessInfo) -> Explanation:
        buffered = "is its output buffered? python -u and PYTHONUNBUFFERED=1 write at once; "
        return Explanation(
            WaitTimedOut,
            f"Not written: {self._label} by {named(row)}",
            because=f"{count(self._lines, 'line')} so far, and none has it"
            if self._lines
            else "it has written nothing",
            process=row,
            hint=self._hint
            + (buffered if not self._lines else "")
            + "a longer timeout=, if it only needs more time",
        )
