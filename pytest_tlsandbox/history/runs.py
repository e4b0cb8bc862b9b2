"""An execution of a program is a run; the runs of one supervisor are a generation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pytest_tlsandbox.formatting.processes import SIGNAL_NAMES, describe_state, signal_name
from pytest_tlsandbox.models import LastExit, ManagedProcess, ProcessInfo, by_start
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import CRASH_SIGNALS, SIGHUP, SIGKILL, SIGTERM, UNKNOWN_EXIT_CODE

NOT_LISTED = "not listed"
STOPS = frozenset({SIGTERM, SIGKILL})
"""The signals that a supervisor sends to a run when it is asked to stop the run."""


class End(NamedTuple):
    """How a run ended, as far as the sandbox has reported it.

    Attributes:
        exit_code: the exit code; None if a signal ended the run, or the exit code is unknown.
        signal: the number of the signal that ended the run; None if the run exited.
        oom_killed: whether the sandbox confirms an OOM kill.
        ended_at: when the run ended, by the clock of the sandbox.
        child: whether a child of the process was OOM-killed, but the process itself exited.

    """

    exit_code: int | None
    signal: int | None
    oom_killed: bool
    ended_at: datetime | None
    child: bool = False

    def __str__(self) -> str:
        """Return the end as text, such as "exited 1", "signaled 9 (SIGKILL)" or "OOM-killed"."""
        if self.oom_killed:
            return "OOM-killed"
        if self.signal is not None:
            return f"signaled {signal_name(self.signal)}"
        return "unknown" if self.exit_code is None else f"exited {self.exit_code}"

    @property
    def headline(self) -> str:
        """The end as a headline, such as "Exited 1" or "Crashed with SIGSEGV"."""
        if self.oom_killed:
            return "A child was OOM-killed" if self.child else "OOM-killed"
        if self.signal is None:
            return "Ended" if self.exit_code is None else f"Exited {self.exit_code}"
        name = SIGNAL_NAMES.get(self.signal, f"signal {self.signal}")
        return f"{'Crashed with' if self.signal in CRASH_SIGNALS else 'Killed by'} {name}"

    @property
    def lost(self) -> bool:
        """Whether the sandbox lost the exit code of the run (api-notes, "Ends").

        In this case, the sandbox reports either the exit code -1, or no exit code and no signal.
        """
        known = self.oom_killed or self.signal is not None
        return not known and self.exit_code in (None, UNKNOWN_EXIT_CODE)

    @classmethod
    def of_row(cls, row: ProcessInfo) -> End:
        """Return how a run ended, according to its row."""
        killed = row.oom_killed or row.state == "oom_killed"
        child = killed and row.state == "exited"
        signal = None if row.state == "exited" else row.signal
        code = None if row.state == "signaled" else row.exit_code
        return cls(code, signal, killed, row.ended_at, child)

    @classmethod
    def of_last_exit(cls, last: LastExit) -> End:
        """Return how the last run ended, according to its supervisor."""
        child = last.oom_killed and last.signal is None and last.exit_code is not None
        return cls(last.exit_code, last.signal, last.oom_killed, last.ended_at, child)

    def corrected(self, newer: End) -> End:
        """Return how the run ended, after taking newer evidence into account.

        Known values are kept if the newer evidence contains no exit code and no signal. A confirmed
        OOM kill is always kept.
        """
        kept = self if newer.lost and not self.lost else newer
        killed = self.oom_killed or newer.oom_killed
        child = killed and (self if self.oom_killed else newer).child
        ended_at = kept.ended_at or self.ended_at
        return kept._replace(oom_killed=killed, ended_at=ended_at, child=child)


class Change(NamedTuple):
    """A state change of a run.

    Attributes:
        at: when a list call first showed the new state, in seconds of this machine's monotonic
            clock.
        state: the new state in words.
        moment: when the new state began, by the clock of the sandbox; None if unknown.

    """

    at: float
    state: str
    moment: datetime | None


@dataclass(eq=False, repr=False, slots=True)
class Run:
    """One execution of a program.

    Attributes:
        generation: the generation that this run belongs to.
        first_seen: the position in the history at which the run was first seen.
        times: the number of runs for which this object stands; more than 1 only for hidden runs.
        row: the newest row of the run; None if no list call saw the run.
        end: how the run ended; None if the run is not known to have ended.
        successor: the next run of its generation; None if there is no next run.
        gone: whether the run was listed before, but is no longer listed.
        assumed: whether the existence of the run depends on whether this daemon counts restarts
            early (when the supervisor begins to back off) or late (when the next run starts).
            If the daemon turns out to count the other way, the history no longer returns the
            incidents of the run.
        if_early: for an assumed run, True if the run exists only if this daemon counts restarts
            early, and False if the run exists only if the daemon counts restarts late.
        waited: whether a list call showed that the supervisor was backing off after the run ended.
        restarted_here: whether this plugin requested the restart after this run.
        sent: the signals that this plugin sent to the run, including signals of a kill.
        declared: the kinds of incidents that a test waited for or asserted.
        seen: the kinds of incidents that were recorded.
        changes: the state changes of the run, oldest first.
        running_then: for a process that the sandbox does not list, the processes that were alive
            when the kernel counted the OOM kill; None for all other runs.
        over_at: when a list call first showed that the run is over, in seconds of the monotonic
            clock.

    """

    generation: Generation
    first_seen: int = 0
    times: int = 1
    row: ProcessInfo | None = None
    end: End | None = None
    successor: Run | None = None
    gone: bool = False
    assumed: bool = False
    if_early: bool = False
    waited: bool = False
    restarted_here: bool = False
    sent: frozenset[int] = frozenset()
    declared: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()
    changes: list[Change] = field(default_factory=list)
    running_then: tuple[ProcessInfo, ...] | None = None
    over_at: float | None = None

    def __repr__(self) -> str:
        pid = "never listed" if self.row is None else f"pid {self.row.pid}"
        return f"<Run {self.number} of {mask_text(str(self.generation.id))}: {pid}, {self.end or 'no end seen'}>"

    @property
    def number(self) -> int:
        """The number of known runs that came before this run in its generation."""
        earlier = itertools.takewhile(lambda run: run is not self, self.generation.runs)
        return sum(run.times for run in earlier)

    @property
    def is_newest(self) -> bool:
        """Whether this run is the newest known run with its id."""
        return self.successor is None and not self.generation.replaced

    @property
    def over(self) -> bool:
        """Whether the run has ended, has vanished from the list, or was followed by a later run."""
        return self.end is not None or self.gone or not self.is_newest

    @property
    def may_be_corrected(self) -> bool:
        """Whether the sandbox may later correct its report of how the run ended.

        A correction is possible for a lost exit code, and for a SIGHUP that this plugin did not
        send. Daemons sometimes report a SIGHUP or a lost exit code even though the process
        exited normally (api-notes, "Ends").
        """
        end = self.end
        if end is None or end.oom_killed:
            return False
        return end.lost or (end.signal == SIGHUP and SIGHUP not in self.sent)

    @property
    def gave_up(self) -> bool:
        """Whether the supervisor gave up because a failing process had used up all its restarts.

        A supervisor that was stopped deliberately does not count as having given up. A stop counts
        as deliberate if SIGTERM or SIGKILL ended the run, the run was not OOM-killed, and the
        supervisor does not report an error.
        """
        if "gave_up" in self.seen:
            return True  # even if the process was started again later
        end, managed = self.end, None if self.row is None else self.row.managed
        if end is None or managed is None or managed.status != "stopped":
            return False
        last = managed.last_exit
        if self.successor is not None and (last is None or last.ended_at != end.ended_at):
            return False  # because the row shows the supervisor during a later run
        restart = managed.restart
        limit = None if restart is None or restart.policy == "never" else restart.max_restarts
        if limit is None or managed.restart_count < limit:
            return False
        if managed.last_error is not None:
            return end.exit_code != 0
        if self.waited:
            return False  # another client stopped it
        stopped = end.signal in STOPS or (end.exit_code or 0) - 128 in STOPS
        return (end.oom_killed or not stopped) and not end.lost and end.exit_code != 0

    @property
    def ended_here(self) -> bool:
        """Whether the run ended because of an action by this plugin."""
        end = self.end
        if end is None or end.lost:
            # A program may handle SIGTERM, so a sent SIGTERM does not explain why a run ended in an
            # unknown way.
            return bool(self.sent & {SIGKILL, *CRASH_SIGNALS})
        if end.oom_killed:
            return False  # the OOM kill happened before our signal
        if end.signal is not None:
            return end.signal in self.sent
        return SIGKILL in self.sent or (end.exit_code or 0) - 128 in self.sent

    def began_after(self, row: ProcessInfo) -> bool:
        """Return whether this run began after the run in ``row``.

        If this run was never listed, the result is False.
        """
        return self.row is not None and by_start(self.row) > by_start(row)

    @property
    def state(self) -> str:
        """The current or final state of the run in words."""
        if self.gone and self.is_newest:
            return NOT_LISTED
        if self.row is not None and (self.row.ended or not self.over):
            return describe_state(self.row)
        return "ended, how is not known" if self.end is None else str(self.end)

    def note_state(self, at: float) -> None:
        """Record the state if it changed; ``at`` is the time in seconds of the monotonic clock."""
        state, changes = self.state, self.changes
        if self.over_at is None or not self.over:
            self.over_at = at if self.over else None
        if changes and changes[-1].state == state:
            return
        if changes and changes[-1].at == at:
            changes.pop()
        moment = None if self.over or self.row is None else self.row.started_at
        if self.end is not None and state != NOT_LISTED:
            moment = self.end.ended_at
        changes.append(Change(at, state, moment))


@dataclass(eq=False, repr=False, slots=True)
class Generation:
    """The runs of one supervisor. For an unmanaged process, a generation contains only one run.

    Attributes:
        id: the id of the supervisor; None for an unmanaged process.
        runs: the runs, oldest first; not empty after the generation was added to a history.
        count: the restart count of the supervisor during the newest run.
        counted_late: whether ``count`` is one too high if this daemon counts restarts early.
        replaced: whether another generation with the same id has begun.

    """

    id: str | None
    runs: list[Run] = field(default_factory=list)
    count: int = -1
    counted_late: bool = False
    replaced: bool = False

    @property
    def newest(self) -> Run:
        """The newest run."""
        return self.runs[-1]

    @property
    def managed(self) -> ManagedProcess | None:
        """The state of the supervisor in the newest row; None for an unmanaged process."""
        return next(run.row.managed for run in reversed(self.runs) if run.row is not None)

    @property
    def first_seen(self) -> int:
        """The position in the history at which the generation was first seen."""
        return min(run.first_seen for run in self.runs)

    @property
    def alive(self) -> bool:
        """Whether a run of this generation is alive, or will be started by the supervisor."""
        if self.newest.gone or self.replaced:
            return False
        waits = self.managed is not None and self.managed.status != "stopped"
        return self.newest.end is None or waits

    def began_after(self, row: ProcessInfo) -> bool:
        """Return whether the first listed run in this generation began after the run in ``row``."""
        return next(run for run in self.runs if run.row is not None).began_after(row)

    def before(self, run: Run) -> Run | None:
        """Return the run before ``run``, or None if ``run`` is the first run of this generation."""
        place = self.runs.index(run)
        return self.runs[place - 1] if place else None

    def add(self, run: Run, before: Run | None = None) -> Run:
        """Add a run at the end of this generation, or before another run of this generation.

        Args:
            run: the run.
            before: the run before which to insert ``run``; None for the end.

        Returns:
            The run.

        """
        place = len(self.runs) if before is None else self.runs.index(before)
        if place:
            self.runs[place - 1].successor = run
        run.successor = before
        self.runs.insert(place, run)
        return run
