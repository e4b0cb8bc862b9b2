"""Text for the state or the end of a process: "exited 1", "signaled 15 (SIGTERM)"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_tlsandbox.types import SIGNALS

if TYPE_CHECKING:
    from pytest_tlsandbox.models import ProcessInfo


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
