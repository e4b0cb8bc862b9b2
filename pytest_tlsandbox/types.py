"""Types and constants that all layers share, such as statuses, signals and identities."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

Pick = Literal["newest", "oldest"]
"""The process that a helper uses if several match: the process that started last, or first."""

Stream = Literal["stdout", "stderr", "output"]
"""An output stream of a process; "output" stands for stdout followed by stderr."""

PortState = Literal["open", "closed", "taken"]
"""Whether a port accepts connections; "taken" if a process other than the expected one does."""

STATUSES = ("running", "exited", "signaled", "oom_killed")
"""The statuses of a process."""

# These are the numbers of Linux (signal(7)), because sandboxes run Linux, even if the tests run on
# another system.
SIGNALS = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
]  # fmt: skip
SIGHUP, SIGKILL, SIGTERM = 1, 9, 15
_CRASHES = ("ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP")
CRASH_SIGNALS = frozenset(SIGNALS.index(name) + 1 for name in _CRASHES)
UNKNOWN_EXIT_CODE = -1
"""The exit code that the daemon reports if it has lost the real exit code."""
SIGKILL_EXIT_CODE = 128 + SIGKILL
"""The exit code of a shell whose child was killed by SIGKILL, possibly because of an OOM kill."""

# Times from the SDK and from the API may differ by less than a millisecond.
SAME_MOMENT = timedelta(milliseconds=1)


class Identity(NamedTuple):
    """The identity of a run. A pid alone does not identify a run, because pids are reused.

    Attributes:
        handle: the handle that the sandbox assigned to the run; None on older sandboxes.
            ``same_run`` assumes that None matches every handle.
        pid: the process id.
        started_at: when the process started, by the clock of the sandbox.

    """

    handle: int | None
    pid: int
    started_at: datetime

    def same_run(self, other: Identity) -> bool:
        """Return whether two identities refer to the same run."""
        if self.handle is not None and other.handle is not None and self.handle != other.handle:
            return False
        return self.pid == other.pid and abs(self.started_at - other.started_at) < SAME_MOMENT


class Screen(NamedTuple):
    """The terminal for which messages are formatted.

    Attributes:
        verbosity: the verbosity of pytest, from -1 (``-q``) up.
        columns: the width of a message in columns.
        say: a function that writes a line with the name of the running test, escaped and cut to the
            width of the terminal; None if there is no terminal.
        several_sandboxes: a function that returns whether each message must name its sandbox,
            because the session uses several sandboxes.

    """

    verbosity: int = 0
    columns: int = 100
    say: Callable[[str], None] | None = None
    several_sandboxes: Callable[[], bool] = bool


UNLISTED_PID = 0
"""The pid in the row that stands for a process that the sandbox does not list."""


class KernelCount(NamedTuple):
    """The OOM kills that a kernel has counted since it booted.

    Attributes:
        kills: the number of OOM kills.
        own: whether all of them happened in the sandbox; False if the sandbox may share the kernel
            with other sandboxes.

    """

    kills: int
    own: bool
