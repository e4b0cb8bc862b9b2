"""Format processes as text: names, command lines, states and tables."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_tlsandbox.formatting.text import align, cut, fold, seconds, shorten, width, wrap
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.types import SIGNALS, UNLISTED_PID

SIGNAL_NAMES = {number: f"SIG{name}" for number, name in enumerate(SIGNALS, 1)}
_LONGEST_NAME = 24
_LONGEST_COMMAND_LINE = 4096
_SHELLS = ("sh", "bash", "dash", "zsh")
_INTERPRETERS = ("python", "node", "ruby", "perl", "deno", "bun", *_SHELLS)
_GAP = "    "
_LONGEST_STATE = 36
_MOST_LINES = 2
"""Maximum number of lines for a command line that does not fit beside the state of the process."""
_FEW = 4
"""Maximum number of processes in a table whose command lines may take separate lines."""
_NARROWEST, _ENOUGH = 18, 40
"""Minimum width of a command line in columns: in every row, and in a row with a remark."""


def signal_name(number: int) -> str:
    """Return the number of a signal with its name, such as "9 (SIGKILL)"."""
    return f"{number} ({SIGNAL_NAMES[number]})" if number in SIGNAL_NAMES else str(number)


def describe_state(row: ProcessInfo) -> str:
    """Return the state of a process, such as "running", "exited 1" or "signaled 15 (SIGTERM)"."""
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


def command_line(row: ProcessInfo) -> tuple[str, int]:
    """Return the masked command line, and the number of characters that are left out.

    Only the first 4,096 characters are masked and returned, because arguments may be megabytes
    long.
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
    """Return a short name for a process.

    If a managed process has a name, the result is this name. For all other processes, the result is
    the script, the module or the program. For ``sh -c SCRIPT NAME``, the result is NAME. If NAME is
    missing or is not a single word, the result is the quoted script. The result is cut to 24
    columns.
    """
    if row.managed and row.managed.name:
        return shorten(mask_text(row.managed.name[:1000]), _LONGEST_NAME)
    command, args = mask_text(row.command[:1000]), mask_args([arg[:1000] for arg in row.args[:3]])
    program = command.rpartition("/")[2] or command
    if program.rstrip("0123456789.") not in _INTERPRETERS or not args:
        return shorten(program, _LONGEST_NAME)
    first, *rest = args
    if first == "-m" and rest:
        return shorten(rest[0], _LONGEST_NAME)
    if not first.startswith("-"):
        return shorten(first.rpartition("/")[2], _LONGEST_NAME)
    if program not in _SHELLS or not first.endswith("c") or not rest:
        return shorten(f"{program} {first}", _LONGEST_NAME)
    script, *zero = rest
    if zero and zero[0].isprintable() and not set(zero[0]) & {" ", "/"}:
        return shorten(zero[0], _LONGEST_NAME)
    return f'"{shorten(mask_text(script), _LONGEST_NAME)}"'


def named(row: ProcessInfo) -> str:
    """Return the short name and the pid of a process, such as "train.py (pid 41)"."""
    return short_name(row) if row.pid == UNLISTED_PID else f"{short_name(row)} (pid {row.pid})"


def living_state(row: ProcessInfo) -> str:
    """Return the state of a process, or the supervisor's status if a managed process has ended."""
    return (row.managed.status if row.managed and row.ended else row.state).replace("_", " ")


def process_table(
    rows: Sequence[ProcessInfo],
    remarks: Sequence[str] = (),
    *,
    most: int | None = None,
    columns: int = 240,
) -> list[str]:
    """Return the lines of a process table.

    A line shows the pid, the state, the lifetime, the masked command line and the remark. If the
    remark does not fit into the line, it follows on separate lines.

    Args:
        rows: the processes.
        remarks: the remark of each row; empty if there are no remarks.
        most: maximum number of processes, or None for all processes; a last line shows the number
            of processes that are left out.
        columns: the width of the table. A command line that does not fit is cut, and its row shows
            the number of characters that were cut.

    """
    shown = rows[:most]
    heads = align(map(_head, shown))
    taken = max(map(width, heads), default=0) + 2
    lines = []
    for row, head, remark in zip(shown, heads, remarks or [""] * len(shown), strict=False):
        line, beyond = command_line(row)
        if row.managed and row.managed.name:
            line = f"[{mask_text(row.managed.name)}] {line}"
        enough = min(width(line), _ENOUGH)
        room = columns - taken
        beside = _GAP + remark if remark and room - width(_GAP + remark) >= enough else ""
        room = max(room - width(beside), _NARROWEST)
        if room >= enough or len(shown) > _FEW:
            gap = " " * (taken - width(head))
            lines.append(head + gap + cut(line, room, beyond=beyond) + beside)
        else:
            folded = fold(line, columns - len(_GAP), _MOST_LINES, beyond=beyond)
            lines += [head, *(_GAP + part for part in folded)]
        if remark and not beside:
            lines += [_GAP + part for part in wrap(remark, columns - len(_GAP))]
    if len(shown) < len(rows):
        lines.append(f"... and {len(rows) - len(shown)} more")
    return lines


def _head(row: ProcessInfo) -> tuple[str, str, str]:
    """Return the pid, the state and the lifetime of a process."""
    pid = "no pid" if row.pid == UNLISTED_PID else f"pid {row.pid}"
    lifetime = "" if row.lifetime is None else seconds(row.lifetime.total_seconds())
    return pid, shorten(describe_state(row), _LONGEST_STATE), lifetime


def list_texts(texts: Sequence[str]) -> str:
    """Join the first three texts and count the other texts, as in "a, b, c and 3 more"."""
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return ", ".join(texts[:3]) + more
