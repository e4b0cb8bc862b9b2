"""Render a failure as text.

The text shows the expected and the actual values, the last lines of output, other facts and a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_tlsandbox.errors import Inconclusive, ProcessNotFound
from pytest_tlsandbox.formatting.processes import command_line, process_table
from pytest_tlsandbox.formatting.text import align, count, cut, fold, printable, seconds, wrap
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.messages.incidents import describe_run, describe_supervisor, lifetime
from pytest_tlsandbox.models import ProcessInfo
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


class Renderer(NamedTuple):
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

    def render(self, explanation: Explanation) -> str:
        """Return the message of a failure: the first line, followed by details."""
        lines = [_first_line(explanation), "", *self._output(explanation)]
        facts = [*self.facts(explanation), *self._facts_of_wait()]
        lines += self.evidence(explanation) + self.labelled(facts, explanation.hint)
        if self.screen.verbosity >= 2 and self.timeline.last:
            rows = self.timeline.last.processes
            table = process_table(rows, most=self._size.rows, columns=self.screen.columns - 4)
            table += [f"unreadable {row}" for row in self.timeline.last.unreadable]
            lines.append(f"{_INDENT}all {count(len(rows), 'process')}")
            lines += [_INDENT * 2 + line for line in table]
        return "\n".join(line.rstrip() for line in lines).rstrip()

    def render_several(
        self, failed: Sequence[tuple[int, str, Explanation]], passed: Sequence[str]
    ) -> str:
        """Return the message for several checks, at least one of which failed.

        Args:
            failed: the number, the line in the test and the result of each check that failed.
            passed: the numbers and names of the checks that passed.

        """
        so_many = f"{len(failed)} of {count(len(failed) + len(passed), 'check')} failed"
        the_first = "; the first" if len(failed) > 1 else ""
        lines = [f"{so_many}{the_first}: {_first_line(failed[0][2])}", ""]
        inside = self._replace(screen=self.screen._replace(columns=self.screen.columns - 5))
        hints = {""}
        most = self._size.rows
        for number, place, explanation in failed[:most]:
            label = f"{_INDENT}check {number}  "
            text = f"{place}: {_first_line(explanation)}"
            first, *others = wrap(text, self.screen.columns - len(label))
            lines += [label + first, *(_INDENT * 4 + line for line in others)]
            hint = "" if explanation.hint in hints else explanation.hint
            hints.add(hint)
            facts = inside.facts(explanation._replace(tail=None))
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

    def _output(self, explanation: Explanation) -> list[str]:
        """Return the name of the stream, followed by the last lines of output.

        A vertical bar precedes each line of output.
        """
        output, row = explanation.tail, explanation.process
        if output is None or not output.lines:
            return []
        most, columns = self._size.output, self.screen.columns - 4
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
            listed, remarks, _ = zip(*explanation.listed, strict=True)
            title = explanation.listed_as
            if title and remarks[0] and len(remarks) > 1 and len({*remarks}) == 1:
                title, remarks = f"{title}: {remarks[0]}", ()
            table = process_table(listed, remarks, most=self._size.rows, columns=columns - 4)
            lines += [_INDENT + title] if title else []
            lines += [_INDENT * 2 + line for line in table]
        return lines

    def facts(self, explanation: Explanation) -> list[_Fact]:
        """Return facts about the process, its output and the outages, each with its label."""
        row, run, output = explanation.process, explanation.run, explanation.tail
        labels = ("timeline", *dict(explanation.remarks))
        room = self.screen.columns - 4 - max(map(len, labels))
        facts: list[_Fact] = []
        if row is not None and self.screen.verbosity >= 0:
            line, beyond = command_line(row)
            facts.append(("process", fold(line, room, self._size.command, beyond=beyond)))
            told = f"pid {row.pid}, {lifetime(row)}" if run is None else describe_run(run)
            facts.append(("run", wrap(told, room)))
            # The row of an earlier run contains an old state of the supervisor.
            managed = row.managed if run is None else run.generation.managed
            if managed is not None:
                facts.append(("managed", wrap(describe_supervisor(managed), room)))
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
        cells = []
        for label, lines in facts:
            cells += [("" if index else label, line) for index, line in enumerate(lines) if line]
        return [_INDENT + line for line in align(cells)]


def _first_line(explanation: Explanation) -> str:
    """Return the headline, followed by the last line of output if there is enough room."""
    headline = printable(explanation.headline)
    last = printable(last_line(explanation.tail.lines)) if explanation.tail else ""
    if not last or not explanation.subject:
        return headline
    # If a process failed by itself, its last line of output is probably its error.
    row = explanation.process
    failed = row is not None and row.exit_code not in (None, 0, UNKNOWN_EXIT_CODE)
    whole = f"{headline}: {last}" if failed else f"{headline}; last output: {last}"
    return whole if cut(whole, _LONGEST_HEADLINE) == whole else headline


def last_line(lines: Sequence[str]) -> str:
    """Return the last line that is not blank, stripped and with secrets masked, or ""."""
    return mask_text(next(filter(str.strip, reversed(lines)), "").strip()[:LONGEST_LINE])


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
    states, outages = [] if row is None else timeline.states(row), timeline.outages
    if len(states) <= 1 and not outages:
        return []
    events = [(gap.start, f"unavailable until +{seconds(gap.end)} ({gap})") for gap in outages]
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
