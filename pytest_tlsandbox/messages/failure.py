"""Render a failure as text.

The text shows the expected and the actual values, the last lines of output, other facts and a hint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.errors import Inconclusive, ProcessNotFound
from pytest_tlsandbox.formatting.processes import command_line, describe_end, process_table
from pytest_tlsandbox.formatting.text import (
    align,
    count,
    cut,
    fold,
    moment,
    printable,
    seconds,
    width,
    wrap,
)
from pytest_tlsandbox.messages.incidents import describe_run
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import UNKNOWN_EXIT_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.history.timeline import Timeline
    from pytest_tlsandbox.messages.explanation import Explanation
    from pytest_tlsandbox.models import ManagedProcess, ProcessInfo
    from pytest_tlsandbox.types import Screen

_INDENT = "  "
LONGEST_LINE = 4096
"""Maximum number of characters that a message shows of one line of output."""


class _Size(NamedTuple):
    """The size limits of a message, such as the maximum number of lines of output."""

    output: int
    changes: int
    rows: int
    command: int


_SIZES = {
    -1: _Size(3, 4, 5, 1),
    0: _Size(10, 8, 10, 2),
    1: _Size(40, 40, 40, 5),
    2: _Size(200, 400, 1000, 20),
}
MOST_OUTPUT = _SIZES[2].output
"""Maximum number of lines of output in the most verbose message."""
_LONGEST_HEADLINE = 100
"""Maximum width, in columns, of a first line that contains the last line of output."""
_ONLY_WITH_V = ("attempts",)
"""Labels of remarks that only verbose messages show, because they do not affect the result."""
_OUTPUT_OF_LIVING = 3
"""Number of lines of output from a living process, which show its progress."""
_Fact = tuple[str, "list[str]"]


@dataclass(frozen=True)
class OutputTail:
    """The last lines of a process's output.

    Attributes:
        stream: the label of the output in the message.
        lines: the last lines.
        total: the number of lines that the process has written.
        unread: why the output was not read; empty if it was read.

    """

    stream: str
    lines: tuple[str, ...] = ()
    total: int = 0
    unread: str = ""


@dataclass(frozen=True)
class Renderer:
    """Renders the messages of one wait.

    Attributes:
        timeline: the polls of the wait.
        screen: the terminal. The width of the terminal limits all lines of a message except the
            first. With verbosity -1, messages omit the process. With verbosity 1, messages contain
            facts about the polls and longer details. With verbosity 2, messages also list all
            processes.
        sandbox: the name of the sandbox.
        stopped: a text that says when or why the wait stopped. Only verbose messages contain this
            text. The text may be empty.

    """

    timeline: Timeline
    screen: Screen
    sandbox: str
    stopped: str = ""

    def render(self, explanation: Explanation, output: OutputTail | None = None) -> str:
        """Return the message of a failure: the first line, followed by details.

        Args:
            explanation: the result of the check.
            output: the process's last lines of output, if there are any to show.

        """
        lines = [_first_line(explanation, output), "", *self._output(explanation, output)]
        facts = [*self.facts(explanation, output), *self._facts_of_wait()]
        lines += self.evidence(explanation) + self.labelled(facts, explanation.hint)
        if self.screen.verbosity >= 2 and self.timeline.last:
            rows = self.timeline.last.processes
            table = process_table(rows, most=self._size.rows, columns=self._columns - 4)
            table += [f"unreadable {row}" for row in self.timeline.last.unreadable]
            lines.append(f"{_INDENT}all {count(len(rows), 'process')}")
            lines += [_INDENT * 2 + line for line in table]
        return "\n".join(line.rstrip() for line in lines).rstrip()

    def render_several(
        self,
        checks: Sequence[tuple[str, str, Explanation | None]],
        outputs: Mapping[int, OutputTail | None],
    ) -> str:
        """Return the message for several numbered checks, at least one of which failed.

        Args:
            checks: the name, the line in the test and the result of each check; the result is None
                if the check passed.
            outputs: the last lines of output from processes, by the ``id()`` of their explanation.

        """
        numbered = [(number, *check) for number, check in enumerate(checks, 1)]
        passed = [f"check {number} ({name})" for number, name, _, failed in numbered if not failed]
        failures = [(number, place, failed) for number, _, place, failed in numbered if failed]
        headlines = [_first_line(failed, outputs.get(id(failed))) for *_, failed in failures]
        so_many = f"{len(failures)} of {count(len(checks), 'check')} failed"
        lines = [f"{so_many}{'; the first' if len(failures) > 1 else ''}: {headlines[0]}", ""]
        inside = replace(self, screen=replace(self.screen, columns=self._columns - 5))
        hints = {""}
        most = self._size.rows
        for headline, (number, place, failed) in zip(headlines[:most], failures, strict=False):
            label = f"{_INDENT}check {number}  "
            first, *others = wrap(f"{place}: {headline}", self._columns - len(label))
            lines += [label + first, *(_INDENT * 4 + line for line in others)]
            facts = inside.facts(failed, None)
            if self.screen.verbosity <= 0:
                facts = [fact for fact in facts if fact[0] != "timeline"]  # "gaps" shows them
            hint = "" if failed.hint in hints else failed.hint
            hints.add(failed.hint)
            details = inside.evidence(failed) + inside.labelled(facts, hint)
            lines += [f"   {line}" for line in details]
        if len(failures) > most:
            lines.append(f"{_INDENT}... and {len(failures) - most} more failed")
        facts = []
        if passed and self.screen.verbosity >= 0:
            facts.append(("passed", wrap(", ".join(passed), self._columns - 11)))
        lines += self.labelled(facts + self._facts_of_wait(with_gaps=True))
        return "\n".join(line.rstrip() for line in lines).rstrip()

    @property
    def _size(self) -> _Size:
        return _SIZES[min(max(self.screen.verbosity, -1), 2)]

    @property
    def _columns(self) -> int:
        return self.screen.columns

    def _output(self, explanation: Explanation, output: OutputTail | None) -> list[str]:
        """Return the name of the stream, followed by the last lines of output.

        A vertical bar precedes each line of output.
        """
        if output is None or not output.lines:
            return []
        row, most = explanation.process, self._size.output
        if row is not None and not row.ended and self.screen.verbosity <= 0:
            most = _OUTPUT_OF_LIVING
        shown = output.lines[-most:]
        total = count(output.total, "line")
        extent = total if len(shown) == output.total else f"last {len(shown)} of {total}"
        lines = [f"{_INDENT}{output.stream}, {extent}"]
        for line in shown:
            masked, beyond = mask_text(line[:LONGEST_LINE]), max(len(line) - LONGEST_LINE, 0)
            first, *others = fold(masked, self._columns - 4, self._size.command, beyond=beyond)
            lines += [f"{_INDENT}| {first}", *(f"{_INDENT}  {part}" for part in others)]
        return lines

    def evidence(self, explanation: Explanation) -> list[str]:
        """Return lines that show the wrong fields, the reason, and the listed processes."""
        lines, verbose = [], self.screen.verbosity > 0
        fields = [field for field in explanation.fields if field.wrong or verbose]
        told = explanation.what + explanation.wanted
        in_headline = len(fields) == 1 and explanation.wanted and "…" not in told
        if fields and (verbose or not in_headline):
            room = max((self._columns - max(len(field.name) for field in fields) - 11) // 2, 20)
            rows = [("", "wanted", "was", "")]
            for field in fields:
                mark = "<" if field.wrong and verbose else ""
                rows.append((field.name, cut(field.wanted, room), cut(field.was, room), mark))
            lines += [_INDENT + line for line in align(rows)]
        if explanation.because:
            lines += [_INDENT + line for line in wrap(explanation.because, self._columns - 2)]
        if explanation.listed:
            listed = [item.row for item in explanation.listed]
            remarks = [item.remark for item in explanation.listed]
            title = explanation.listed_as
            if title and remarks[0] and len(remarks) > 1 and len({*remarks}) == 1:
                title, remarks = f"{title}: {remarks[0]}", []
            table = process_table(listed, remarks, most=self._size.rows, columns=self._columns - 4)
            lines += [_INDENT + title] if title else []
            lines += [_INDENT * 2 + line for line in table]
        return lines

    def facts(self, explanation: Explanation, output: OutputTail | None) -> list[_Fact]:
        """Return facts about the process, its output and the outages, each with its label."""
        row, run, outages = explanation.process, explanation.run, self.timeline.outages
        verbose = self.screen.verbosity > 0
        labels = ("timeline", *dict(explanation.remarks))
        room = self._columns - 4 - max(map(len, labels))
        facts: list[_Fact] = []
        if row is not None and self.screen.verbosity >= 0:
            line, beyond = command_line(row)
            facts.append(("process", fold(line, room, self._size.command, beyond=beyond)))
            told = f"pid {row.pid}, {_lifetime(row)}" if run is None else describe_run(run)
            facts.append(("run", wrap(told, room)))
            # The row of an earlier run contains an old state of the supervisor.
            managed = row.managed if run is None else run.generation.managed
            if managed is not None:
                told = _supervised(managed, run, briefly=not verbose)
                facts.append(("managed", wrap(told, room)))
            changed = changes(self.timeline, row, room, self._size.changes, briefly=not verbose)
            is_gone = explanation.error is ProcessNotFound
            if verbose or outages or len(changed) > 2 or is_gone:
                facts.append(("timeline", changed))
        elif outages and (verbose or explanation.error is Inconclusive):
            facts.append(("gaps", gaps(self.timeline, room, self._size.changes)))
        for label, text in explanation.remarks:
            if verbose or label not in _ONLY_WITH_V:
                facts.append((label, wrap(text, room)))
        if output is not None and not output.lines:
            text = f"not read: {output.unread}" if output.unread else "stderr and stdout are empty"
            facts.append(("output", [text]))
        return facts

    def _facts_of_wait(self, *, with_gaps: bool = False) -> list[_Fact]:
        """Return facts about the polls, the outages and the sandbox, if the message needs them."""
        facts: list[_Fact] = []
        if self.screen.verbosity > 0:
            text = "; ".join(filter(None, (polls(self.timeline), self.stopped)))
            facts.append(("polls", wrap(text, self._columns - 12)))
        if with_gaps and self.timeline.outages and self.screen.verbosity >= 0:
            facts.append(("gaps", gaps(self.timeline, self._columns - 12, self._size.changes)))
        if self.screen.verbosity > 0 or self.screen.several_sandboxes():
            facts.append(("sandbox", [self.sandbox]))
        return facts

    def labelled(self, facts: Sequence[_Fact], hint: str = "") -> list[str]:
        """Return the lines of facts and of a hint, and align their labels in a column."""
        if hint:
            labels = max(len(label) for label, _ in (*facts, ("hint", [])))
            facts = [*facts, ("hint", wrap(hint, self._columns - 4 - labels))]
        cells = [
            ("" if index else label, line)
            for label, lines in facts
            for index, line in enumerate(lines)
            if line
        ]
        return [_INDENT + line for line in align(cells)]


def _first_line(explanation: Explanation, output: OutputTail | None) -> str:
    """Return the headline, followed by the last line of output if there is enough room."""
    headline = printable(explanation.headline)
    written = [line for line in (output.lines if output else ()) if line.strip()]
    if not written or not explanation.subject:
        return headline
    last = printable(mask_text(written[-1].strip()[:LONGEST_LINE]))
    # If a process failed by itself, its last line of output is probably its error.
    row = explanation.process
    failed = row is not None and row.exit_code not in (None, 0, UNKNOWN_EXIT_CODE)
    whole = f"{headline}: {last}" if failed else f"{headline}; last output: {last}"
    return whole if width(whole) <= _LONGEST_HEADLINE else headline


def _lifetime(row: ProcessInfo) -> str:
    """Return how long an ended process ran, or the time at which a living process started."""
    if row.lifetime is not None and row.ended_at is not None:
        return f"ran {seconds(row.lifetime.total_seconds())} until {moment(row.ended_at)} UTC"
    return f"started {moment(row.started_at)} UTC"


def _supervised(managed: ManagedProcess, run: Run | None, *, briefly: bool) -> str:
    """Return a description of a supervisor's state.

    If ``run`` is not None, another part of the message describes that run. In this case, the
    description leaves out how the last run ended. The brief description is empty if the state does
    not explain a failure.
    """
    sound = managed.health_status in ("disabled", "healthy")
    if briefly and sound and not managed.restart_count and not managed.last_error:
        return ""
    parts = [managed.status]
    if managed.restart_count or not briefly:
        restarts = count(managed.restart_count, "restart")
        if managed.restart is not None and managed.restart.max_restarts is not None:
            restarts += f" (limit: {managed.restart.max_restarts})"
        parts.append(restarts)
        if managed.restart is not None:
            parts.append(f"policy: {managed.restart.policy}")
    last = managed.last_exit
    if last is not None and run is None and not briefly:
        at = f" at {moment(last.ended_at)}" if last.ended_at is not None else ""
        parts.append(f"last run: {describe_end(last)}{at}")
    if managed.health_status != "disabled":
        check = f" ({mask_text(managed.health_check)})" if managed.health_check else ""
        parts.append(f"health: {managed.health_status}{check}")
    if managed.last_error:
        parts.append(f"last error: {cut(mask_text(managed.last_error), 120)}")
    return ", ".join(parts)


def changes(
    timeline: Timeline, row: ProcessInfo, columns: int, most: int, *, briefly: bool = False
) -> list[str]:
    """Return lines that show when the state of a process changed, and when outages happened.

    The line for a state begins with the number of seconds from the start of the wait to the first
    poll that saw the state. Unless ``briefly`` is set, the line also shows two facts: the time at
    which the state began, by the clock of the sandbox, and the number of polls that saw the state.
    Two states without an outage between them share one line if they fit, as in "+0 s running, 3
    polls | +0.7 s exited 1, 1 poll".

    Args:
        timeline: the polls of the wait.
        row: the process.
        columns: maximum width of a line.
        most: maximum number of lines; the first and the last lines are kept, so that later errors
            do not hide the first error.
        briefly: whether to leave out the clock of the sandbox and the number of polls.

    Returns:
        The lines; an empty list if the state did not change.

    """
    events = [
        (outage.start, "", f"unavailable until +{seconds(outage.end)} ({outage})")
        for outage in timeline.outages
    ]
    for change, times in timeline.states(row):
        state = change.state if briefly or not times else f"{change.state}, {count(times, 'poll')}"
        clock = "" if briefly or change.moment is None else moment(change.moment)
        events.append((change.at, clock, state))
    if len(events) <= 1:
        return []  # the state did not change
    events.sort(key=lambda event: event[0])
    cells = [(f"+{seconds(at)}", clock, printable(text)) for at, clock, text in events]
    line = " | ".join(f"{at} {text}" for at, _, text in cells)
    if not timeline.outages and len(cells) == 2 and width(line) <= columns:
        return [line]
    rows = [(at, text) for at, _, text in cells] if briefly else cells
    return _middle_out([cut(line, columns) for line in align(rows)], most)


def gaps(timeline: Timeline, columns: int, most: int) -> list[str]:
    """Return a line for each outage, such as "+1.2 s unavailable until +4.1 s (502 x9)".

    Args:
        timeline: the polls of the wait.
        columns: maximum width of a line.
        most: maximum number of lines, of which the first and the last lines are kept.

    """
    lines = [
        f"+{seconds(outage.start)} unavailable until +{seconds(outage.end)} ({outage})"
        for outage in timeline.outages
    ]
    return _middle_out([cut(line, columns) for line in lines], most)


def polls(timeline: Timeline) -> str:
    """Return a text with the number and the mean duration of the polls, such as "22 (61 ms each)".

    If some polls failed, the text is "12 good (61 ms each), 9 failed (502, reset)".
    """
    each = f" ({timeline.seconds_a_look * 1000:.0f} ms each)" if timeline.looks else ""
    if not timeline.faults:
        return f"{timeline.looks}{each}"
    failed = f"{timeline.faults.total()} failed ({', '.join(timeline.faults)})"
    return f"{timeline.looks or 'none'} good{each}, {failed}"


def _middle_out(lines: Sequence[str], most: int) -> list[str]:
    if len(lines) <= most:
        return [*lines]
    hidden = len(lines) - most + 1
    first = most // 2
    return [*lines[:first], f"... {hidden} more ...", *lines[first + hidden :]]
