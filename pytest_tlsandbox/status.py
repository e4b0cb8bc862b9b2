"""What the words and numbers of an end mean: statuses, signals, exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tlsandbox.client.models import LastExit, ProcessInfo
    from pytest_tlsandbox.history.runs import End

STATUSES = ("running", "exited", "signaled", "oom_killed")
"""The words the contract has for a status."""

# Sandboxes run Linux, whatever runs the tests; these are its numbers (signal(7)).
_SIGNALS = [
    "HUP",
    "INT",
    "QUIT",
    "ILL",
    "TRAP",
    "ABRT",
    "BUS",
    "FPE",
    "KILL",
    "USR1",
    "SEGV",
    "USR2",
    "PIPE",
    "ALRM",
    "TERM",
    "STKFLT",
    "CHLD",
    "CONT",
    "STOP",
    "TSTP",
    "TTIN",
    "TTOU",
    "URG",
    "XCPU",
    "XFSZ",
    "VTALRM",
    "PROF",
    "WINCH",
    "IO",
    "PWR",
    "SYS",
]
SIGHUP, SIGKILL, SIGTERM = 1, 9, 15
CRASH_SIGNALS = frozenset(
    number
    for number, name in enumerate(_SIGNALS, 1)
    if name in {"ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP"}
)
UNKNOWN_EXIT_CODE = -1
"""What the daemon puts where it has lost the exit code (fact sheet 2.3)."""
SIGKILL_EXIT_CODE = 128 + SIGKILL
"""What a shell exits with when SIGKILL ended its child: a hint of an OOM kill, no proof."""


def signal_name(number: int) -> str:
    """Give "9 (SIGKILL)"."""
    known = 1 <= number <= len(_SIGNALS)
    return f"{number} (SIG{_SIGNALS[number - 1]})" if known else str(number)


def describe_state(row: ProcessInfo) -> str:
    """Say what state a process is in: "running", "exited 1", "signaled 15 (SIGTERM)"."""
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


def describe_end(last: LastExit | End) -> str:
    """Say how a run ended: "exited 1", "signaled 9 (SIGKILL)", "OOM-killed"."""
    if last.oom_killed:
        return "OOM-killed"
    if last.signal is not None:
        return f"signaled {signal_name(last.signal)}"
    return "unknown" if last.exit_code is None else f"exited {last.exit_code}"
