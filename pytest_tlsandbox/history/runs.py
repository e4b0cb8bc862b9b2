"""One execution of a program (a run), and the runs of one supervisor (a generation)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.formatting.processes import describe_end, describe_state
from pytest_tlsandbox.models import by_start
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import (
    CRASH_SIGNALS,
    SIGHUP,
    SIGKILL,
    SIGKILL_EXIT_CODE,
    SIGTERM,
    UNKNOWN_EXIT_CODE,
)

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_tlsandbox.models import LastExit, ManagedProcess, ProcessInfo

NOT_LISTED = "not listed"
_STOPS = frozenset({SIGTERM, SIGKILL})
_STOP_EXIT_CODES = {128 + number for number in _STOPS}
_MOST_CHANGES = 100
"""How many changes of state of one run are kept: the first and the newest ones."""
_MOST_RUNS = 100
"""How many runs of one generation are kept: crash loops must not fill the memory."""


class End(NamedTuple):
    """How a run ended, as far as the sandbox has reported it.

    Attributes:
        exit_code: the exit code; None if a signal ended the run or the code is unknown.
        signal: the number of the signal that ended the run; None if it exited.
        oom_killed: whether the sandbox confirms an OOM kill.
        ended_at: when the run ended, by the clock of the sandbox.
        child: whether the OOM kill hit a child of the process, and the process itself exited.

    """

    exit_code: int | None
    signal: int | None
    oom_killed: bool
    ended_at: datetime | None
    child: bool = False

    @property
    def lost(self) -> bool:
        """Whether the end is lost: exit code -1, or no code and no signal (api-notes, "Ends")."""
        if self.oom_killed or self.signal is not None:
            return False
        return self.exit_code in (None, UNKNOWN_EXIT_CODE)

    @classmethod
    def of_row(cls, row: ProcessInfo) -> End:
        """Return the end that the row of a run shows."""
        killed = row.oom_killed or row.state == "oom_killed"
        child = killed and row.state == "exited"
        signal = None if row.state == "exited" else row.signal
        code = None if row.state == "signaled" else row.exit_code
        return cls(code, signal, killed, row.ended_at, child)

    @classmethod
    def of_last_exit(cls, last: LastExit) -> End:
        """Return the end that a supervisor reports."""
        child = last.oom_killed and last.signal is None and last.exit_code is not None
        return cls(last.exit_code, last.signal, last.oom_killed, last.ended_at, child)

    def corrected(self, newer: End) -> End:
        """Return this end, corrected by newer evidence.

        A known end stays if the newer one is lost, and an OOM kill stays in any case.
        """
        kept = self if newer.lost and not self.lost else newer
        killed = self.oom_killed or newer.oom_killed
        return kept._replace(
            oom_killed=killed,
            ended_at=kept.ended_at or self.ended_at,
            child=killed and (self if self.oom_killed else newer).child,
        )


class Change(NamedTuple):
    """A change of the state of a run.

    Attributes:
        at: when a list call first showed the state, in seconds of this machine's monotonic clock.
        state: the new state in words.
        moment: when the state began, by the clock of the sandbox; None if unknown.

    """

    at: float
    state: str
    moment: datetime | None


@dataclass(eq=False, repr=False, slots=True)
class Run:
    """One execution of a program.

    Attributes:
        generation: the generation that this run belongs to.
        number: how many runs came before it in its generation, as far as known.
        count: the restart count of the supervisor during this run.
        first_seen: the position of the history at which it first showed.
        times: how many runs this object stands for; more than 1 only for hidden runs.
        row: its newest row; None if no list call saw the run.
        end: how it ended; None if no end is known.
        successor: the next run of its generation; None if there is none.
        gone: whether it was listed before and no longer is.
        unhealthy: whether its health check fails now.
        assumed: whether it exists only if this daemon counts restarts in one of two ways: "early",
            when the supervisor begins to back off, or when the new run starts.
        if_early: which of the two ways that is.
        counted_late: whether its count is one too high if this daemon counts early.
        waited: whether a list call saw its supervisor back off after its end.
        restarted_here: whether this plugin requested the restart after it.
        sent: the signals that this plugin sent to it, including those of a kill.
        declared: the kinds of incident that a test waited for or asserted.
        seen: for each kind of incident, the position at which its evidence first showed.
        changes: the changes of its state, oldest first.
        over_at: when it first showed to be over, in seconds of the monotonic clock.

    """

    generation: Generation
    number: int
    count: int
    first_seen: int
    times: int = 1
    row: ProcessInfo | None = None
    end: End | None = None
    successor: Run | None = None
    gone: bool = False
    unhealthy: bool = False
    assumed: bool = False
    if_early: bool = False
    counted_late: bool = False
    waited: bool = False
    restarted_here: bool = False
    sent: frozenset[int] = frozenset()
    declared: frozenset[str] = frozenset()
    seen: dict[str, int] | None = None
    changes: list[Change] = field(default_factory=list)
    over_at: float | None = None

    def __repr__(self) -> str:
        pid = "never listed" if self.row is None else f"pid {self.row.pid}"
        return f"<Run {self.number} of {mask_text(str(self.generation.id))}: {pid}, {self.end or 'no end seen'}>"

    @property
    def is_newest(self) -> bool:
        """Whether no later run with its id is known."""
        return self.successor is None and not self.generation.replaced

    @property
    def over(self) -> bool:
        """Whether the run is over: it ended, vanished, or has a later run."""
        return self.end is not None or self.gone or not self.is_newest

    @property
    def may_be_corrected(self) -> bool:
        """Whether the sandbox may report the end wrongly and correct it later.

        This applies to a lost end and to a SIGHUP that this plugin did not send: daemons report
        both for processes that exited properly (api-notes, "Ends").
        """
        end = self.end
        if end is None or end.oom_killed:
            return False
        return end.lost or (end.signal == SIGHUP and not self.was_sent(SIGHUP))

    @property
    def suspected_oom(self) -> bool:
        """Whether it ended by SIGKILL or exit code 137, which may be due to an OOM kill."""
        end = self.end
        if end is None or end.oom_killed:
            return False
        return end.signal == SIGKILL or end.exit_code == SIGKILL_EXIT_CODE

    @property
    def gave_up(self) -> bool:
        """Whether its supervisor gave up, because a failing process used up all restarts.

        If the supervisor reports no error, an end by SIGTERM or SIGKILL is a deliberate stop.
        """
        if self.seen and "gave_up" in self.seen:
            return True  # even if it was started again since
        end, managed = self.end, self._supervisor
        if end is None or managed is None or managed.status != "stopped":
            return False
        restart = managed.restart
        if restart is None or restart.policy == "never" or restart.max_restarts is None:
            return False
        if managed.restart_count < restart.max_restarts:
            return False
        if managed.last_error is not None:
            return end.exit_code != 0
        if self.waited:
            return False  # it had restarts left, so another client stopped it
        stopped = end.signal in _STOPS or end.exit_code in _STOP_EXIT_CODES
        return (end.oom_killed or not stopped) and not end.lost and end.exit_code != 0

    @property
    def _supervisor(self) -> ManagedProcess | None:
        """The state of the supervisor in its row; None if that is the state during a later run."""
        managed = None if self.row is None else self.row.managed
        if managed is None or self.successor is None:
            return managed
        last = managed.last_exit
        own = last is not None and self.end is not None and last.ended_at == self.end.ended_at
        return managed if own else None

    def was_sent(self, number: int | None) -> bool:
        """Return whether this plugin sent that signal to the run, directly or as part of a kill."""
        return number in self.sent

    def forget(self, *numbers: int) -> None:
        """Forget signals that the sandbox did not send because the run had already ended."""
        self.sent -= {*numbers}

    def stop(self) -> None:
        """Record that this plugin makes the supervisor stop the run: by SIGTERM, then SIGKILL."""
        self.sent |= _STOPS

    @property
    def ended_here(self) -> bool:
        """Whether this plugin caused the end of the run."""
        end = self.end
        if end is None or end.lost:
            # A program may handle SIGTERM, so SIGTERM does not explain an unknown end.
            return bool(self.sent & {SIGKILL, *CRASH_SIGNALS})
        if end.oom_killed:
            return False  # the OOM kill came before our signal
        if end.signal is not None:
            return self.was_sent(end.signal)
        code = end.exit_code or 0
        return self.was_sent(SIGKILL) or (code > 128 and self.was_sent(code - 128))

    def began_after(self, row: ProcessInfo) -> bool:
        """Return whether a list call saw this run and it began after a row."""
        return self.row is not None and by_start(self.row) > by_start(row)

    @property
    def state(self) -> str:
        """The current or final state of the run in words."""
        if self.gone and self.is_newest:
            return NOT_LISTED
        if self.row is not None and (self.row.ended or not self.over):
            return describe_state(self.row)
        return "ended, how is not known" if self.end is None else describe_end(self.end)

    def note_state(self, at: float) -> None:
        """Record the current state if it changed; ``at`` is in seconds of the monotonic clock."""
        state, changes = self.state, self.changes
        if not self.over:
            self.over_at = None
        elif self.over_at is None:
            self.over_at = at
        if changes and changes[-1].state == state:
            return
        if changes and changes[-1].at == at:
            changes.pop()
        moment = None
        if state != NOT_LISTED:
            if self.end is not None:
                moment = self.end.ended_at
            elif self.row is not None and not self.over:
                moment = self.row.started_at
        changes.append(Change(at, state, moment))
        if len(changes) > _MOST_CHANGES:
            del changes[1]


@dataclass(eq=False, repr=False, slots=True)
class Generation:
    """The runs of one supervisor. An unmanaged process is a generation of one run.

    Attributes:
        id: the id of the supervisor; None for an unmanaged process.
        runs: the runs, oldest first; never empty once the generation is in a history.
        managed: the state of the supervisor in its newest row.
        replaced: whether another generation began under the same id.

    """

    id: str | None
    runs: list[Run] = field(default_factory=list)
    managed: ManagedProcess | None = None
    replaced: bool = False

    @property
    def newest(self) -> Run:
        """The newest run."""
        return self.runs[-1]

    @property
    def first_seen(self) -> int:
        """The position of the history at which the generation first showed."""
        return min(run.first_seen for run in self.runs)

    @property
    def alive(self) -> bool:
        """Whether a run is alive or the supervisor will start another one."""
        if self.newest.gone or self.replaced:
            return False
        waits = self.managed is not None and self.managed.status != "stopped"
        return self.newest.end is None or waits

    def began_after(self, row: ProcessInfo) -> bool:
        """Return whether the first listed run began after a row."""
        return next(run for run in self.runs if run.row is not None).began_after(row)

    def before(self, run: Run) -> Run | None:
        """Return the run before one of the runs; None for the first."""
        place = self.runs.index(run)
        return self.runs[place - 1] if place else None

    def add(self, run: Run, before: Run | None = None) -> Run:
        """Add a run at the end, or before another one.

        If more than 100 runs are kept, the oldest one after the first is dropped.

        Args:
            run: the run.
            before: the run before which to insert it; None for the end.

        Returns:
            The run.

        """
        place = len(self.runs) if before is None else self.runs.index(before)
        if place:
            self.runs[place - 1].successor = run
        run.successor = before
        self.runs.insert(place, run)
        # A run that the counts do not include has a number, too.
        for earlier, later in itertools.pairwise(self.runs[max(0, place - 1) :]):
            later.number = max(later.number, earlier.number + earlier.times)
        if len(self.runs) > _MOST_RUNS:
            del self.runs[1]
        return run

    def remove(self, run: Run) -> None:
        """Remove a run that turned out not to exist."""
        before = self.before(run)
        if before is not None:
            before.successor = run.successor
        self.runs.remove(run)
