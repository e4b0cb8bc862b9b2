"""Assign rows to generations, and infer hidden runs that no list call showed.

``docs/explanation/history.md`` explains the rules by which rows are assigned to runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from pytest_tlsandbox.history.runs import End, Generation, Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import LastExit, ManagedProcess, ProcessInfo
from pytest_tlsandbox.types import Identity

# Not a model, because pydantic takes 8 ms to prepare the first one.
_NO_SUPERVISOR: Any = SimpleNamespace(
    id="", name=None, status="none", restart=None, restart_count=0, last_exit=None, last_error=None
)
"""Stands for the supervisor of an unmanaged process, which never restarts the process."""
_state = attrgetter("status", "restart_count", "last_exit", "last_error")
"""Return the state of a supervisor, without its health check."""


class Generations:
    """The generations of one sandbox, grouped by the id of their supervisor.

    Args:
        note: a function that records the incidents for which a run currently shows evidence.

    Attributes:
        listed: the snapshot that is being recorded; None for a row of another call.
        later: the result of :func:`count_later` for the rows that are being recorded.
        by_id: the generations with each id, oldest first.
        counts_early: whether this daemon counts a restart when the supervisor begins to back off,
            and not when the next run starts; None if this is not known yet.

    """

    def __init__(self, note: Callable[[Run], None]) -> None:
        self.listed: ProcessSnapshot | None = None
        self.later: dict[Identity, int] = {}
        self._note = note
        self.by_id: dict[str, list[Generation]] = {}
        self.counts_early: bool | None = None

    def _begun_before(self, row: ProcessInfo) -> list[Generation]:
        """Return the generations with the same supervisor id as a row, oldest first.

        The result does not include generations that are newer than the row's run.
        """
        same_id = self.by_id.get(_supervisor(row).id, [])
        return [generation for generation in same_id if not generation.began_after(row)]

    def place(self, row: ProcessInfo) -> Run:
        """Return a new run for a row that is listed for the first time.

        The run belongs to the generation that it continues or to a new generation.
        """
        managed = row.managed
        if managed is not None and managed.status == "backing_off" and not managed.restart_count:
            self._learn_counting(early=False)
        before = self._begun_before(row)
        if before and self._belongs(row, before[-1]):
            return self.continue_with(before[-1], row)
        return self.begin(row)

    def _belongs(self, row: ProcessInfo, generation: Generation) -> bool:
        """Return whether a row that is listed for the first time continues a generation."""
        newest = generation.newest
        known, old, new = newest.row, _supervisor(newest.row), _supervisor(row)
        if newest.began_after(row):
            return True  # the row's run began between two runs of this generation
        if known is None or new.last_exit is None:
            return False
        if (row.command, row.args, new.restart) != (known.command, known.args, old.restart):
            return False
        if newest.gone or new.restart_count < old.restart_count:
            return False  # the supervisor was removed together with the row, or began to count anew
        if new.name is None or _state(new) == _state(old) or _ended_with(newest, new):
            return True
        earlier_end = not _describes(new.last_exit, row)
        if new.restart_count == 0 and not row.ended and earlier_end:
            return True  # because this daemon does not count requested restarts
        # If a list call saw the last run while its supervisor was backing off, its count may be one
        # too high.
        rise = self._count_of(new) - generation.count + self._may_count_early(old)
        if newest.end and newest.end.ended_at and earlier_end:
            rise -= 1  # another run must have ended since
        # A new process reuses the name of a stopped one.
        return rise > 0 and old.status != "stopped"

    def begin(self, row: ProcessInfo) -> Run:
        """Begin a generation for a new supervisor or an unmanaged process.

        Returns:
            The run of the row. The generation may also contain hidden runs before this run.

        """
        managed = _supervisor(row)
        generation = Generation(managed.id or None)
        same_id = self.by_id.setdefault(managed.id, []) if managed.id else []
        before = self._begun_before(row)
        generation.replaced = len(before) < len(same_id)
        same_id.insert(len(before), generation)
        run = self.continue_with(generation, row)
        if before:
            before[-1].replaced = True
            self._note(before[-1].newest)
        return run

    def continue_with(self, generation: Generation, row: ProcessInfo) -> Run:
        """Add a new run to a generation.

        If there are hidden runs directly before the new run, they are added too.

        Returns:
            The new run.

        """
        newest = generation.newest if generation.runs else Run(generation)
        if newest.began_after(row):
            later_run = next(run for run in generation.runs if run.began_after(row))
            return self._hidden_before(later_run)
        known, new = newest.row, _supervisor(row)
        count = max(0, self._count_of(new) - self.later.get(row.identity, 0))
        # No run is hidden if the last exit that the supervisor reports is already known, or if the
        # row of the last run is still listed, because then rows of later runs would be listed too.
        follows = _ended_with(newest, new)
        if follows and _supervisor(known).status == "backing_off":
            self._learn_counting(early=new.restart_count == _supervisor(known).restart_count)
        listed = known and self.listed and self.listed.find(known.identity)
        hidden = 0 if follows or listed else max(0, count - generation.count - 1)
        before_late, now_late = generation.counted_late, self._may_count_early(new)
        generation.count, generation.counted_late = count, now_late
        run = generation.add(Run(generation))
        if newest in generation.runs:
            self._note(newest)
        # If both counts may be one too high, their difference is still right.
        assumed = 1 if hidden and now_late and not before_late else 0
        if hidden > assumed:
            self._hide(run, hidden - assumed)
        if assumed:
            self._hide(run).assumed = True
        if self.counts_early is None and before_late and not (now_late or follows or listed):
            # If the count of the last run is one too high, there is another hidden run.
            more = self._hide(generation.runs[-1 - bool(hidden)])
            more.assumed = more.if_early = True
        return run

    def _hide(self, run: Run, times: int = 1) -> Run:
        """Add hidden runs directly before ``run``, and return the object that stands for them."""
        hidden = run.generation.add(Run(run.generation, times=times), before=run)
        self._note(hidden)
        return hidden

    def _hidden_before(self, run: Run) -> Run:
        """Return the hidden run directly before ``run``.

        If this hidden run is not known yet, this method adds it.
        """
        before = run.generation.before(run)
        if before is not None and before.row is None:
            if before.times == 1:
                return before
            before.times -= 1  # this object stands for several hidden runs
        return run.generation.add(Run(run.generation), before=run)

    def _may_count_early(self, managed: ManagedProcess) -> bool:
        """Return whether the restart count may include a restart that is still to come."""
        return managed.status == "backing_off" and self.counts_early is None

    def _count_of(self, managed: ManagedProcess) -> int:
        """Return the number of restarts that have already happened."""
        early = self.counts_early and managed.status == "backing_off"
        return max(0, managed.restart_count - bool(early))

    def update(self, run: Run, row: ProcessInfo) -> None:
        """Record the new row of a run.

        The state of the supervisor is ignored if it is not the state during this run.
        """
        before, run.row = run.row, row
        run.gone = run.assumed = False
        if row.ended:
            learn_end(run, End.of_row(row))
        if row.managed is None or run.generation.newest is not run or row.identity in self.later:
            return
        new, old, last = row.managed, _supervisor(before), row.managed.last_exit
        if new.status == "backing_off":
            run.waited = True
            if before is not None and old.status != "backing_off":
                self._learn_counting(early=new.restart_count > old.restart_count)
        if new.status == "stopped":
            run.generation.count = new.restart_count  # may count a restart too many
        if last is not None:
            ended = run if _describes(last, row) else self._run_before(run, last)
            learn_end(ended, End.of_last_exit(last))
            self._note(ended)

    def _run_before(self, run: Run, last: LastExit) -> Run:
        """Return the run that ended with the exit ``last`` directly before ``run``.

        If no such run was listed, the result is a hidden run.
        """
        before = run.generation.before(run)
        if before is not None and before.row is not None:
            known = None if before.end is None else before.end.ended_at
            if None in (known, last.ended_at) or known == last.ended_at:
                return before
        return self._hidden_before(run)

    def _learn_counting(self, *, early: bool) -> None:
        """Record whether this daemon increases the restart count before the back-off pause.

        Args:
            early: whether the daemon increases the restart count before the pause.

        """
        if self.counts_early is not None:
            return
        self.counts_early = early
        for generation in itertools.chain(*self.by_id.values()):
            generation.count -= early and generation.counted_late
            for run in [*generation.runs]:
                if run.assumed and run.if_early != early:
                    before = generation.before(run)
                    if before is not None:
                        before.successor = run.successor
                    generation.runs.remove(run)
                else:
                    run.assumed = False


def learn_end(run: Run, end: End) -> None:
    """Record evidence of how a run ended."""
    run.end = end if run.end is None else run.end.corrected(end)
    run.assumed = False


def _describes(last: LastExit, row: ProcessInfo) -> bool:
    """Return whether the last exit that a supervisor reports belongs to the run of this row."""
    if row.ended:
        return last.ended_at is None or last.ended_at >= row.started_at
    waits = _supervisor(row).status in ("backing_off", "stopped")
    return waits and last.ended_at is not None and last.ended_at > row.started_at


def count_later(rows: Sequence[ProcessInfo]) -> dict[Identity, int]:
    """Return how many later runs are included in the restart count of each row.

    If a sandbox also lists older runs, their rows may contain the restart count and the last exit
    of the newest run. While a process is being restarted, its row may already contain the restart
    count of the next run. For such a row, the number of later runs is 1.

    Args:
        rows: rows sorted by start time.

    Returns:
        The number of later runs by the identity of the row. Rows without later runs are left out.

    """
    newest: dict[str, ManagedProcess] = {}
    counts: dict[str, int] = {}
    later = {}
    for row in reversed(rows):
        if (managed := row.managed) is not None:
            last = newest.setdefault(managed.id, managed)
            if _is_being_restarted(row) if last is managed else _state(last) == _state(managed):
                later[row.identity] = counts[managed.id] = counts.get(managed.id, 0) + 1
    return later


def _is_being_restarted(row: ProcessInfo) -> bool:
    """Return whether a row shows that its run ended and its supervisor is starting the next run."""
    managed = _supervisor(row)
    if managed.last_exit is None or not row.ended:
        return False
    return _describes(managed.last_exit, row) and managed.status not in ("backing_off", "stopped")


def _supervisor(row: ProcessInfo | None) -> ManagedProcess:
    return _NO_SUPERVISOR if row is None or row.managed is None else row.managed


def _ended_with(run: Run, managed: ManagedProcess) -> bool:
    """Return whether the last exit that a supervisor reports belongs to a given run."""
    if run.end is None or run.end.ended_at is None or managed.last_exit is None:
        return False
    return managed.last_exit.ended_at == run.end.ended_at
