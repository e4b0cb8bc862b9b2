"""Render a failure as text.

The text shows the expected and the actual values, the last lines of output, other facts and a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from pytest_tlsandbox.errors import Inconclusive, ProcessNotFound
from pytest_tlsandbox.formatting.processes import command_line, process_table
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
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.messages.incidents import describe_run
from pytest_tlsandbox.models import ManagedProcess, ProcessInfo
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import UNKNOWN_EXIT_CODE, Screen

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


FailedCheck: TypeAlias = "tuple[int, str, Explanation, OutputTail | None]"
"""A failed check of several: its number, its line in the test, its result, the output to show."""


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

    """

    timeline: Timeline
    screen: Screen
    sandbox: str

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
            table = process_table(rows, most=self._size.rows, columns=self.screen.columns - 4)
            table += [f"unreadable {row}" for row in self.timeline.last.unreadable]
            lines.append(f"{_INDENT}all {count(len(rows), 'process')}")
            lines += [_INDENT * 2 + line for line in table]
        return "\n".join(line.rstrip() for line in lines).rstrip()

    def render_several(self, failed: Sequence[FailedCheck], passed: Sequence[str]) -> str:
        """Return the message for several checks, at least one of which failed.

        Args:
            failed: the checks that failed.
            passed: the numbers and names of the checks that passed.

        """
        _, _, explanation, output = failed[0]
        so_many = f"{len(failed)} of {count(len(failed) + len(passed), 'check')} failed"
        the_first = "; the first" if len(failed) > 1 else ""
        lines = [f"{so_many}{the_first}: {_first_line(explanation, output)}", ""]
        inside = replace(self, screen=self.screen._replace(columns=self.screen.columns - 5))
        hints = {""}
        most = self._size.rows
        for number, place, explanation, output in failed[:most]:
            label = f"{_INDENT}check {number}  "
            text = f"{place}: {_first_line(explanation, output)}"
            first, *others = wrap(text, self.screen.columns - len(label))
            lines += [label + first, *(_INDENT * 4 + line for line in others)]
            hint = "" if explanation.hint in hints else explanation.hint
            hints.add(hint)
            facts = inside.facts(explanation, None)
            details = inside.evidence(explanation) + inside.labelled(facts, hint)
            lines += [f"   {line}" for line in details]
        if len(failed) > most:
            lines.append(f"{_INDENT}... and {len(failed) - most} more failed")
        facts = []
        if passed and self.screen.verbosity >= 0:
            facts.append(("passed", wrap(", ".join(passed), self.screen.columns - 11)))
        lines += self.labelled(facts + self._facts_of_wait())
        return "\n".join(line.rstrip() for line in lines).rstrip()

    @property
    def _size(self) -> _Size:
        return _SIZES[min(max(self.screen.verbosity, -1), 2)]

    def _output(self, explanation: Explanation, output: OutputTail | None) -> list[str]:
        """Return the name of the stream, followed by the last lines of output.

        A vertical bar precedes each line of output.
        """
        if output is None or not output.lines:
            return []
        row, most, columns = explanation.process, self._size.output, self.screen.columns - 4
        if row is not None and not row.ended and self.screen.verbosity <= 0:
            most = _OUTPUT_OF_LIVING
        shown = output.lines[-most:]
        total = count(output.total, "line")
        extent = total if len(shown) == output.total else f"last {len(shown)} of {total}"
        lines = [f"{_INDENT}{output.stream}, {extent}"]
        for line in shown:
            masked, beyond = mask_text(line[:LONGEST_LINE]), max(len(line) - LONGEST_LINE, 0)
            first, *others = fold(masked, columns, self._size.command, beyond=beyond)
            lines += [f"{_INDENT}| {first}", *(f"{_INDENT}  {part}" for part in others)]
        return lines

    def evidence(self, explanation: Explanation) -> list[str]:
        """Return lines that show the wrong fields, the reason, and the listed processes."""
        lines, fields, columns = [], explanation.fields, self.screen.columns
        told = explanation.what + explanation.wanted
        in_headline = len(fields) == 1 and explanation.wanted and "…" not in told
        if fields and not in_headline:
            longest_name = max(len(field.name) for field in fields)
            room = max((columns - longest_name - 11) // 2, 20)
            rows = [(field.name, cut(field.wanted, room), cut(field.was, room)) for field in fields]
            lines += [_INDENT + line for line in align([("", "wanted", "was"), *rows])]
        if explanation.because:
            lines += [_INDENT + line for line in wrap(explanation.because, columns - 2)]
        if explanation.listed:
            listed = [item.row for item in explanation.listed]
            remarks = [item.remark for item in explanation.listed]
            title = explanation.listed_as
            if title and remarks[0] and len(remarks) > 1 and len({*remarks}) == 1:
                title, remarks = f"{title}: {remarks[0]}", []
            table = process_table(listed, remarks, most=self._size.rows, columns=columns - 4)
            lines += [_INDENT + title] if title else []
            lines += [_INDENT * 2 + line for line in table]
        return lines

    def facts(self, explanation: Explanation, output: OutputTail | None) -> list[_Fact]:
        """Return facts about the process, its output and the outages, each with its label."""
        row, run = explanation.process, explanation.run
        labels = ("timeline", *dict(explanation.remarks))
        room = self.screen.columns - 4 - max(map(len, labels))
        facts: list[_Fact] = []
        if row is not None and self.screen.verbosity >= 0:
            line, beyond = command_line(row)
            facts.append(("process", fold(line, room, self._size.command, beyond=beyond)))
            told = f"pid {row.pid}, {_lifetime(row)}" if run is None else describe_run(run)
            facts.append(("run", wrap(told, room)))
            # The row of an earlier run contains an old state of the supervisor.
            managed = row.managed if run is None else run.generation.managed
            if managed is not None:
                facts.append(("managed", wrap(_supervised(managed), room)))
        changed = changes(self.timeline, row, room, self._size.changes)
        has_changed = row is not None and (self.timeline.outages or len(changed) > 2)
        explains = explanation.error is (Inconclusive if row is None else ProcessNotFound)
        if self.screen.verbosity > 0 or has_changed or explains:
            facts.append(("timeline", changed))
        facts += [(label, wrap(text, room)) for label, text in explanation.remarks]
        if output is not None and not output.lines:
            text = f"not read: {output.unread}" if output.unread else "stderr and stdout are empty"
            facts.append(("output", [text]))
        return facts

    def _facts_of_wait(self) -> list[_Fact]:
        """Return facts about the polls and the sandbox, if the message needs them."""
        facts: list[_Fact] = []
        if self.screen.verbosity > 0:
            facts.append(("polls", wrap(polls(self.timeline), self.screen.columns - 12)))
        if self.screen.verbosity > 0 or self.screen.several_sandboxes():
            facts.append(("sandbox", [self.sandbox]))
        return facts

    def labelled(self, facts: Sequence[_Fact], hint: str = "") -> list[str]:
        """Return the lines of facts and of a hint, and align their labels in a column."""
        if hint:
            labels = max(len(label) for label, _ in (*facts, ("hint", [])))
            facts = [*facts, ("hint", wrap(hint, self.screen.columns - 4 - labels))]
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
    last = printable(last_line(output.lines)) if output else ""
    if not last or not explanation.subject:
        return headline
    # If a process failed by itself, its last line of output is probably its error.
    row = explanation.process
    failed = row is not None and row.exit_code not in (None, 0, UNKNOWN_EXIT_CODE)
    whole = f"{headline}: {last}" if failed else f"{headline}; last output: {last}"
    return whole if width(whole) <= _LONGEST_HEADLINE else headline


def last_line(lines: Sequence[str]) -> str:
    """Return the last line that is not blank, stripped and with secrets masked, or ""."""
    return mask_text(next(filter(str.strip, reversed(lines)), "").strip()[:LONGEST_LINE])


def _lifetime(row: ProcessInfo) -> str:
    """Return how long an ended process ran, or the time at which a living process started."""
    if row.lifetime is not None and row.ended_at is not None:
        return f"ran {seconds(row.lifetime.total_seconds())} until {moment(row.ended_at)} UTC"
    return f"started {moment(row.started_at)} UTC"


def _supervised(managed: ManagedProcess) -> str:
    """Return a description of a supervisor's state, or "" if it does not explain a failure."""
    sound = managed.health_status in ("disabled", "healthy")
    if sound and not managed.restart_count and not managed.last_error:
        return ""
    parts = [managed.status]
    if managed.restart_count:
        parts.append(count(managed.restart_count, "restart"))
        if managed.restart is not None:
            limit = managed.restart.max_restarts
            parts[-1] += "" if limit is None else f" (limit: {limit})"
            parts.append(f"policy: {managed.restart.policy}")
    if managed.health_status != "disabled":
        check = f" ({mask_text(managed.health_check)})" if managed.health_check else ""
        parts.append(f"health: {managed.health_status}{check}")
    if managed.last_error:
        parts.append(f"last error: {cut(mask_text(managed.last_error), 120)}")
    return ", ".join(parts)


def changes(timeline: Timeline, row: ProcessInfo | None, columns: int, most: int) -> list[str]:
    """Return lines that show when the state of a process changed, and when outages happened.

    Each line begins with the number of seconds from the start of the wait to the first poll that
    saw the state, or to the first failed poll of the outage.

    Args:
        timeline: the polls of the wait.
        row: the process; None to show only the outages.
        columns: maximum width of a line.
        most: maximum number of lines; the first and the last lines are kept, so that later errors
            do not hide the first error.

    Returns:
        The lines; an empty list if the state did not change and no outage happened.

    """
    states = [] if row is None else timeline.states(row)
    if len(states) <= 1 and not timeline.outages:
        return []
    events = [
        (outage.start, f"unavailable until +{seconds(outage.end)} ({outage})")
        for outage in timeline.outages
    ]
    events += [(change.at, change.state) for change in states]
    events.sort(key=lambda event: event[0])
    lines = align((f"+{seconds(at)}", printable(text)) for at, text in events)
    hidden = len(lines) - most + 1
    if hidden > 1:
        lines[most // 2 : most // 2 + hidden] = [f"... {hidden} more ..."]
    return [cut(line, columns) for line in lines]


def polls(timeline: Timeline) -> str:
    """Return a text with the number and the mean duration of the polls, such as "22 (61 ms each)".

    If some polls failed, the text is "12 good (61 ms each), 9 failed (502, reset)".
    """
    looks = timeline.looks
    each = f" ({timeline.time_in_looks / looks * 1000:.0f} ms each)" if looks else ""
    faults = [fault for outage in timeline.outages for fault in outage.faults]
    if not faults:
        return f"{looks}{each}"
    failed = f"{len(faults)} failed ({', '.join(dict.fromkeys(faults))})"
    return f"{looks or 'none'} good{each}, {failed}"
