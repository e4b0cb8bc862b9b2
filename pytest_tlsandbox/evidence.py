"""What happened to processes since a baseline: OOM kills, crashes, restarts, failing health.

Each function compares rows with an earlier look and gives the incidents that are new. What was
done through this plugin itself (the ledger) is no incident.
"""

from __future__ import annotations

from collections import Counter
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


class Ledger:
    """What was done to the processes of a sandbox through this plugin."""

    def __init__(self) -> None:
        self._signals: dict[Identity | str, set[int]] = {}
        self._restarts: Counter[str] = Counter()

    def signal_sent(self, row: ProcessInfo, number: int) -> None:
        """Take note of a signal to a living process; a kill is SIGKILL."""
        if row.ended:
            return
        self._signals.setdefault(_key(row), set()).add(number)

    def restarted(self, before: ProcessInfo, after: ProcessInfo) -> None:
        """Take note of a restart, if the sandbox counts it (fact sheet 3.4 leaves that open)."""
        if before.managed and after.managed:
            self._signals.setdefault(_key(before), set()).update((SIGKILL, 15))
            if after.managed.restart_count > before.managed.restart_count:
                self._restarts[before.managed.id] += 1

    def sent(self, row: ProcessInfo, number: int | None) -> bool:
        """Tell whether a process was sent that signal through this plugin."""
        return number in self._signals.get(_key(row), ())

    def restarts(self, managed: ManagedProcess) -> int:
        """Count the restarts that were asked for through this plugin."""
        return self._restarts[managed.id]


def _key(row: ProcessInfo) -> Identity | str:
    return row.managed.id if row.managed else row.identity


@dataclass(frozen=True)
class Incident:
    """Something that happened to a process, and how it shows.

    ``confirmed`` is False for a mere suspicion.
    """

    row: ProcessInfo
    what: str
    confirmed: bool = True


def oom_kills(
    rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None, ledger: Ledger
) -> list[Incident]:
    """Find OOM kills wherever they hide (fact sheet 2.3, 3.3).

    Confirmed by the status, by the flag, or by the last exit of a managed process that runs again.
    Suspected from a SIGKILL that was not sent here, exit code 137, or a lost exit code.
    """
    incidents = []
    for row in rows:
        if _ended_since(row, baseline):
            if row.oom_killed or row.state == "oom_killed":
                child = row.state == "exited"
                what = "a child of it was OOM-killed" if child else "the sandbox says so"
                incidents.append(Incident(row, what))
                continue
            if reason := _suspicion(row.exit_code, row.signal, row, ledger):
                incidents.append(Incident(row, reason, confirmed=False))
                continue
        last = _new_last_exit(row, baseline)
        if last is None:
            continue
        if last.oom_killed:
            incidents.append(Incident(row, f"restarted after an OOM kill and is {_now(row)}"))
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
        if _ended_since(row, baseline) and _crash_signal(row.signal, row, ledger):
            incidents.append(Incident(row, f"crashed with {signal_name(row.signal or 0)}"))
        elif last is not None and _crash_signal(last.signal, row, ledger):
            what = f"crashed with {signal_name(last.signal or 0)} and is {_now(row)}"
            incidents.append(Incident(row, what))
        elif gave_up(row) and _ended_since(row, baseline):
            count = row.managed.restart_count if row.managed else 0
            incidents.append(Incident(row, f"gave up after {count} restarts"))
    return incidents


def restarts(
    rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None, ledger: Ledger
) -> list[Incident]:
    """Find managed processes that were started again, and not through this plugin."""
    return [
        Incident(row, f"restarted {count} time{'s' if count > 1 else ''} and is {_now(row)}")
        for row in rows
        if (count := _restarts_since(row, baseline, ledger)) > 0
    ]


def failing_health(
    rows: Iterable[ProcessInfo], _baseline: ProcessSnapshot | None, _ledger: Ledger
) -> list[Incident]:
    """Find managed processes whose health check fails now."""
    return [
        Incident(
            row, f"unhealthy, {row.managed.consecutive_health_failures} checks failed in a row"
        )
        for row in rows
        if row.managed and row.managed.health_status == "unhealthy"
    ]


def unseen_ends(
    rows: Iterable[ProcessInfo], baseline: ProcessSnapshot | None, ledger: Ledger
) -> list[Incident]:
    """Find managed processes that ended more often than can be seen: only the last end is kept."""
    return [
        Incident(row, f"restarted {count} times, and only its last end can be seen")
        for row in rows
        if (count := _restarts_since(row, baseline, ledger)) > 1
    ]


def gave_up(row: ProcessInfo) -> bool:
    """Tell whether a supervisor has spent its restarts on a process that fails (sheet 8, case 16)."""
    managed = row.managed
    if managed is None or managed.status != "stopped" or managed.restart is None:
        return False
    limit = managed.restart.max_restarts
    failed = row.signal is not None or row.exit_code not in (0, None)
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


def _ended_since(row: ProcessInfo, baseline: ProcessSnapshot | None) -> bool:
    before = baseline.find(row.identity) if baseline is not None else None
    return row.ended and (before is None or not before.ended)


def _before(row: ProcessInfo, baseline: ProcessSnapshot | None) -> ManagedProcess | None:
    """Give what the supervisor of a process said at the baseline."""
    if baseline is None or row.managed is None:
        return None
    rows = [old for old in baseline if old.managed and old.managed.id == row.managed.id]
    return rows[-1].managed if rows else None


def _new_last_exit(row: ProcessInfo, baseline: ProcessSnapshot | None) -> LastExit | None:
    last = row.managed.last_exit if row.managed else None
    before = _before(row, baseline)
    return None if before is not None and before.last_exit == last else last


def _restarts_since(row: ProcessInfo, baseline: ProcessSnapshot | None, ledger: Ledger) -> int:
    if row.managed is None:
        return 0
    before = _before(row, baseline)
    earlier = before.restart_count if before else 0
    return row.managed.restart_count - earlier - ledger.restarts(row.managed)


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


def _now(row: ProcessInfo) -> str:
    """Say where a managed process is after its last end."""
    if not row.ended:
        return "running again"
    return "backing off" if row.managed and row.managed.status == "backing_off" else "stopped"
