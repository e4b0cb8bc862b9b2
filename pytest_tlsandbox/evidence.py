"""What happened to processes since a baseline: OOM kills, crashes, restarts, failing health.

Each function compares rows with an earlier look and gives the incidents that are new. What was
done through this plugin itself (the ledger) is no incident.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.status import (
    CRASH_SIGNALS,
    SIGHUP,
    SIGKILL,
    SIGKILL_EXIT_CODE,
    UNKNOWN_EXIT_CODE,
    signal_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_tlsandbox.client.models import LastExit, ManagedProcess, ProcessInfo
    from pytest_tlsandbox.identity import Identity
    from pytest_tlsandbox.snapshot import ProcessSnapshot


@dataclass(frozen=True)
class _Restart:
    """A restart that was asked for: when on the waits' clock, and the count it left."""

    managed_id: str
    at: float
    count: int
    counted: bool


class Ledger:
    """What was done to the processes of a sandbox through this plugin."""

    def __init__(self) -> None:
        self._signals: dict[Identity, set[int]] = {}
        self._restarts: list[_Restart] = []
        self.started: list[ProcessInfo] = []
        """What was started through this plugin, in that order."""

    def signal_sent(self, row: ProcessInfo, number: int) -> None:
        """Take note of a signal to a living process; a kill is SIGKILL."""
        if not row.ended:
            self._signals.setdefault(row.identity, set()).add(number)

    def restarted(self, before: ProcessInfo, after: ProcessInfo, at: float) -> None:
        """Take note of a restart, and whether the sandbox counts it (fact sheet 3.4: open)."""
        if before.managed and after.managed:
            count = after.managed.restart_count
            counted = count > before.managed.restart_count
            self._restarts.append(_Restart(after.managed.id, at, count, counted))

    def sent(self, row: ProcessInfo, number: int | None) -> bool:
        """Tell whether this run was sent that signal through this plugin."""
        return number in self._signals.get(row.identity, ())

    def restarts(self, managed: ManagedProcess, since: float) -> int:
        """Count the restarts asked for through this plugin that the sandbox counted as well."""
        return sum(
            restart.managed_id == managed.id
            and restart.counted
            and restart.at >= since
            and restart.count <= managed.restart_count
            for restart in self._restarts
        )

    def caused_last_exit(self, managed: ManagedProcess) -> bool:
        """Tell whether the last end of a managed process is that of a restart from here."""
        return any(
            restart.managed_id == managed.id and restart.count == managed.restart_count
            for restart in self._restarts
        )


@dataclass(frozen=True)
class Incident:
    """Something that happened to a process, and how it shows.

    ``confirmed`` is False for a mere suspicion.
    """

    row: ProcessInfo
    what: str
    confirmed: bool = True


def news_since(rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None) -> list[ProcessInfo]:
    """Leave out the rows in which nothing can have happened: those that are as at the baseline.

    But for managed ones: of those, some things are told that were so at the baseline too.
    """
    if baseline is None:
        return list(rows)
    return [row for row in rows if row.managed is not None or not baseline.holds(row)]


def oom_kills(
    rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None, ledger: Ledger
) -> list[Incident]:
    """Find OOM kills wherever they hide (fact sheet 2.3, 3.3).

    Confirmed by the status, by the flag, or by the last exit of a managed process that runs again.
    Suspected from a SIGKILL that was not sent here, exit code 137, or a lost exit code.
    """
    incidents = []
    for row in rows:
        if ended_since(row, baseline):
            if row.oom_killed or row.state == "oom_killed":
                child = row.state == "exited"
                what = (
                    "a child of it was OOM-killed"
                    if child
                    else "the sandbox lists it as OOM-killed"
                )
                incidents.append(Incident(row, what))
                continue
            if reason := _suspicion(row.exit_code, row.signal, row, ledger):
                incidents.append(Incident(row, reason, confirmed=False))
                continue
        last = _new_last_exit(row, baseline)
        if last is None:
            continue
        if last.oom_killed:
            incidents.append(
                Incident(row, f"restarted after an OOM kill and is {_whereabouts(row)}")
            )
        elif row.managed and ledger.caused_last_exit(row.managed):
            continue
        elif reason := _suspicion(last.exit_code, last.signal, row, ledger):
            incidents.append(Incident(row, f"restarted after: {reason}", confirmed=False))
    return incidents


def crashes(
    rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None, ledger: Ledger
) -> list[Incident]:
    """Find ends by a crash signal, and managed processes that gave up."""
    incidents = []
    for row in rows:
        last = _new_last_exit(row, baseline)
        if ended_since(row, baseline) and _crash_signal(row.signal, row, ledger):
            incidents.append(Incident(row, f"crashed with {signal_name(row.signal or 0)}"))
        elif last is not None and _crash_signal(last.signal, row, ledger):
            what = f"crashed with {signal_name(last.signal or 0)} and is {_whereabouts(row)}"
            incidents.append(Incident(row, what))
        elif gave_up(row) and ended_since(row, baseline) and not ledger.sent(row, SIGKILL):
            count = row.managed.restart_count if row.managed else 0
            plural = "s" if count != 1 else ""
            incidents.append(Incident(row, f"gave up after {count} restart{plural}"))
    return incidents


def restarts(
    rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None, ledger: Ledger
) -> list[Incident]:
    """Find managed processes that were started again, and not through this plugin."""
    return [
        Incident(
            row, f"restarted {count} time{'s' if count > 1 else ''} and is {_whereabouts(row)}"
        )
        for row in rows
        if (count := _restarts_since(row, baseline, ledger)) > 0
    ]


def failing_health(
    rows: Iterable[ProcessInfo], _baseline: ProcessSnapshot | None, _ledger: Ledger
) -> list[Incident]:
    """Find managed processes whose health check fails now."""
    return [
        Incident(row, f"{row.managed.consecutive_health_failures or 'its'} checks failed in a row")
        for row in rows
        if row.managed and row.managed.health_status == "unhealthy" and not row.ended
    ]


def unseen_ends(
    rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None, ledger: Ledger
) -> list[Incident]:
    """Find managed processes that ended more often than can be seen: only the last end is kept."""
    incidents = []
    for row in rows:
        if row.managed is None:
            continue
        ends = _restarts_since(row, baseline, ledger)
        killed_here = ledger.sent(row, SIGKILL)
        if row.ended and row.managed.status == "stopped" and not killed_here:
            ends += 1
        last_is_ours = killed_here or ledger.caused_last_exit(row.managed)
        unseen = ends if last_is_ours else ends - 1
        if unseen > 0:
            what = f"ended {ends} times, not by this test, and only the last end can be seen"
            incidents.append(Incident(row, what))
    return incidents


def gave_up(row: ProcessInfo) -> bool:
    """Tell whether a supervisor has spent its restarts on a process that fails (sheet 8, case 16)."""
    managed = row.managed
    if managed is None or managed.status != "stopped" or managed.restart is None:
        return False
    limit = managed.restart.max_restarts
    # What the sandbox does not know how it ended is no failure.
    failed = row.signal is not None or row.exit_code not in (0, None, UNKNOWN_EXIT_CODE)
    return (
        managed.restart.policy != "never"
        and limit is not None
        and managed.restart_count >= limit
        and failed
    )


def doubtful(row: ProcessInfo, ledger: Ledger) -> bool:
    """Tell an end the sandbox may not know the truth of, and may yet correct (fact sheet 2.3).

    Exit code -1; no code and no signal; a SIGHUP nobody here sent.
    """
    if not row.ended or row.state == "oom_killed":
        return False
    if row.state == "exited":
        return row.exit_code in (None, UNKNOWN_EXIT_CODE)
    return row.signal is None or (row.signal == SIGHUP and not ledger.sent(row, SIGHUP))


def ended_since(row: ProcessInfo, baseline: ProcessSnapshot | None) -> bool:
    """Tell whether a run has ended, and had not at the baseline."""
    before = baseline.find(row.identity) if baseline is not None else None
    return row.ended and (before is None or not before.ended)


def _before(row: ProcessInfo, baseline: ProcessSnapshot | None) -> ManagedProcess | None:
    """Give what the supervisor of a process said at the baseline.

    One that had stopped by then is another one's, under the same name, unless the run is the same.
    """
    if baseline is None or row.managed is None:
        return None
    rows = [old for old in baseline if old.managed and old.managed.id == row.managed.id]
    if not rows or rows[-1].managed is None:
        return None
    again = rows[-1].managed.status == "stopped" and not rows[-1].identity.same_run(row.identity)
    return None if again else rows[-1].managed


def _new_last_exit(row: ProcessInfo, baseline: ProcessSnapshot | None) -> LastExit | None:
    if row.managed is None:
        return None
    before, last = _before(row, baseline), row.managed.last_exit
    if before is None or last is None:
        return last
    # An end may be corrected later on (fact sheet 2.3), and is the same one then. It also is where
    # the baseline came between the end of a run and the start of the next.
    same = before.last_exit is not None and (
        before.last_exit.ended_at == last.ended_at
        if last.ended_at is not None
        else before.last_exit == last and before.restart_count == row.managed.restart_count
    )
    return None if same else last


def _restarts_since(row: ProcessInfo, baseline: ProcessSnapshot | None, ledger: Ledger) -> int:
    """Count the restarts since the baseline that were not asked for through this plugin."""
    if row.managed is None:
        return 0
    before = _before(row, baseline)
    earlier = before.restart_count if before else 0
    since = baseline.begun if baseline is not None else -math.inf
    return row.managed.restart_count - earlier - ledger.restarts(row.managed, since)


def _suspicion(
    exit_code: int | None, signal: int | None, row: ProcessInfo, ledger: Ledger
) -> str | None:
    if exit_code == UNKNOWN_EXIT_CODE:
        return "ended, and the sandbox lost its exit code"
    if ledger.sent(row, SIGKILL):
        return None
    if signal == SIGKILL:
        return "killed by a SIGKILL that was not sent here"
    if exit_code == SIGKILL_EXIT_CODE:
        return "exited 137, as a shell does whose child was SIGKILLed"
    return None


def _crash_signal(signal: int | None, row: ProcessInfo, ledger: Ledger) -> bool:
    return signal in CRASH_SIGNALS and not ledger.sent(row, signal)


def _whereabouts(row: ProcessInfo) -> str:
    """Say where a managed process is after its last end."""
    if not row.ended:
        return "running again"
    return "backing off" if row.managed and row.managed.status == "backing_off" else "stopped"
