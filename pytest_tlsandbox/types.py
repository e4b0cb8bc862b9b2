"""Types and constants that all layers share: statuses, signals, streams, the identity of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Pick = Literal["newest", "oldest"]
"""Which process a helper uses if several match, by the time of their start."""

Stream = Literal["stdout", "stderr", "output"]
"""An output stream of a process; "output" is stdout and then stderr."""

STATUSES = ("running", "exited", "signaled", "oom_killed")
"""The statuses of a process."""

# The numbers of Linux (signal(7)), because sandboxes run Linux, on whatever system the tests run.
SIGNALS = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
]  # fmt: skip
SIGHUP, SIGKILL, SIGTERM = 1, 9, 15
CRASH_SIGNALS = frozenset(
    number
    for number, name in enumerate(SIGNALS, 1)
    if name in {"ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP"}
)
UNKNOWN_EXIT_CODE = -1
"""The exit code that the daemon reports if it has lost the real one."""
SIGKILL_EXIT_CODE = 128 + SIGKILL
"""The exit code of a shell whose child was killed by SIGKILL: a hint of an OOM kill, not a proof."""

# Times from the SDK and from the API may differ by less than a millisecond.
_SAME_MOMENT = timedelta(milliseconds=1)


class Identity(NamedTuple):
    """The identity of a run. A pid alone is not enough, because pids are reused.

    Attributes:
        handle: the handle that the sandbox assigned to the run; None on older sandboxes.
        pid: the process id.
        started_at: when the process started, by the clock of the sandbox.

    """

    handle: int | None
    pid: int
    started_at: datetime

    def same_run(self, other: Identity) -> bool:
        """Return whether both identify one run; compare handles only if both have one."""
        if self.handle is not None and other.handle is not None and self.handle != other.handle:
            return False
        return self.pid == other.pid and abs(self.started_at - other.started_at) < _SAME_MOMENT


@dataclass(frozen=True)
class Screen:
    """The terminal that messages are written for.

    Attributes:
        verbosity: the verbosity of pytest, from -1 (``-q``) up.
        columns: the width of a message in columns.
        say: writes a line while a test runs, with the name of the test, escaped and cut to the
            width of the terminal; None without a terminal.
        several_sandboxes: returns whether the session uses several, so that messages name one.

    """

    verbosity: int = 0
    columns: int = 100
    say: Callable[[str], None] | None = None
    several_sandboxes: Callable[[], bool] = bool
