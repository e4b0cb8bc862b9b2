"""What the guard judges by: five rules, each applied to two looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox import evidence
from pytest_tlsandbox.conditions import absence
from pytest_tlsandbox.selector import newest_runs
from pytest_tlsandbox.status import SIGKILL
from pytest_tlsandbox.waiting import replaced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.conditions.absence import Rule
    from pytest_tlsandbox.evidence import Ledger
    from pytest_tlsandbox.snapshot import ProcessSnapshot

_RULES: dict[str, Rule] = {
    "oom": absence.OOM,
    "crash": absence.CRASH,
    "restart": absence.RESTART,
    "unhealthy": absence.UNHEALTHY,
}
LEAK = "leak"
"""The rule that needs to know when a process began, and not just two looks."""
_LEAK_VERDICT = "Left running"
_LEAK_HINT = "end it in the test, or in the fixture that started it"


@dataclass(frozen=True)
class Incident:
    """What happened to a process, by a rule of the guard.

    ``observed`` is False where it may have happened: only the last of several ends can be seen.
    """

    rule: str
    row: ProcessInfo
    what: str
    observed: bool = True

    @property
    def key(self) -> str:
        """What tells it from every other incident of its sandbox, whoever sees it."""
        return f"{self.rule} {run_of(self.row)}"

    @property
    def allowance(self) -> str:
        """What a block allows: a leak over restarts, anything else of one run."""
        return f"{LEAK} {process_of(self.row)}" if self.rule == LEAK else self.key


def run_of(row: ProcessInfo) -> str:
    """Name a run: a managed process by its id and restarts, any other by what tells runs apart."""
    if row.managed is not None:
        return f"{row.managed.id}#{row.managed.restart_count}"
    return identity_text(row)


def process_of(row: ProcessInfo) -> str:
    """Name a process, over its restarts if it is managed."""
    if row.managed is not None:
        return row.managed.id
    return identity_text(row)


def identity_text(row: ProcessInfo) -> str:
    """Name one row of the list by what tells it from every other."""
    started = int(row.started_at.timestamp() * 1000)
    return f"{'-' if row.handle is None else row.handle}/{row.pid}/{started}"


def verdict_of(incident: Incident) -> str:
    """Say in a word or two what happened."""
    if not incident.observed:
        return "Not observed"
    return _LEAK_VERDICT if incident.rule == LEAK else _RULES[incident.rule].verdict


def hint_of(incident: Incident) -> str:
    """Say what to try against it."""
    rule = incident.rule
    hint = _LEAK_HINT if rule == LEAK else absence.hint_of(_RULES[rule], incident.row)
    return f'{hint}; tlsandbox_allow("{rule}", reason=...), if it is meant'


def incidents_between(
    rules: Iterable[str], before: ProcessSnapshot, now: ProcessSnapshot, ledger: Ledger
) -> list[Incident]:
    """Find what happened between two looks, by all rules but ``leak``.

    A mere suspicion is none. What was unhealthy before is not so anew.
    """
    rows = newest_runs(now)
    found = []
    for name in rules:
        if name == LEAK:
            continue
        rule = _RULES[name]
        found += [
            Incident(name, item.row, item.what)
            for item in rule.find(rows, before, ledger)
            if item.confirmed and not (name == "unhealthy" and _was_unhealthy(item.row, before))
        ]
    # Behind a restart that is told itself, nothing more needs to be told.
    hiding = [name for name in rules if name != LEAK and _RULES[name].one_end_shown]
    if hiding and "restart" not in rules:
        told = {item.row.identity for item in found}
        found += [
            Incident(hiding[0], item.row, item.what, observed=False)
            for item in evidence.unseen_ends(rows, before, ledger)
            if item.row.identity not in told
        ]
    return found


def left_running(
    before: ProcessSnapshot, after: ProcessSnapshot, now: ProcessSnapshot, exempt: Iterable[str]
) -> list[Incident]:
    """Find what began between the looks before and after a call, and lives now.

    ``exempt``: processes, by :func:`process_of`, that may.
    """
    known = {process_of(row) for row in before}.union(exempt)
    begun = {process_of(row) for row in after} - known
    return [
        Incident(LEAK, row, "it began in the test, and runs after its teardown")
        for row in newest_runs(now)
        if is_living(row) and process_of(row) in begun
    ]


def is_living(row: ProcessInfo) -> bool:
    """Tell whether a process runs, or will be started again by its supervisor."""
    supervised = row.managed is not None and row.managed.status != "stopped"
    return not row.ended or supervised


def has_doubts(before: ProcessSnapshot, now: Iterable[ProcessInfo], ledger: Ledger) -> bool:
    """Tell whether an end is new of which the sandbox may yet come to know the truth."""
    return any(evidence.doubtful(row, ledger) and evidence.ended_since(row, before) for row in now)


def without_doubtful(snapshot: ProcessSnapshot, ledger: Ledger) -> ProcessSnapshot:
    """Leave out ends that are in doubt: to be found once they are known, if by a later look."""
    certain = [
        row for row in snapshot if row.managed is not None or not evidence.doubtful(row, ledger)
    ]
    if len(certain) == len(snapshot):
        return snapshot
    return type(snapshot)(
        certain,
        snapshot.unreadable,
        sandbox=snapshot.sandbox,
        begun=snapshot.begun,
        ended=snapshot.ended,
    )


def is_another(before: ProcessSnapshot, now: ProcessSnapshot, ledger: Ledger) -> bool:
    """Tell whether the sandbox, or its daemon, is not the one it was.

    Also where nothing of what it listed is listed any more. That says so only if some of it had
    ended by then: a kill may take the row of what it kills with it (fact sheet, section 2).
    """
    if replaced(before, now):
        return True
    lived = any(not ledger.sent(row, SIGKILL) for row in before.alive)
    if not lived or len(before.alive) == len(before):
        return False
    listed = {process_of(row) for row in now}
    return not any(process_of(row) in listed or now.find(row.identity) for row in before)


def _was_unhealthy(row: ProcessInfo, before: ProcessSnapshot) -> bool:
    return row.managed is not None and any(
        old.managed is not None
        and old.managed.id == row.managed.id
        and old.managed.health_status == "unhealthy"
        for old in before
    )
