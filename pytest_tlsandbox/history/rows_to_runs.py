"""Assign rows to generations, and infer hidden runs that no list call showed.

``docs/history.md`` explains the rules by which rows are assigned to runs.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_tlsandbox.history.runs import End, Generation, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pytest_tlsandbox.models import LastExit, ManagedProcess, ProcessInfo
    from pytest_tlsandbox.types import Identity

_SAME_MOMENT = timedelta(milliseconds=1)
_MOST_OF_A_NAME = 10
"""Maximum number of generations with the same name to keep."""


class Generations:
    """The generations of one sandbox, grouped by the id of their supervisor.

    Args:
        position: a function that returns the current position in the history.
        note: a function that records the incidents for which a run currently shows evidence.
        lists: a function that returns whether the snapshot that is being recorded contains a row.

    """

    def __init__(
        self,
        *,
        position: Callable[[], int],
        note: Callable[[Run], None],
        lists: Callable[[ProcessInfo], bool],
    ) -> None:
        self._position = position
        self._note = note
        self._lists = lists
        self._by_id: dict[str, list[Generation]] = {}
        self._counts_early: bool | None = None

    def clear(self) -> None:
        """Forget all generations, because the daemon was replaced."""
        self._by_id.clear()

    def forget(self, generation: Generation) -> None:
        """Forget a generation that is no longer listed."""
        if generation.id is not None:
            self._by_id.pop(generation.id, None)

    def newest(self, generation: Generation) -> Generation:
        """Return the newest generation that has the same id as ``generation``."""
        return self._by_id.get(generation.id or "", [generation])[-1]

    def is_assumed(self, run: Run) -> bool:
        """Return whether the existence of a run depends on how this daemon counts restarts."""
        return run.assumed and self._counts_early is None

    def never_existed(self, run: Run) -> bool:
        """Return whether later evidence shows that an assumed run did not exist."""
        return run.assumed and self._counts_early is not None and self._counts_early != run.if_early

    def in_order(self, rows: Sequence[ProcessInfo]) -> list[ProcessInfo]:
        """Return rows in the order in which they must be recorded.

        Args:
            rows: new or changed rows, oldest first.

        Returns:
            The rows that are on time, oldest first, and then the late rows, newest first. A row is
            late if its generation already contains a newer listed run. The late rows are in reverse
            order because each late row replaces the last hidden run.

        """
        on_time: list[ProcessInfo] = []
        late: list[ProcessInfo] = []
        for row in rows:
            (late if self._is_late(row) else on_time).append(row)
        return on_time + late[::-1]

    def _is_late(self, row: ProcessInfo) -> bool:
        """Return whether the run of a row began between two listed runs of one generation."""
        return any(generation.newest.began_after(row) for generation in self._begun_before(row))

    def _begun_before(self, row: ProcessInfo) -> list[Generation]:
        """Return the generations with the same supervisor id as a row, oldest first.

        The result does not include generations that are newer than the row's run.
        """
        same_id = [] if row.managed is None else self._by_id.get(row.managed.id, [])
        return [generation for generation in same_id if not generation.began_after(row)]

    def place(self, row: ProcessInfo, later: int = 0) -> Run:
        """Return a new run for a row that is listed for the first time.

        Args:
            row: the row.
            later: the number that :func:`count_later` returned for the row.

        Returns:
            The run, which belongs to the generation that it continues or to a new generation.

        """
        managed = row.managed
        if managed is not None and managed.status == "backing_off" and not managed.restart_count:
            self._learn_counting(early=False)
        before = self._begun_before(row)
        if before and self._belongs(row, before[-1]):
            return self.continue_with(before[-1], row, later)
        return self.begin(row, later)

    def _belongs(self, row: ProcessInfo, generation: Generation) -> bool:
        """Return whether a row that is listed for the first time continues a generation."""
        new, old, newest = row.managed, generation.managed, generation.newest
        if newest.began_after(row):
            return True  # the row's run began between two runs of this generation
        known = newest.row
        if new is None or old is None or known is None:
            return False
        if new.last_exit is None or new.restart_count < old.restart_count:
            return False
        if (row.command, row.args, new.restart) != (known.command, known.args, old.restart):
            return False
        if newest.gone:
            return False  # because the supervisor was removed together with the row
        if _same_supervisor(row, known) or new.name is None:
            return True
        # If a list call saw the last run while its supervisor was backing off, its count may be one
        # too high.
        rise = self._count_of(row) - newest.count + self._may_count_early(known)
        if _ended_with(newest, new):
            return True
        earlier_end = not _describes(new.last_exit, row)
        if new.restart_count == 0 and not row.ended and earlier_end:
            return True  # because this daemon does not count requested restarts
        if old.status == "stopped":
            return False  # a new process reused the name
        if newest.end and newest.end.ended_at and rise < 2 and earlier_end:
            return False
        return rise > 0

    def begin(self, row: ProcessInfo, later: int = 0) -> Run:
        """Begin a generation for a new supervisor or an unmanaged process.

        Returns:
            The run of the row. The generation may also contain hidden runs before this run.

        """
        managed = row.managed
        generation = Generation(None if managed is None else managed.id)
        if managed is None:
            return generation.add(self._new_run(generation, 0, 0))
        same_id = self._by_id.setdefault(managed.id, [])
        before = self._begun_before(row)
        after = same_id[len(before) :]
        same_id[:] = [*before, generation, *after]
        count = max(0, self._count_of(row) - later)
        run = generation.add(self._new_run(generation, count, count))
        run.counted_late = self._may_count_early(row)
        if count:
            self._hide(generation, run, count, unsure=run.counted_late)
        generation.replaced = bool(after)
        if before:
            before[-1].replaced = True
            self._note(before[-1].newest)
            del same_id[: max(0, len(before) - _MOST_OF_A_NAME)]
        return run

    def continue_with(self, generation: Generation, row: ProcessInfo, later: int = 0) -> Run:
        """Add a new run to a generation.

        If there are hidden runs directly before the new run, they are added too.

        Returns:
            The new run.

        """
        newest = generation.newest
        if newest.began_after(row):
            return self._insert_older(generation, row)
        managed = row.managed
        before = None if newest.row is None else newest.row.managed
        count = max(0, self._count_of(row) - later)
        # No run is hidden if the last exit that the supervisor reports is already known, or if the
        # row of the last run is still listed, because then rows of later runs would be listed too.
        follows = _ended_with(newest, managed)
        if follows and managed and before and before.status == "backing_off":
            self._learn_counting(early=managed.restart_count == before.restart_count)
        kept = newest.row is not None and self._lists(newest.row)
        hidden = 0 if follows or kept else max(0, count - newest.count - 1)
        run = generation.add(self._new_run(generation, newest.number + hidden + 1, count))
        run.counted_late = self._may_count_early(row)
        newest.unhealthy = False
        self._note(newest)
        if hidden:
            # If both counts may be one too high, their difference is still right.
            unsure = run.counted_late and not newest.counted_late
            self._hide(generation, run, hidden, unsure=unsure)
        may_be_wrong = self._counts_early is None and newest.counted_late and not run.counted_late
        if may_be_wrong and not (follows or kept):
            # If the count of the last run is one too high, there is another hidden run.
            more = self._hide_one(generation, generation.runs[-1 - bool(hidden)], 1, 1)
            more.assumed = more.if_early = True
        return run

    def _new_run(self, generation: Generation, number: int, count: int, times: int = 1) -> Run:
        return Run(generation, max(0, number), max(0, count), self._position(), times)

    def _insert_older(self, generation: Generation, row: ProcessInfo) -> Run:
        """Return the run of a late row. The run may replace a hidden run."""
        later = next(run for run in generation.runs if run.began_after(row))
        before = generation.before(later)
        run = self._new_run(generation, later.number - 1, later.count - 1)
        if before is not None and before.row is None:
            if before.times == 1:
                return before
            before.times -= 1  # this object stands for several hidden runs
        return generation.add(run, before=later)

    def _hide(self, generation: Generation, run: Run, times: int, *, unsure: bool = False) -> None:
        """Add hidden runs before ``run``.

        If ``unsure`` is true, it is not certain that the last hidden run existed. This run is then
        marked as assumed.
        """
        if unsure and times > 1:
            self._hide_one(generation, run, times, times - 1)
            times = 1
        self._hide_one(generation, run, times, times).assumed = unsure

    def _hide_one(self, generation: Generation, run: Run, before: int, times: int) -> Run:
        hidden = self._new_run(generation, run.number - before, run.count - before, times)
        self._note(generation.add(hidden, before=run))
        return hidden

    def _may_count_early(self, row: ProcessInfo) -> bool:
        """Return whether the restart count of a row may include a restart that is still to come."""
        waits = row.managed is not None and row.managed.status == "backing_off"
        return waits and self._counts_early is None

    def _before(self, run: Run, last: LastExit) -> Run:
        """Return the run whose exit the supervisor reported last.

        This run ended directly before ``run`` began. If the run is not known yet, a hidden run is
        added.
        """
        before = run.generation.before(run)
        if before is not None and before.row is None:
            if before.times == 1:
                return before
            before.times -= 1
        elif before is not None:
            known = None if before.end is None else before.end.ended_at
            if known is None or last.ended_at is None or _same_moment(known, last.ended_at):
                return before
        hidden = self._new_run(run.generation, run.number - 1, run.count - 1)
        run.generation.add(hidden, before=run)
        if before is not None:
            self._note(before)
        return hidden

    def _count_of(self, row: ProcessInfo) -> int:
        """Return the restart count of a row, but leave out a restart that has not happened yet."""
        managed = row.managed
        if managed is None:
            return 0
        early = self._counts_early and managed.status == "backing_off"
        return max(0, managed.restart_count - bool(early))

    def read_supervisor(self, run: Run, row: ProcessInfo, before: ProcessInfo | None) -> None:
        """Record the state of the supervisor from the row of the newest run.

        Args:
            run: the newest run of its generation.
            row: the new row of the run.
            before: the previous row of the run; None if the run is listed for the first time.

        """
        generation, managed = run.generation, row.managed
        if managed is None:
            return
        generation.managed = managed
        run.waited = run.waited or managed.status == "backing_off"
        run.unhealthy = managed.health_status == "unhealthy" and not row.ended
        last = managed.last_exit
        its_own = last is not None and _describes(last, row)
        if before is not None and before.managed is not None:
            rise = managed.restart_count - before.managed.restart_count
            waited = before.managed.status == "backing_off"
            if managed.status == "backing_off" and not waited:
                self._learn_counting(early=rise > 0)
            elif rise > 0 and not waited and not its_own and not row.ended and not before.ended:
                run.count, run.number = managed.restart_count, run.number + rise
                self._hide(generation, run, rise)
        if managed.status == "stopped":
            run.count = managed.restart_count  # may count a restart too many
        if last is None:
            return
        if its_own:
            learn_end(run, End.of_last_exit(last))
        else:
            earlier = self._before(run, last)
            learn_end(earlier, End.of_last_exit(last))
            self._note(earlier)

    def _learn_counting(self, *, early: bool) -> None:
        """Record whether this daemon counts a restart before or after the back-off pause.

        Args:
            early: whether the daemon counts a restart before the pause.

        """
        if self._counts_early is not None:
            return
        self._counts_early = early
        for generation in itertools.chain(*self._by_id.values()):
            removed = 0
            for run in [*generation.runs]:
                run.number -= removed
                run.count -= early and run.counted_late
                if self.never_existed(run):
                    generation.remove(run)
                    removed += 1
                else:
                    run.assumed = False


def learn_end(run: Run, end: End) -> None:
    """Record evidence of how a run ended."""
    run.end = end if run.end is None else run.end.corrected(end)
    run.unhealthy = run.assumed = False


def _describes(last: LastExit, row: ProcessInfo) -> bool:
    """Return whether the last exit that a supervisor reports belongs to the run of this row."""
    if row.ended:
        return last.ended_at is None or last.ended_at >= row.started_at
    waits = row.managed is not None and row.managed.status in ("backing_off", "stopped")
    return waits and last.ended_at is not None and last.ended_at > row.started_at


def count_later(rows: Sequence[ProcessInfo]) -> dict[Identity, int]:
    """Return, for each row, how many later runs are included in its restart count.

    If a sandbox also lists older runs, their rows may contain the restart count and the last exit
    of the newest run. While a process is being restarted, its row may already contain the restart count of the next run. For such a row, the number of later runs is 1.

    Args:
        rows: rows sorted by start time.

    Returns:
        The number of later runs by the identity of the row. Rows without later runs are left out.

    """
    newest: dict[str, ProcessInfo] = {}
    counts: dict[str, int] = {}
    later = {}
    for row in reversed(rows):
        if row.managed is not None:
            last = newest.setdefault(row.managed.id, row)
            if _same_supervisor(row, last) if last is not row else _is_being_restarted(row):
                later[row.identity] = counts[row.managed.id] = counts.get(row.managed.id, 0) + 1
    return later


def _is_being_restarted(row: ProcessInfo) -> bool:
    """Return whether a row shows that its run ended and its supervisor is starting the next run."""
    managed = row.managed
    if managed is None or managed.last_exit is None or not row.ended:
        return False
    return _describes(managed.last_exit, row) and managed.status not in ("backing_off", "stopped")


def _same_supervisor(one: ProcessInfo, other: ProcessInfo) -> bool:
    """Return whether two rows show the same state of a supervisor. Health checks are ignored."""
    a, b = one.managed, other.managed
    if a is None or b is None:
        return False
    return (a.status, a.restart_count, a.last_exit, a.last_error) == (
        b.status,
        b.restart_count,
        b.last_exit,
        b.last_error,
    )


def _ended_with(run: Run, managed: ManagedProcess | None) -> bool:
    """Return whether the last exit that a supervisor reports belongs to a given run."""
    last = None if managed is None else managed.last_exit
    return (
        last is not None and run.end is not None and _same_moment(last.ended_at, run.end.ended_at)
    )


def _same_moment(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and abs(one - other) < _SAME_MOMENT
