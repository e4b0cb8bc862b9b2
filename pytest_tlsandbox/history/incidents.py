"""The incidents of runs: OOM kills, crashes, restarts and other events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.types import CRASH_SIGNALS, SIGKILL, SIGKILL_EXIT_CODE

OOM = "oom"
SUSPECTED_OOM = "suspected_oom"
CRASH = "crash"
GAVE_UP = "gave_up"
RESTART = "restart"
UNHEALTHY = "unhealthy"
UNSEEN_END = "unseen_end"
LOST_END = "lost_end"
LEAK = "leak"
"""A process outlived the test that started it. Only the guard finds such incidents."""
OPEN_END = "open_end"
"""A SIGHUP that this plugin did not send ended the run.

The sandbox may later correct how the run ended (api-notes, "Ends").
"""


@dataclass(frozen=True)
class Incident:
    """An event that happened to a run.

    Attributes:
        kind: the kind of incident, one of the constants of this module.
        run: the run to which the incident happened.
        position: the position in the history at which the evidence was first seen.
        at: the time of the position, in seconds of this machine's monotonic clock.
        caused_here: whether this plugin caused the incident.

    """

    kind: str
    run: Run
    position: int
    at: float

    @property
    def only_in_kernel(self) -> bool:
        """Whether only the kernel has shown that this is an OOM kill."""
        end = self.run.end
        return self.run.running_then is not None or (
            self.kind == OOM and end is not None and not end.oom_killed
        )

    @property
    def caused_here(self) -> bool:
        """Whether this plugin caused the incident. The value is False for a confirmed OOM kill."""
        if self.kind == RESTART and self.run.restarted_here:
            return True
        return self.kind not in (OOM, UNHEALTHY) and self.run.ended_here


def kinds_of(run: Run) -> Iterator[str]:
    """Yield each kind of incident for which a run currently shows evidence."""
    end = run.end
    if end is None:
        if run.over:
            yield UNSEEN_END
    elif end.lost:
        yield LOST_END
    else:
        if end.oom_killed:
            yield OOM
        elif end.signal == SIGKILL or end.exit_code == SIGKILL_EXIT_CODE:
            yield SUSPECTED_OOM
        elif run.may_be_corrected:
            yield OPEN_END
        if end.signal in CRASH_SIGNALS:
            yield CRASH
    if run.gave_up:
        yield GAVE_UP
    if run.successor is not None:
        yield RESTART
    managed = None if run.row is None else run.row.managed
    if managed is not None and managed.health_status == "unhealthy" and not run.over:
        yield UNHEALTHY
