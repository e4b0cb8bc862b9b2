"""The history of a sandbox, which converts snapshots to runs and finds incidents.

The daemon lists rows, not runs. A row alone does not show which run it belongs to. A managed
process keeps its id across restarts, and a later process may have the same name. If a process has
exited several times, the daemon keeps only the last exit. ``docs/explanation/history.md`` explains
how rows are assigned to runs.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter

from pytest_tlsandbox.history.incidents import OOM, SUSPECTED_OOM, UNHEALTHY, Incident, kinds_of
from pytest_tlsandbox.history.rows_to_runs import Generations, count_later
from pytest_tlsandbox.history.runs import STOPS, Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.history.unlisted_kills import UnlistedKills
from pytest_tlsandbox.models import ProcessInfo, by_start
from pytest_tlsandbox.types import SIGKILL, Identity

_position = attrgetter("position")


class History:
    """The runs and incidents of one sandbox, derived from snapshots and the plugin's own actions.

    A *position* is a number that increases whenever a snapshot or a row is recorded. Position 0 is
    before everything that was recorded. The history is safe to use from several threads.

    Args:
        now: a function that returns the time of the monotonic clock, in seconds.

    Attributes:
        position: the newest position.
        first: the oldest snapshot; None before the first snapshot.
        last: the newest snapshot; None before the first snapshot.
        started: the runs that this plugin started, oldest first.
        replaced_at: the position at which the daemon was last replaced; 0 if it was never replaced.
        observers: functions that are called with each snapshot and the runs that it changed.

    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.observers: list[Callable[[ProcessSnapshot, list[Run]], None]] = []
        self.position = 0
        self.first: ProcessSnapshot | None = None
        self.last: ProcessSnapshot | None = None
        self.started: list[Run] = []
        self.replaced_at = 0
        self._now = now
        self._lock = threading.RLock()
        self._generations = Generations(self._note)
        self._runs: dict[Identity, Run] = {}
        self._unlisted: dict[Identity, float] = {}
        """When this plugin started or restarted each run that no snapshot has listed yet."""
        # A row of the first snapshot is converted to a run only if it changes or is requested. Most
        # rows are never converted, and converting ten thousand rows takes 0.1 s.
        self._unread: dict[str | Identity, list[ProcessInfo]] = {}
        self._incidents: list[Incident] = []
        self._unlisted_kills = UnlistedKills()
        self._touched: list[Run] = []
        self._evidence = 0, 0.0
        """The position and the time of the rows that are being recorded."""

    def fold(self, snapshot: ProcessSnapshot) -> list[Run]:
        """Record a snapshot, set its attributes ``history`` and ``position``, and call observers.

        The first snapshot does not change any run, because the history begins with this snapshot.
        Snapshots can arrive out of order. The given snapshot does not change any run if the
        history already contains a snapshot that was requested later.

        Returns:
            The runs that changed since the previous snapshot.

        """
        with self._lock:
            last, changed = self.last, []
            in_order = last is None or last.begun <= snapshot.begun
            self.position += in_order
            snapshot.history, snapshot.position = self, self.position
            if in_order:
                self.last = snapshot
                if snapshot.kernel is not None:
                    self._unlisted_kills.kernel_counts(snapshot.kernel, snapshot)
                if last is None:
                    self.first = snapshot
                if last is None and not self._runs:
                    for row in snapshot:
                        self._unread.setdefault(_process_of(row), []).append(row)
                elif last is None or snapshot.processes is not last.processes or self._unlisted:
                    changed = self._record_changes(last, snapshot)
            for observe in [*self.observers]:  # waits of other threads come and go
                observe(snapshot, changed)
            return changed

    def position_of(self, snapshot: ProcessSnapshot | None) -> int:
        """Return the position of a snapshot, or 0 if ``snapshot`` is None.

        A snapshot that has no position yet is recorded first.
        """
        if snapshot is None:
            return 0
        if snapshot.position is None:
            self.fold(snapshot)
        return snapshot.position or 0

    def note_start(self, row: ProcessInfo) -> Run:
        """Record a process that this plugin started.

        Returns:
            The run of the process. This run begins a new generation.

        """
        with self._lock:
            run = self._take_row(row, lambda: self._generations.begin(row))
            self.started.append(run)
            return run

    def note_restart(self, before: ProcessInfo, after: ProcessInfo) -> Run:
        """Record a restart that this plugin requested.

        Args:
            before: the row of the run that was restarted.
            after: the row that the sandbox returned for the next run.

        Returns:
            The next run.

        """
        with self._lock:
            old = self._take_row(before, lambda: self._generations.place(before))
            # The request contained the name of the supervisor, so it reached the newest supervisor
            # with that name.
            named = self._generations.by_id.get(old.generation.id or "", [old.generation])[-1]
            had_ended = [run for run in named.runs if run.end is not None]
            run = self._take_row(after, lambda: self._generations.continue_with(named, after))
            last = run.generation.before(run)
            if last is not None:
                last.restarted_here = True
                if last not in had_ended:
                    last.sent |= STOPS
            return run

    def note_signals(self, row: ProcessInfo, *signals: int) -> Callable[[], None]:
        """Record the signals that a process may receive because of a call by this plugin.

        A run that is not known or has already ended does not change.

        Args:
            row: the row of the process.
            signals: the numbers of the signals.

        Returns:
            A function that removes the record, for the case that the sandbox rejects the call.

        """
        run = self.run_of(row)
        if run is None or run.over:
            return lambda: None
        new = frozenset(signals) - run.sent
        run.sent |= new

        def forget() -> None:
            run.sent -= new

        return forget

    def run_of(self, row: ProcessInfo) -> Run | None:
        """Return the run of a row, or None if the history does not know the row."""
        with self._lock:
            if row.identity not in self._runs:
                self._read([row])
            return self._runs.get(row.identity)

    def vanished_with(self, pid: int) -> Run | None:
        """Return the newest vanished run with the given pid.

        If no run with this pid has vanished, the result is None.
        """
        with self._lock:
            runs = reversed(self._runs.items())
            return next((run for key, run in runs if key.pid == pid and run.gone), None)

    def find(self, identity: Identity) -> Run | None:
        """Return the run with the given identity, or None if the run is not known.

        The identity may lack a handle.
        """
        with self._lock:
            run = self._runs.get(identity)
            row = None if run is not None or self.last is None else self.last.find(identity)
            return run if row is None else self.run_of(row)

    def runs(self) -> list[Run]:
        """Return all known runs for which the sandbox has returned a row."""
        with self._lock:
            self._read(self.first or ())
            return [*self._runs.values()]

    # -------------------------------------------------------------- incidents

    def incidents(self, since: int) -> list[Incident]:
        """Return the incidents whose evidence was first seen after ``since``, oldest first.

        An incident is left out if later evidence refuted it.
        """
        with self._lock:
            if since < self.position_of(self.first):
                self._read(self.first or ())
            newer = self._incidents[bisect_right(self._incidents, since, key=_position) :]
            newer = [incident for incident in newer if self._still_shows(incident)]
            if not self._unlisted_kills.open:
                return newer
            kills = {incident.run: incident for incident in self._shown_by_the_kernel()}
            newer = [each for each in newer if each.kind != SUSPECTED_OOM or each.run not in kills]
            newer += [incident for incident in kills.values() if incident.position > since]
            return sorted(newer, key=_position)

    def _shown_by_the_kernel(self) -> Iterator[Incident]:
        """Yield the OOM kills that only the kernel counted.

        If another SIGKILL became visible since the counter was read before, it was this OOM kill.
        """
        suspects = [
            each
            for each in self._incidents
            if each.kind == SUSPECTED_OOM and not each.caused_here and self._still_shows(each)
        ]
        for kill, after in self._unlisted_kills.open:
            is_own = kill.kind == OOM
            suspect = next((each for each in suspects if is_own and each.position > after), None)
            if suspect is None:
                yield kill
            else:
                suspects.remove(suspect)
                yield replace(suspect, kind=OOM, position=max(kill.position, suspect.position))

    def _still_shows(self, incident: Incident) -> bool:
        if incident.run.assumed and self._generations.counts_early is not None:
            return False  # the run never existed
        return incident.kind == UNHEALTHY or incident.kind in kinds_of(incident.run)

    def _note(self, run: Run) -> None:
        """Record the state of a run, and each of its new incidents."""
        position, at = self._evidence
        run.first_seen = run.first_seen or position
        run.note_state(at)
        kinds = [*kinds_of(run)]
        for kind in kinds:
            if kind not in run.seen:
                known = position
                if kind == OOM and position > self.position_of(self.first):
                    known = self._unlisted_kills.list_shows(position)
                insort(self._incidents, Incident(kind, run, known, at), key=_position)
        # After a successful health check, the next failure is another incident.
        run.seen = (run.seen - {UNHEALTHY}).union(kinds)
        self._touched.append(run)

    # ------------------------------------------------------------------- rows

    def _record_changes(self, last: ProcessSnapshot | None, snapshot: ProcessSnapshot) -> list[Run]:
        old, new = {} if last is None else last.by_id, snapshot.by_id
        changed = sorted((new[key] for key in new.keys() - old.keys()), key=by_start)
        missing = sorted((old[key] for key in old.keys() - new.keys()), key=by_start)
        self._read((*changed, *missing))
        relisted = {row.identity for row in changed}
        gone = [row.identity for row in missing if row.identity not in relisted]
        if last and len(last) <= len(gone) and self._is_replaced(last, snapshot):
            self.replaced_at = self.position
            for known in (self._runs, self._unlisted, self._generations.by_id):
                known.clear()
            gone = []
        for identity, at in [*self._unlisted.items()]:
            if at <= snapshot.begun:
                del self._unlisted[identity]
                if snapshot.find(identity) is None:
                    gone.append(identity)
        self._record(changed, snapshot)
        unreadable = {row.pid for row in snapshot.unreadable}
        for identity in gone:
            if unreadable.isdisjoint((None, identity.pid)):
                run = self._runs[identity]
                run.gone = True
                self._note(run)
        touched, self._touched = self._touched, []  # our own calls may have changed runs
        return [*dict.fromkeys(touched)]

    def _record(self, rows: Sequence[ProcessInfo], snapshot: ProcessSnapshot) -> None:
        """Record new or changed rows of a snapshot.

        The caller must sort the rows by start time.
        """
        self._evidence = self.position_of(snapshot), snapshot.begun
        self._generations.listed, self._generations.later = snapshot, count_later(rows)
        for row in rows:
            run = self._runs.get(row.identity)
            if run is None or run.row != row or run.gone:
                self._update(run or self._generations.place(row), row)

    def _take_row(self, row: ProcessInfo, begin: Callable[[], Run]) -> Run:
        """Return the run of a row that does not come from a list call.

        If the run is not known yet, it is recorded at a new position.
        """
        run = self.run_of(row)
        if run is None:
            self.position += 1
            self._evidence = self.position, self._now()
            self._generations.listed, self._generations.later = None, {}
            run = begin()
            self._update(run, row)
            self._unlisted[row.identity] = self._evidence[1]
        return run

    def _update(self, run: Run, row: ProcessInfo) -> None:
        self._runs[row.identity] = run
        self._generations.update(run, row)
        self._note(run)

    def _read(self, rows: Iterable[ProcessInfo]) -> None:
        """Convert the rows that the first snapshot contains for the processes of the given rows.

        Rows with the same managed id belong to one process. The new runs and their incidents get
        the position of the first snapshot.
        """
        if self.first is None or not self._unread:
            return
        unread = [each for row in rows for each in self._unread.pop(_process_of(row), ())]
        touched, self._touched = self._touched, []
        self._record(sorted(unread, key=by_start), self.first)
        self._touched = touched

    def _is_replaced(self, last: ProcessSnapshot, snapshot: ProcessSnapshot) -> bool:
        """Return whether a new daemon has replaced the daemon that sent the previous snapshot.

        A new daemon does not list the rows of the old daemon. A kill may also remove the row of the
        killed process (api-notes, "Rows"). For this reason, the result is True in only two cases.
        In the first case, a handle now belongs to another process. In the second case, the rows of
        ended processes vanished together with the rows of living processes.
        """
        if snapshot.unreadable:
            return False
        known = {row.managed.id for row in last if row.managed}
        if any(row.managed and row.managed.id in known for row in snapshot):
            return False
        if all(SIGKILL in self._runs[row.identity].sent for row in last.alive):
            return False
        handles = {row.handle for row in last if row.handle is not None}
        return len(last.alive) < len(last) or any(row.handle in handles for row in snapshot)


def _process_of(row: ProcessInfo) -> str | Identity:
    """Return a value that is equal for all rows of the same process.

    For a managed process, this value is the managed id. For any other process, this value is the
    identity of its only run.
    """
    return row.identity if row.managed is None else row.managed.id
