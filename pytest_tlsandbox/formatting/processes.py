"""Processes as text: their names, command lines, states and ends, and tables of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_tlsandbox.formatting.text import (
    align,
    cut,
    pad,
    printable,
    seconds,
    shorten,
    width,
    wrap,
)
from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.types import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.models import ProcessInfo

_LONGEST_NAME = 24
_LONGEST_COMMAND_LINE = 4096
_INTERPRETERS = ("python", "node", "ruby", "perl", "bash", "sh", "dash", "zsh", "deno", "bun")
_GAP = "    "
_LONGEST_STATE = 36
_NARROWEST, _ENOUGH = 18, 40
"""Columns that a command line is given even where there is no room for it, or beside a remark."""


class _End(Protocol):
    @property
    def exit_code(self) -> int | None: ...
    @property
    def signal(self) -> int | None: ...
    @property
    def oom_killed(self) -> bool: ...


def signal_name(number: int) -> str:
    """Return "9 (SIGKILL)"."""
    known = 1 <= number <= len(SIGNALS)
    return f"{number} (SIG{SIGNALS[number - 1]})" if known else str(number)


def describe_state(row: ProcessInfo) -> str:
    """Return the state of a process: "running", "exited 1", "signaled 15 (SIGTERM)"."""
    state = row.state
    if state == "exited":
        code = "with no exit code" if row.exit_code is None else str(row.exit_code)
        oom = ", a child was OOM-killed" if row.oom_killed else ""
        return f"exited {code}{oom}"
    if state == "signaled":
        return f"signaled {signal_name(row.signal) if row.signal is not None else 'by an unknown'}"
    if row.managed is not None and not row.ended and row.managed.restart_count:
        return f"{state}, restarted {row.managed.restart_count}x"
    return state


def describe_end(last: _End) -> str:
    """Return how a run ended: "exited 1", "signaled 9 (SIGKILL)", "OOM-killed"."""
    if last.oom_killed:
        return "OOM-killed"
    if last.signal is not None:
        return f"signaled {signal_name(last.signal)}"
    return "unknown" if last.exit_code is None else f"exited {last.exit_code}"


def command_line(row: ProcessInfo) -> tuple[str, int]:
    """Return command and arguments, masked, and how many characters were left out.

    What no line has room for is not masked either: arguments may have megabytes.
    """
    room = _LONGEST_COMMAND_LINE
    parts = []
    for part in (row.command, *row.args):
        parts.append(part[:room])
        room -= len(parts[-1]) + 1
        if room <= 0:
            break
    beyond = len(row.command_line) - len(" ".join(parts))
    return " ".join((mask_text(parts[0]), *mask_args(parts[1:]))), beyond


def short_name(row: ProcessInfo) -> str:
    """Call a process by its managed name, the script it runs, or its program."""
    if row.managed and row.managed.name:
        return shorten(mask_text(row.managed.name[:1000]), _LONGEST_NAME)
    command, args = mask_text(row.command[:1000]), mask_args([arg[:1000] for arg in row.args[:2]])
    program = command.rpartition("/")[2] or command
    if program.rstrip("0123456789.") in _INTERPRETERS and args:
        first, *rest = args
        if first == "-m" and rest:
            return shorten(rest[0], _LONGEST_NAME)
        if not first.startswith("-"):
            return shorten(first.rpartition("/")[2], _LONGEST_NAME)
        return shorten(f"{program} {first}", _LONGEST_NAME)
    return shorten(program, _LONGEST_NAME)


def named(row: ProcessInfo) -> str:
    """Return "train.py (pid 41)"."""
    return f"{short_name(row)} (pid {row.pid})"


def describe_going_on(row: ProcessInfo) -> str:
    """Return the state of a process, or of its supervisor after its end, and its name."""
    state = row.managed.status if row.managed and row.ended else describe_state(row)
    return f"{state}: {named(row)}"


def process_table(
    rows: Sequence[ProcessInfo],
    remarks: Sequence[str] = (),
    *,
    most: int | None = None,
    columns: int = 240,
) -> list[str]:
    """Return a line for each process: pid, state, how long it lived, command line masked, a remark.

    ``most`` cuts the table, ``columns`` the command lines; both say by how much.
    """
    shown = rows if most is None else rows[:most]
    heads = align(
        (
            f"pid {row.pid}",
            shorten(describe_state(row), _LONGEST_STATE),
            "" if row.lifetime is None else seconds(row.lifetime.total_seconds()),
        )
        for row in shown
    )
    taken = max(map(width, heads), default=0) + 2
    lines = []
    for index, row in enumerate(shown):
        name = f"[{mask_text(row.managed.name)}] " if row.managed and row.managed.name else ""
        line, beyond = command_line(row)
        remark = remarks[index] if index < len(remarks) else ""
        room = columns - taken - (width(_GAP + remark) if remark else 0)
        beside = room >= min(width(printable(name + line)), _ENOUGH)
        room = max(room if beside else columns - taken, _NARROWEST)
        whole = pad(heads[index], taken) + cut(name + line, room, beyond=beyond)
        lines.append(whole + _GAP + remark if remark and beside else whole)
        if remark and not beside:
            lines += [_GAP + part for part in wrap(remark, columns - len(_GAP))]
    if len(shown) < len(rows):
        lines.append(f"... and {len(rows) - len(shown)} more")
    return lines


def list_names(rows: Sequence[ProcessInfo], most: int = 3) -> str:
    """Return "a.py (pid 1), b.py (pid 2) and 3 more"."""
    return list_texts([named(row) for row in rows], most)


def list_texts(texts: Sequence[str], most: int = 3) -> str:
    """Return "a, b, c and 3 more"."""
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
