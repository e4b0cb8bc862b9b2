"""Render a failure as text.

The text shows the expected and the actual values, the last lines of output, other facts and a hint.
"""

from __future__ import annotations

from dataclasses import dataclass
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

_INDENT = "  "
LONGEST_LINE = 4096
"""Maximum number of characters that a message shows of one line of output."""


class _Size(NamedTuple):
    """The size limits of a message, such as the maximum number of lines of output."""

    output: int
    changes: int
    rows: int
    command: int


_SIZES = {-1: _Size(3, 4, 5, 1), 0: _Size(10, 8, 10, 2), 1: _Size(40, 40, 40, 5)}
_SIZES[2] = _Size(200, 400, 1000, 20)
MOST_OUTPUT = _SIZES[2].output
"""Maximum number of lines of output in the most verbose message."""
_LONGEST_HEADLINE = 100
"""Maximum width, in columns, of a first line that contains the last line of output."""
_ONLY_WITH_V = ("attempts",)
"""Labels of remarks that only verbose messages show, because they do not affect the result."""
_OUTPUT_OF_LIVING = 3
"""Number of lines of output of a living process, which show its progress."""


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


def render(
    explanation: Explanation,
    *,
    stopped: str,
    timeline: Timeline,
    sandbox: str,
    output: OutputTail | None = None,
    verbosity: int = 0,
    columns: int = 100,
) -> str:
    """Return the message of a failure: the first line, followed by details.

    Args:
        explanation: the result of the check.
        stopped: a text for verbose messages that says when the wait stopped; empty to leave it out.
        timeline: the polls of the wait.
        sandbox: the name of the sandbox; empty to leave it out.
        output: the last lines of output of the process, if there are any to show.
        verbosity: pytest's verbosity; -1 omits the process, 1 adds facts about the polls and longer
            details, and 2 also adds all processes.
        columns: the width of the terminal, which limits all lines except the first.

    """
    size = _size(verbosity)
    lines = [_first_line(explanation, output), ""]
    lines += _output_lines(explanation, output, size, columns)
    lines += _evidence(explanation, size, columns, verbosity)
    facts = _facts(explanation, timeline, output, size, columns, verbosity)
    if verbosity > 0:
        facts.append(_polls_fact(timeline, stopped, columns))
    facts += [("sandbox", [sandbox])] if sandbox else []
    lines += _labelled(facts + _hint(explanation, facts, columns))
    if verbosity >= 2 and timeline.last:
        lines.append(f"{_INDENT}all {count(len(timeline.last), 'process')}")
        rows = timeline.last.processes
        table = process_table(rows, most=size.rows, columns=columns - 4)
        lines += [_INDENT * 2 + line for line in table]
        lines += [f"{_INDENT * 2}unreadable {row}" for row in timeline.last.unreadable]
    return "\n".join(line.rstrip() for line in lines).rstrip()


def render_several(
    explanations: Sequence[tuple[str, str, Explanation | None]],
    outputs: Mapping[int, OutputTail | None],
    *,
    stopped: str,
    timeline: Timeline,
    sandbox: str,
    verbosity: int = 0,
    columns: int = 100,
) -> str:
    """Return the text for several numbered checks, at least one of which failed.

    Args:
        explanations: the name, the line in the test and the result of each check; the result is
            None if the check passed.
        outputs: the last lines of output of processes, by the ``id()`` of their explanation.
        stopped: a text that says when or why the wait stopped; empty to leave it out.
        timeline: the polls of the wait.
        sandbox: the name of the sandbox; empty to leave it out.
        verbosity: pytest's verbosity, as for ``render``.
        columns: the width of the terminal, which limits all lines except the first.

    """
    size = _size(verbosity)
    failed = [explanation for _, _, explanation in explanations if explanation is not None]
    first = _first_line(failed[0], outputs.get(id(failed[0])))
    so_many = f"{len(failed)} of {count(len(explanations), 'check')} failed"
    lines = [f"{so_many}{'; the first' if len(failed) > 1 else ''}: {first}", ""]
    passed = []
    hints: set[str] = set()
    shown = 0
    for number, (name, place, explanation) in enumerate(explanations, 1):
        if explanation is None:
            passed.append(f"check {number} ({name})")
            continue
        shown += 1
        if shown > size.rows:
            continue
        inner = columns - 5
        headline = _first_line(explanation, outputs.get(id(explanation)))
        label = f"{_INDENT}check {number}  "
        first_line, *others = wrap(f"{place}: {headline}", columns - len(label))
        lines += [
            f"{label}{first_line}",
            *(f"{_INDENT * 4}{line}" for line in others),
        ]
        body = _evidence(explanation, size, inner, verbosity)
        facts = _facts(explanation, timeline, None, size, inner, verbosity)
        if verbosity <= 0:
            facts = [fact for fact in facts if fact[0] != "timeline"]  # "gaps" shows them
        if explanation.hint not in hints:
            facts += _hint(explanation, facts, inner)
        hints.add(explanation.hint)
        lines += [f"   {line}" for line in body + _labelled(facts)]
    if shown > size.rows:
        lines.append(f"{_INDENT}... and {shown - size.rows} more failed")
    facts = [("passed", wrap(", ".join(passed), columns - 11))] if passed else []
    if verbosity > 0:
        facts.append(_polls_fact(timeline, stopped, columns))
    if timeline.outages:
        facts.append(("gaps", gaps(timeline, columns - 12, size.changes)))
    facts = facts if verbosity >= 0 else []
    facts += [("sandbox", [sandbox])] if sandbox else []
    lines += _labelled(facts)
    return "\n".join(line.rstrip() for line in lines).rstrip()


_Fact = tuple[str, "list[str]"]


def _size(verbosity: int) -> _Size:
    return _SIZES[min(max(verbosity, -1), 2)]


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


def _output_lines(
    explanation: Explanation, output: OutputTail | None, size: _Size, columns: int
) -> list[str]:
    """Return the name of the stream, followed by the last lines of output.

    A vertical bar precedes each line of output.
    """
    if output is None or not output.lines:
        return []
    row = explanation.process
    alive = row is not None and not row.ended and size.output <= _SIZES[0].output
    shown = output.lines[-min(size.output, _OUTPUT_OF_LIVING) if alive else -size.output :]
    total = count(output.total, "line")
    extent = total if len(shown) == output.total else f"last {len(shown)} of {total}"
    lines = [f"{_INDENT}{output.stream}, {extent}"]
    for line in shown:
        masked = mask_text(line[:LONGEST_LINE])
        beyond = max(len(line) - LONGEST_LINE, 0)
        folded = fold(masked, columns - 4, size.command, beyond=beyond)
        marks = ("|", *" " * len(folded))
        lines += [f"{_INDENT}{mark} {part}" for mark, part in zip(marks, folded, strict=False)]
    return lines


def _evidence(explanation: Explanation, size: _Size, columns: int, verbosity: int) -> list[str]:
    """Return lines that show the wrong fields, the reason, and the listed processes."""
    lines = []
    fields = [field for field in explanation.fields if field.wrong or verbosity > 0]
    told = explanation.what + explanation.wanted
    in_headline = len(fields) == 1 and explanation.wanted and "…" not in told
    if fields and not (in_headline and verbosity <= 0):
        names = max(len(field.name) for field in fields)
        room = max((columns - names - 11) // 2, 20)
        rows = [("", "wanted", "was", "")]
        rows += [
            (
                field.name,
                cut(field.wanted, room),
                cut(field.was, room),
                "<" if field.wrong and verbosity > 0 else "",
            )
            for field in fields
        ]
        lines += [_INDENT + line for line in align(rows)]
    if explanation.because:
        lines += [_INDENT + line for line in wrap(explanation.because, columns - 2)]
    if explanation.listed:
        rows_listed = [item.row for item in explanation.listed]
        remarks = [item.remark for item in explanation.listed]
        title = explanation.listed_as
        if title and remarks[0] and len(remarks) > 1 and len({*remarks}) == 1:
            title, remarks = f"{title}: {remarks[0]}", []
        table = process_table(rows_listed, remarks, most=size.rows, columns=columns - 4)
        lines += [_INDENT + title] if title else []
        lines += [_INDENT * 2 + line for line in table]
    return lines


def _facts(
    explanation: Explanation,
    timeline: Timeline,
    output: OutputTail | None,
    size: _Size,
    columns: int,
    verbosity: int,
) -> list[_Fact]:
    room = columns - 4 - max(len(label) for label in ("timeline", *dict(explanation.remarks)))
    facts: list[_Fact] = []
    row = explanation.process
    if row is not None and verbosity >= 0:
        line, beyond = command_line(row)
        facts.append(("process", fold(line, room, size.command, beyond=beyond)))
        run = explanation.run
        told = f"pid {row.pid}, {_lifetime(row)}" if run is None else describe_run(run)
        facts.append(("run", wrap(told, room)))
        # The row of an earlier run contains an old state of the supervisor.
        managed = row.managed if explanation.run is None else explanation.run.generation.managed
        if managed is not None and (verbosity > 0 or _is_notable(managed)):
            told = _supervised(managed, explanation.run, briefly=verbosity <= 0)
            facts.append(("managed", wrap(told, room)))
        changed = changes(timeline, row, room, size.changes, briefly=verbosity <= 0)
        is_gone = explanation.error is ProcessNotFound
        if verbosity > 0 or timeline.outages or len(changed) > 2 or is_gone:
            facts.append(("timeline", changed))
    elif timeline.outages and (verbosity > 0 or explanation.error is Inconclusive):
        facts.append(("gaps", gaps(timeline, room, size.changes)))
    facts += [
        (label, wrap(text, room))
        for label, text in explanation.remarks
        if verbosity > 0 or label not in _ONLY_WITH_V
    ]
    if output is not None and not output.lines:
        text = f"not read: {output.unread}" if output.unread else "none on stderr or stdout"
        facts.append(("output", [text]))
    return facts


def _hint(explanation: Explanation, facts: Sequence[_Fact], columns: int) -> list[_Fact]:
    if not explanation.hint:
        return []
    labels = max(len(label) for label, _ in (*facts, ("try", [])))
    return [("try", wrap(explanation.hint, columns - len(_INDENT) - labels - 2))]


def _labelled(facts: Sequence[_Fact]) -> list[str]:
    cells = [
        ("" if index else label, line)
        for label, lines in facts
        for index, line in enumerate(lines)
        if line
    ]
    return [_INDENT + line for line in align(cells)] if cells else []


def _lifetime(row: ProcessInfo) -> str:
    """Return how long an ended process ran, or the time at which a living process started."""
    if row.lifetime is not None and row.ended_at is not None:
        return f"ran {seconds(row.lifetime.total_seconds())} until {moment(row.ended_at)} UTC"
    return f"started {moment(row.started_at)} UTC"


def _is_notable(managed: ManagedProcess) -> bool:
    """Return whether the state of a supervisor may explain a failure."""
    sound = managed.health_status in ("disabled", "healthy")
    return bool(managed.restart_count or managed.last_error) or not sound


def _supervised(managed: ManagedProcess, run: Run | None, *, briefly: bool) -> str:
    """Return a description of the state of a process's supervisor.

    If ``run`` is not None, another part of the message describes that run. In this case, the
    description leaves out how the last run ended.
    """
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
    states = timeline.states(row)
    for change, times in states:
        state = change.state if briefly or not times else f"{change.state}, {count(times, 'poll')}"
        clock = "" if briefly or change.moment is None else moment(change.moment)
        events.append((change.at, clock, state))
    events.sort(key=lambda event: event[0])
    cells = [(f"+{seconds(at)}", clock, printable(text)) for at, clock, text in events]
    if len(cells) <= 1:
        return []  # the state did not change
    line = " | ".join(f"{at} {text}" for at, _, text in cells)
    if len(states) == len(cells) == 2 and width(line) <= columns:
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


def _polls_fact(timeline: Timeline, stopped: str, columns: int) -> _Fact:
    text = "; ".join(part for part in (polls(timeline), stopped) if part)
    return "polls", wrap(text, columns - 12)


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
