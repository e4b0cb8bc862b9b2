"""Conditions that something is not so: nothing runs, nothing happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox import evidence
from pytest_tlsandbox.conditions.verdicts import (
    CORRECTION_TIME,
    MORE_MEMORY,
    SETTLING_TIME,
    WHY_IT_ENDS,
    Hopeless,
    Satisfied,
    Verdict,
    not_found,
    still,
    unreadable_rows,
)
from pytest_tlsandbox.errors import (
    NotObserved,
    ProcessCrashed,
    ProcessMismatch,
    ProcessOOMKilled,
    ProcessRestarted,
    ProcessUnhealthy,
    TLSandboxError,
)
from pytest_tlsandbox.evidence import doubtful
from pytest_tlsandbox.messages.failure import Finding, Listed
from pytest_tlsandbox.messages.table import list_names
from pytest_tlsandbox.messages.words import count, named
from pytest_tlsandbox.selector import Selector, newest_runs
from pytest_tlsandbox.status import CRASH_SIGNALS, SIGKILL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.evidence import Incident, Ledger
    from pytest_tlsandbox.identity import Identity
    from pytest_tlsandbox.snapshot import ProcessSnapshot


class NotRunning:
    """Nothing that is meant is alive, or will be started again by a supervisor."""

    def __init__(self, selector: Selector, baseline: ProcessSnapshot | None) -> None:
        self._selector = selector
        self._baseline = baseline
        self.wanted = f"nothing alive that is meant by {selector.label}"

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        """Judge one look."""
        living = self._selector.select(snapshot).living
        if living:
            many = len(living) > 1
            # A look right after a kill said "running" in 39 of 200 (fact sheet 2.3).
            return Hopeless(
                Finding(
                    ProcessMismatch,
                    f"Still running: {list_names(living, 1)}" if many else still(living[0]),
                    because="wanted nothing alive",
                    process=None if many else living[0],
                    listed=tuple(Listed(row) for row in living) if many else (),
                    hint="wait_for_exit(process, exit_code=None), if it only needs more time",
                ),
                stands_for=SETTLING_TIME,
            )
        pids = None if self._selector.pid is None else {self._selector.pid}
        return unreadable_rows(snapshot, self._baseline, pids) or Satisfied(None)


@dataclass(frozen=True)
class Rule:
    """One kind of incident: how it is found, what it is called, what to try against it.

    ``one_end_shown``: of several restarts only the last end can be seen, so that an incident may
    be hidden behind a later, harmless one.
    """

    find: Callable[[Iterable[ProcessInfo], ProcessSnapshot | None, Ledger], list[Incident]]
    error: type[TLSandboxError]
    verdict: str
    hint: str
    one_end_shown: bool = False


OOM = Rule(
    evidence.oom_kills,
    ProcessOOMKilled,
    "OOM-killed",
    MORE_MEMORY,
    one_end_shown=True,
)
CRASH = Rule(
    evidence.crashes,
    ProcessCrashed,
    "Crashed",
    "what it wrote last; python -X faulthandler says where a crash was",
    one_end_shown=True,
)
RESTART = Rule(
    evidence.restarts,
    ProcessRestarted,
    "Restarted",
    "restart_process() for a restart that is meant: it is not counted",
)
UNHEALTHY = Rule(
    evidence.failing_health,
    ProcessUnhealthy,
    "Unhealthy",
    "wait_for_process(process, healthy=True), if it only needs more time",
)


def hint_of(rule: Rule, row: ProcessInfo) -> str:
    """Say what to try against an incident: a supervisor may have given up over no crash."""
    over_no_crash = evidence.gave_up(row) and row.signal not in CRASH_SIGNALS
    return WHY_IT_ENDS if rule is CRASH and over_no_crash else rule.hint


_MEANT = "kill_process() or send_signal() for a kill that is meant; else "


class NoIncident:
    """None of these happened since the baseline: to some processes, or to any in a scope."""

    def __init__(
        self,
        rules: Sequence[Rule],
        scope: Sequence[Selector] | Callable[[ProcessSnapshot], Iterable[ProcessInfo]],
        baseline: ProcessSnapshot | None,
        ledger: Ledger,
        *,
        suspected: bool,
        known: Sequence[ProcessInfo],
    ) -> None:
        """``known``: processes that must be listed, or their ends cannot be known."""
        self.wanted = " and ".join(f"nothing {rule.verdict.lower()}" for rule in rules)
        if not callable(scope):
            self.wanted += f" of {', '.join(selector.label for selector in scope)}"
        self._rules = rules
        self._scope = scope
        self._baseline = baseline
        self._ledger = ledger
        self._suspected = suspected
        self._known = known

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        """Give the verdict on a snapshot; what is satisfied gives the mere suspicions."""
        rows, pids, missing = self._rows(snapshot)
        if missing is not None:
            return missing
        alive = any(not row.ended for row in rows)
        rows = evidence.news_since(rows, self._baseline)
        doubts = [
            row
            for row in rows
            if doubtful(row, self._ledger) and evidence.ended_since(row, self._baseline)
        ]
        told: list[Incident] = []
        for rule in self._rules:
            incidents = rule.find(rows, self._baseline, self._ledger)
            counted = [item for item in incidents if item.confirmed or self._suspected]
            if counted:
                finding = self._incident_finding(rule, counted, incidents, snapshot)
                certain = any(item.row.oom_killed or item.row not in doubts for item in counted)
                return Hopeless(finding, 0.0 if certain else CORRECTION_TIME)
            told += incidents
        if any(rule.one_end_shown for rule in self._rules):
            unseen = evidence.unseen_ends(rows, self._baseline, self._ledger)
            if unseen:
                return Hopeless(_unseen_finding(unseen))
        spoilt = unreadable_rows(snapshot, self._baseline, pids) or self._vanished(snapshot)
        if spoilt:
            return spoilt
        return Satisfied(told, CORRECTION_TIME if doubts else SETTLING_TIME if alive else 0.0)

    def _rows(
        self, snapshot: ProcessSnapshot
    ) -> tuple[list[ProcessInfo], set[int | None] | None, Hopeless | None]:
        """Give the rows in question, the pids if only those matter, and what is not there."""
        if callable(self._scope):
            return newest_runs(self._scope(snapshot)), None, None
        rows: dict[Identity, ProcessInfo] = {}
        for selector in self._scope:
            selection = selector.select(snapshot)
            if not selection.matches:
                finding = not_found(selector, snapshot, selection)
                return [], None, Hopeless(finding, CORRECTION_TIME if selection.gone else 0.0)
            rows.update((row.identity, row) for row in selection.matches)
        pids = {selector.pid for selector in self._scope}
        return list(rows.values()), None if None in pids else pids, None

    def _vanished(self, snapshot: ProcessSnapshot) -> Hopeless | None:
        """Refuse to say "nothing happened" to a process whose end was never listed."""
        lost = [
            row
            for row in self._known
            if not self._ledger.sent(row, SIGKILL) and Selector(row).select(snapshot).gone
        ]
        baseline = self._baseline if callable(self._scope) else None
        # One row may be removed by whoever killed it; all of them go with the daemon.
        if baseline is not None and not any(snapshot.find(row.identity) for row in baseline):
            lost += [row for row in baseline.alive if not self._ledger.sent(row, SIGKILL)]
        if not lost:
            return None
        return Hopeless(
            Finding(
                NotObserved,
                f"Not observed: the end of {list_names(lost, 1)}",
                because="it lived, and is no longer listed",
                listed=tuple(Listed(row) for row in lost),
                listed_as="last seen",
                hint="was the sandbox or its daemon restarted, or the process removed by a kill?",
            ),
            stands_for=CORRECTION_TIME,
        )

    def _incident_finding(
        self,
        rule: Rule,
        counted: Sequence[Incident],
        incidents: Sequence[Incident],
        snapshot: ProcessSnapshot,
    ) -> Finding:
        first = counted[0]
        verdict = rule.verdict if first.confirmed else f"Suspected to be {rule.verdict}"
        more = f" and {len(counted) - 1} more" if len(counted) > 1 else ""
        if not more and rule.one_end_shown and not first.row.ended:
            more = ", and runs again"
        before = rule.find(self._baseline or (), None, self._ledger)
        now = {item.row.identity for item in counted}
        earlier = [item.row for item in before if item.confirmed and item.row.identity not in now]
        remarks = []
        if earlier:
            remarks.append(("earlier", f"{list_names(earlier)}: before this test, not counted"))
        untold = [item.row for item in incidents if item not in counted]
        if untold:
            remarks.append(("suspected", list_names(untold)))
        remarks.append(("checked", count(len(snapshot), "process")))
        return Finding(
            rule.error,
            f"{verdict}: {named(first.row)}{more}",
            because=first.what if len(counted) == 1 else "",
            process=first.row if len(counted) == 1 else None,
            listed=tuple(Listed(item.row, item.what) for item in counted)
            if len(counted) > 1
            else (),
            remarks=tuple(remarks),
            hint=f"{'' if first.confirmed else _MEANT}{hint_of(rule, first.row)}",
        )


def _unseen_finding(unseen: Sequence[Incident]) -> Finding:
    first = unseen[0]
    return Finding(
        NotObserved,
        f"Not observed: ends of {named(first.row)}",
        because=first.what,
        process=first.row,
        hint="assert_no_restart, or look in between",
    )
