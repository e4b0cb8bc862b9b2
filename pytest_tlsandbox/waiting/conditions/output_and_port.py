"""Conditions that check whether a process is listed, what it has written, and its port."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_tlsandbox.errors import Inconclusive, InfrastructureError, RequestRefused
from pytest_tlsandbox.formatting.processes import short_name
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, newest_with_pid
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import PortState
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.conditions.status_and_fields import Stays
from pytest_tlsandbox.waiting.results import CORRECTION_TIME, Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.selectors import SUCCESSOR_TIME, Selection, label_of
from pytest_tlsandbox.waiting.suggestions import regex_hint


class IsListed(ProcessCondition):
    """A condition that is met if the process is listed, whether it is alive or has ended."""

    wanted = "a process"
    waits = False
    pick_hint = ""

    def fits(self, row: ProcessInfo) -> bool:
        return not row.ended

    def ended(self, row: ProcessInfo, _selection: Selection) -> Result:
        return self.met(row)

    def alive(self, row: ProcessInfo) -> Result:
        return self.met(row)


class HasOutput(IsListed):
    """A condition that is met if the process is listed and its output can still be read."""

    def met(self, row: ProcessInfo) -> Result:
        return _lost_output(row, self.selector.history.last) or Met(row)


@dataclass(eq=False, repr=False)
class HasWritten(ProcessCondition):
    """A condition that is met if a line of output contains a text or matches a regex.

    The value of the result is this line. A sandbox may list a process as ended before it stores the
    last output of the process. For this reason, even after the process has ended, the
    condition remains possible while the output keeps growing.

    Attributes:
        pattern: the text or the regex.
        read: a function that returns all lines that the process with a pid has written so far.

    """

    pattern: str | re.Pattern[str]
    read: Callable[[int], list[str]]
    _lines: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        text = self.pattern if isinstance(self.pattern, str) else ""
        self._search = re.compile(re.escape(text) if text else self.pattern)
        self._label = label_of(self.pattern)
        self._hint = regex_hint(text)
        self.wanted = f"a line with {self._label}"

    def alive(self, row: ProcessInfo) -> Result:
        return self._search_output(row) or Pending(lambda: self._not_written(row))

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        found = self._search_output(row)
        if found is not None:
            return found
        explanation = self._explain_end(row)
        what = f"{explanation.what} without printing {self._label}"
        because = f"none of its {count(self._lines, 'line')} of output matches"
        explanation = explanation._replace(what=what, wanted="", because=because)
        settling_time = SUCCESSOR_TIME if selection.successors else CORRECTION_TIME
        return Impossible(explanation, settling_time, key=(row.identity, self._lines))

    def _hint_after(self, _row: ProcessInfo) -> str:
        return self._hint

    def _search_output(self, row: ProcessInfo) -> Result | None:
        """Return a result if a line matches or the output is unreadable. Otherwise, return None."""
        lost = _lost_output(row, self.selector.history.last)
        if lost is not None:
            return lost
        try:
            # Search all lines again, because new lines of stdout come before old lines of stderr.
            lines = self.read(row.pid)
        except InfrastructureError as fault:
            return _failed_call(fault, f"Output of {short_name(row)} not read", row)
        self._lines = len(lines)
        line = next((line for line in lines if self._search.search(line)), None)
        return None if line is None else Met(line)

    def _not_written(self, row: ProcessInfo) -> Explanation:
        what, hint = f"No line with {self._label}", self._hint
        if not self._lines:
            hint = "use python -u or PYTHONUNBUFFERED=1 if Python buffers its output"
        return self._explain_delay(what, row, hint)


@dataclass(eq=False, repr=False)
class AcceptsConnections(Stays):
    """A condition that is met if a port accepts connections while the process runs.

    If the selected process ends or is restarted, the condition can no longer be met.

    Attributes:
        port: the port.
        probe: a function that connects to the port of a process once.

    """

    statuses: tuple[str, ...] = field(default=("running",), init=False)
    port: int = field(kw_only=True)
    probe: Callable[[ProcessInfo, int], PortState] = field(kw_only=True)
    waits = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._port = f"port {self.port}"
        self._taken = f"another process uses {self._port}"
        self.wanted = f"connections on {self._port}"

    def met(self, row: ProcessInfo) -> Result:
        met = super().met(row)
        try:
            state = self.probe(row, self.port)
        except InfrastructureError as fault:
            without_tunnel = isinstance(fault, RequestRefused)
            hint = "start it with health_check=, and use wait_for_process(process, healthy=True)"
            return _failed_call(fault, f"Cannot probe {self._port}", row, hint * without_tunnel)
        if state == "open":
            return met
        what = self._taken.capitalize() if state == "taken" else f"No connection on {self._port}"
        return Pending(lambda: self._explain_delay(what, row), until_end_of=row, probes=True)

    def _explain_end(self, row: ProcessInfo) -> Explanation:
        """Explain the end of the process, and mention whether another process has the port."""
        explanation = super()._explain_end(row)
        with contextlib.suppress(InfrastructureError):  # the addition is optional
            if self.probe(row, self.port) != "closed":
                subject = f"{explanation.subject}; {self._taken}"
                return explanation._replace(subject=subject, wanted="", fields=())
        return explanation


def _failed_call(fault: InfrastructureError, what: str, row: ProcessInfo, hint: str = "") -> Result:
    """Return a pending result after a transient error, and an impossible result otherwise."""
    cause, _, because = str(fault).partition("\n")
    explanation = Explanation(type(fault), what, cause, because=because, process=row, hint=hint)
    return Pending(lambda: explanation) if fault.transient else Impossible(explanation)


def _lost_output(row: ProcessInfo, snapshot: ProcessSnapshot | None) -> Impossible | None:
    """Return an inconclusive result if the process is no longer listed with its pid.

    In this case, the selected process's output can no longer be read.
    """
    newest = newest_with_pid(snapshot, row.pid)
    if newest is not None and newest.identity.same_run(row.identity):
        return None
    now = "no listed process" if newest is None else "another process"
    because = f"{now} has pid {row.pid} now, and output is requested by pid"
    what, name, hint = "Output lost", short_name(row), "read the output before the process ends"
    return Impossible(Explanation(Inconclusive, what, name, "", because, row, hint=hint))
