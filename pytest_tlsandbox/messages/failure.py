"""A failure as text: the verdict first and alone, then the evidence, then what to try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.messages.table import align, process_table
from pytest_tlsandbox.messages.words import count, cut, moment, printable, seconds
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.errors import TLSandboxError
    from pytest_tlsandbox.timeline import Timeline

_WIDTH = 100
_INDENT = "  "
_MOST_ROWS = 10
_MOST_CHANGES = 8
_ABOUT_THE_LOOKS = frozenset({"lived", "looks", "process", "sandbox", "timeline"})


@dataclass(frozen=True)
class Field:
    """One field that was asked for: what was wanted of it, and what it was."""

    name: str
    wanted: str
    was: str
    wrong: bool = True


@dataclass(frozen=True)
class Listed:
    """A process listed as evidence, with why."""

    row: ProcessInfo
    remark: str = ""


@dataclass(frozen=True)
class Finding:
    """What a condition has to say where it is not satisfied.

    Attributes:
        error: what is raised for it.
        headline: the verdict and the process, within about 50 characters.
        because: why it is certain.
        process: the one it is about.
        fields: what was asked for, wanted and was.
        listed: processes that belong to the evidence, under ``listed_as``.
        remarks: further facts, each with a label.
        hint: what to try.

    """

    error: type[TLSandboxError]
    headline: str
    because: str = ""
    process: ProcessInfo | None = None
    fields: tuple[Field, ...] = ()
    listed: tuple[Listed, ...] = ()
    listed_as: str = ""
    remarks: tuple[tuple[str, str], ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class OutputTail:
    """The last lines of what a process wrote, and how many there were."""

    stream: str
    lines: tuple[str, ...]
    total: int


def render(
    finding: Finding,
    *,
    stopped: str,
    timeline: Timeline,
    sandbox: str,
    output: OutputTail | None = None,
    verbosity: int = 0,
) -> str:
    """Tell a failure. The first line is the verdict; ``-q`` leaves out how it was looked at."""
    lines = [finding.headline, ""]
    if why := ": ".join(part for part in (stopped, finding.because) if part):
        lines.append(_INDENT + why)
    lines += _fields(finding.fields)
    lines += _listed(finding)
    facts = _facts(finding, timeline, output, sandbox)
    if verbosity < 0:
        facts = [fact for fact in facts if fact[0] not in _ABOUT_THE_LOOKS]
    lines += [_INDENT + line for line in align(facts)] if facts else []
    if verbosity >= 2 and timeline.last is not None:
        lines += [f"{_INDENT}all {count(len(timeline.last), 'process')}"]
        lines += [_INDENT * 2 + line for line in str(timeline.last).splitlines()]
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _fields(fields: Sequence[Field]) -> list[str]:
    if not fields:
        return []
    rows = [("", "wanted", "was", "")]
    rows += [
        (field.name, cut(field.wanted, 40), cut(field.was, 40), "<" if field.wrong else "")
        for field in fields
    ]
    return [_INDENT * 2 + line for line in align(rows)]


def _listed(finding: Finding) -> list[str]:
    if not finding.listed:
        return []
    rows = [item.row for item in finding.listed]
    remarks = [item.remark for item in finding.listed]
    table = process_table(rows, remarks, most=_MOST_ROWS)
    title = [_INDENT + finding.listed_as] if finding.listed_as else []
    return title + [_INDENT * 2 + cut(line, _WIDTH) for line in table]


def _facts(
    finding: Finding, timeline: Timeline, output: OutputTail | None, sandbox: str
) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    row = finding.process
    if row is not None:
        handle = "" if row.handle is None else f"handle {row.handle}, "
        line = f"{handle}pid {row.pid}   {row.masked_command_line}"
        facts += [("process", cut(line, _WIDTH)), ("lived", _lived(row))]
        facts += [("timeline", _changes(timeline, row))]
    facts += [("looks", _looks(timeline))]
    facts += finding.remarks
    if output is not None:
        facts.append((output.stream, _extent(output)))
        facts += [("", "| " + cut(mask_text(line), _WIDTH)) for line in output.lines]
    facts.append(("sandbox", sandbox))
    if finding.hint:
        facts.append(("try", finding.hint))
    return [(label, text) for label, text in facts if text]


def _extent(output: OutputTail) -> str:
    if not output.total:
        return "none on stderr or stdout"
    total = count(output.total, "line")
    shown = len(output.lines)
    return total if shown == output.total else f"last {shown} of {total}"


def _lived(row: ProcessInfo) -> str:
    since = f"since {moment(row.started_at)}"
    if row.lifetime is not None and row.ended_at is not None:
        lifetime = seconds(row.lifetime.total_seconds())
        since = f"{lifetime}, {moment(row.started_at)} to {moment(row.ended_at)}"
    return f"{since} (sandbox clock, UTC)"


def _changes(timeline: Timeline, row: ProcessInfo) -> str:
    changes = timeline.changes(row)
    parts = []
    for index, change in enumerate(changes):
        following = changes[index + 1].look if index + 1 < len(changes) else timeline.looks
        looks = following - change.look
        parts.append(f"+{seconds(change.at)} {change.state}, {count(looks, 'look')}")
    if len(parts) > _MOST_CHANGES:
        hidden = len(parts) - _MOST_CHANGES
        parts = [*parts[:2], f"... {count(hidden, 'change')} ...", *parts[hidden + 2 :]]
    return printable(" | ".join(parts))


def _looks(timeline: Timeline) -> str:
    parts = [f"{timeline.looks or 'none'} good"] if timeline.faults else [str(timeline.looks)]
    if timeline.faults:
        parts.append(f"{timeline.faults.total()} failed ({', '.join(timeline.faults)})")
    if timeline.looks:
        parts.append(f"{timeline.seconds_a_look * 1000:.0f} ms each")
    return ", ".join(parts)
