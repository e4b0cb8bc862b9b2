"""Conditions that something is not so: nothing runs, nothing happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import (
    AssertionFailed,
    Inconclusive,
    ProcessCrashed,
    ProcessOOMKilled,
    ProcessRestarted,
    ProcessUnhealthy,
    TLSandboxError,
)
from pytest_tlsandbox.formatting.table import list_names, list_texts
from pytest_tlsandbox.formatting.words import count
from pytest_tlsandbox.history import incidents as kinds
from pytest_tlsandbox.history.incidents import Incident
from pytest_tlsandbox.messages.failure import Explanation, Listed
from pytest_tlsandbox.messages.incidents import (
    describe,
    ended_row,
    run_label,
    run_name,
    shown_row,
)
from pytest_tlsandbox.waiting.conditions.results import (
    CORRECTION_TIME,
    MORE_MEMORY,
    SETTLING_TIME,
    WHY_IT_ENDS,
    Impossible,
    Met,
    Verdict,
    not_found,
    still,
    unreadable_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tlsandbox.history.history import History
    from pytest_tlsandbox.history.runs import Generation, Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Identity
    from pytest_tlsandbox.waiting.selectors import Selector


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
            return Impossible(
                Explanation(
                    AssertionFailed,
                    f"Still running: {list_names(living, 1)}" if many else still(living[0]),
                    because="wanted nothing alive",
                    process=None if many else living[0],
                    listed=tuple(Listed(row) for row in living) if many else (),
                    hint='wait_for_exit(process, exit_code="any"), if it only needs more time',
                ),
                stands_for=SETTLING_TIME,
            )
        run = self._selector.vanished()
        if run is not None:
            return _unknown_end([Incident(kinds.UNSEEN_END, run, 0, 0.0)])
        pids = None if self._selector.pid is None else {self._selector.pid}
        return unreadable_rows(snapshot, self._baseline, pids) or Met(None)


@dataclass(frozen=True)
class Rule:
    """One kind of check for incidents: which it finds, what it raises, what to try against them.

    ``needs_ends``: the incidents show in how runs end, so an end that nobody saw may hide one.
    """

    kinds: tuple[str, ...]
    error: type[TLSandboxError]
    verdict: str
    hint: str
    needs_ends: bool = False


OOM = Rule((kinds.OOM,), ProcessOOMKilled, "OOM-killed", MORE_MEMORY, needs_ends=True)
CRASH = Rule(
    (kinds.CRASH, kinds.GAVE_UP),
    ProcessCrashed,
    "Crashed",
    "what it wrote last; python -X faulthandler says where a crash was",
    needs_ends=True,
)
RESTART = Rule(
    (kinds.RESTART,),
    ProcessRestarted,
    "Restarted",
    "restart_process() for a restart that is meant: it is not counted",
)
UNHEALTHY = Rule(
    (kinds.UNHEALTHY,),
    ProcessUnhealthy,
    "Unhealthy",
    "wait_for_process(process, healthy=True), if it only needs more time",
)


def hint_of(rule: Rule, incident: Incident) -> str:
    """Return what to try against an incident: a supervisor may have given up without a crash."""
    return WHY_IT_ENDS if incident.kind == kinds.GAVE_UP else rule.hint


def is_inconclusive(incident: Incident, *, answers_for: bool) -> bool:
    """Return whether an incident is an end that may hide another incident.

    ``answers_for``: the check is about this process by name, or this test started it. Of any other
    one, an end that was lost or vanished with its row is shown, and decides nothing.
    """
    if incident.kind == kinds.UNSEEN_END:
        run = incident.run
        return answers_for or not run.is_newest or run.row is None
    return incident.kind == kinds.LOST_END and answers_for


_SUSPECTED = (kinds.SUSPECTED_OOM, kinds.LOST_END)
_MEANT = "kill_process() or send_signal() for a kill that is meant; else "


class NoIncident:
    """No incident of some kinds happened since a position: to some processes, or to any."""

    def __init__(
        self,
        rules: Sequence[Rule],
        history: History,
        since: int,
        *,
        selectors: Sequence[Selector] = (),
        started: Sequence[ProcessInfo] = (),
        only_started: bool = False,
        baseline: ProcessSnapshot | None = None,
        suspected: bool = False,
    ) -> None:
        """Create it; ``started`` is what this test started, and ``only_started`` checks only that."""
        self.wanted = " and ".join(f"nothing {rule.verdict.lower()}" for rule in rules)
        if selectors:
            self.wanted += f" of {', '.join(selector.label for selector in selectors)}"
        self._rules = rules
        self._history = history
        self._since = since
        self._selectors = selectors
        self._started = started
        self._only_started = only_started
        self._baseline = baseline
        self._suspected = suspected

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        """Evaluate a snapshot; if the condition is met, the value has suspicions and lost ends."""
        own = {run.generation for row in self._started if (run := self._history.run_of(row))}
        rows, generations, missing = self._select(snapshot, own)
        incidents = [
            incident
            for incident in self._history.incidents(self._since)
            if not incident.caused_here and self._is_selected(incident, generations)
        ]
        suspicions: list[Incident] = []
        lost: list[Incident] = []
        for rule in self._rules:
            found = [incident for incident in incidents if incident.kind in rule.kinds]
            if rule is UNHEALTHY:
                found = self._unhealthy_now(rows)
            unsure = [item for item in incidents if rule is OOM and item.kind in _SUSPECTED]
            counted = [item for item in found if not self._history.is_assumed(item.run)]
            counted += unsure if self._suspected else []
            if counted:
                uncounted = [item for item in found + unsure if item not in counted]
                return self._failed(rule, counted, uncounted, snapshot)
            suspicions += [item for item in unsure if item.kind == kinds.SUSPECTED_OOM]
            if rule.needs_ends and not lost:
                lost = [item for item in incidents if item.kind == kinds.LOST_END]
        suspicions += lost
        unknown = self._inconclusive(incidents, own, snapshot)
        if unknown:
            return _unknown_end(unknown)
        if missing is not None:
            return missing
        if self._history.forgot_since(self._since):
            return _too_much_happened()
        pids = {selector.pid for selector in self._selectors}
        spoilt = unreadable_rows(
            snapshot, self._baseline, pids if pids and None not in pids else None
        )
        if spoilt:
            return spoilt
        if any(item.run.may_be_corrected for item in incidents):
            return Met(suspicions, CORRECTION_TIME)
        alive = any(
            not row.ended or (row.managed is not None and row.managed.status != "stopped")
            for row in rows
        )
        return Met(suspicions, SETTLING_TIME if alive else 0.0)

    def _select(
        self, snapshot: ProcessSnapshot, own: set[Generation]
    ) -> tuple[Iterable[ProcessInfo], set[Generation | Run] | None, Impossible | None]:
        """Return the rows in question, their generations or runs, and what is missing, if anything."""
        if not self._selectors:
            if not self._only_started:
                return snapshot, None, None
            rows = [row for row in snapshot if self._generation_of(row) in own]
            return rows, {*own}, None
        selected: dict[Identity, ProcessInfo] = {}
        chosen: set[Generation | Run] = set()
        missing = None
        for selector in self._selectors:
            selection = selector.select(snapshot)
            if not selection.matches:
                finding = not_found(selector, snapshot, selection)
                missing = Impossible(finding, CORRECTION_TIME if selection.gone else 0.0)
            selected.update((row.identity, row) for row in selection.matches)
            last = (selection.last_seen,) if selection.last_seen else ()
            for row in (*selection.matches, *last):
                run = self._history.run_of(row)
                if run is not None:
                    chosen.add(run if selection.each_run else run.generation)
        return selected.values(), chosen, missing

    def _generation_of(self, row: ProcessInfo) -> Generation | None:
        run = self._history.run_of(row)
        return None if run is None else run.generation

    def _is_selected(self, incident: Incident, chosen: set[Generation | Run] | None) -> bool:
        run = incident.run
        if chosen is None or run in chosen or run.generation in chosen:
            return True
        if incident.kind == kinds.RESTART and run.successor in chosen:
            return True
        # A process may have ended, and its row may have gone, since the last poll.
        rows = [member.row for member in run.generation.runs if member.row is not None]
        return any(
            selector.may_select_others and any(map(selector.fits, rows))
            for selector in self._selectors
        )

    def _unhealthy_now(self, rows: Iterable[ProcessInfo]) -> list[Incident]:
        failing = [
            row
            for row in rows
            if row.managed and row.managed.health_status == "unhealthy" and not row.ended
        ]
        runs = [run for row in failing if (run := self._history.run_of(row)) is not None]
        return [Incident(kinds.UNHEALTHY, run, self._history.position, 0.0) for run in runs]

    def _inconclusive(
        self, incidents: Sequence[Incident], own: set[Generation], snapshot: ProcessSnapshot
    ) -> list[Incident]:
        ends = any(rule.needs_ends for rule in self._rules)
        # Somebody's kill may remove one row. All of them go with the daemon.
        before = self._baseline or ()
        all_gone = (
            bool(before)
            and any(incident.kind == kinds.UNSEEN_END for incident in incidents)
            and not any(snapshot.holds(row) or snapshot.find(row.identity) for row in before)
        )
        return [
            incident
            for incident in incidents
            if (ends or self._history.is_assumed(incident.run))
            and is_inconclusive(
                incident,
                answers_for=bool(self._selectors)
                or incident.run.generation in own
                or (all_gone and incident.kind == kinds.UNSEEN_END),
            )
        ]

    def _failed(
        self,
        rule: Rule,
        counted: Sequence[Incident],
        uncounted: Sequence[Incident],
        snapshot: ProcessSnapshot,
    ) -> Impossible:
        first = counted[0]
        certain = first.kind in rule.kinds
        verdict = rule.verdict if certain else f"Suspected to be {rule.verdict}"
        alone = len(counted) == 1
        more = "" if alone else f" and {len(counted) - 1} more"
        known = {item.run for item in counted}
        earlier = [
            item.run
            for item in self._history.incidents(0)
            if item.kind in rule.kinds and item.position <= self._since and item.run not in known
        ]
        remarks = []
        if earlier:
            names = "; ".join(dict.fromkeys(run_name(run) for run in earlier[-3:]))
            remarks.append(("earlier", f"{names}: before this test, not counted"))
        if uncounted:
            names = list_texts([run_name(item.run) for item in uncounted])
            remarks.append(("suspected", names))
        remarks.append(("checked", count(len(snapshot), "process")))
        explanation = Explanation(
            rule.error,
            f"{verdict}: {run_name(first.run)}{more}",
            because=describe(first) if alone else "",
            process=(ended_row(first.run) or shown_row(first.run)) if alone else None,
            run=first.run if alone and _is_behind_another(first.run) else None,
            listed=() if alone else _listed(counted),
            remarks=tuple(remarks),
            hint=f"{'' if certain else _MEANT}{hint_of(rule, first)}",
        )
        settled = any(not item.run.may_be_corrected for item in counted)
        return Impossible(explanation, 0.0 if settled else CORRECTION_TIME)


def _is_behind_another(run: Run) -> bool:
    """Return whether the row of its process shows another run."""
    return run.successor is not None or run.row is None


def _listed(incidents: Iterable[Incident]) -> tuple[Listed, ...]:
    """Return the rows of incidents; a run that no list call saw is named beside the next row."""
    listed = []
    for item in incidents:
        label = run_label(item.run) if _is_behind_another(item.run) else ""
        remark = ": ".join(filter(None, (label, describe(item))))
        listed.append(Listed(ended_row(item.run) or shown_row(item.run), remark))
    return tuple(listed)


def _unknown_end(incidents: Sequence[Incident]) -> Impossible:
    incident = incidents[0]
    run = incident.run
    alone = len(incidents) == 1
    more = "" if alone else f" and {len(incidents) - 1} more"
    listed = () if alone else _listed(incidents)
    if incident.kind == kinds.LOST_END:
        return Impossible(
            Explanation(
                Inconclusive,
                f"Unknown end: {run_name(run)} {run.state}{more}",
                because=f"the sandbox lost how it ended, and did not find it within "
                f"{CORRECTION_TIME:g} s",
                process=shown_row(run) if alone else None,
                listed=listed,
                hint="run it again: the sandbox loses the end of a few processes in a thousand",
            ),
            CORRECTION_TIME,
        )
    vanished = run.is_newest and run.row is not None
    return Impossible(
        Explanation(
            Inconclusive,
            f"Not observed: the end of {run_name(run)}{more}",
            because=describe(incident) if alone else "",
            process=shown_row(run) if alone else None,
            run=run if alone and not vanished else None,
            listed=listed,
            hint="was the sandbox or its daemon restarted, or the process removed by a kill?"
            if vanished
            else "assert_no_restart, or look in between",
        ),
        CORRECTION_TIME if vanished else 0.0,
    )


def _too_much_happened() -> Impossible:
    return Impossible(
        Explanation(
            Inconclusive,
            "Not observed: more incidents happened since then than are kept",
            hint="a shorter time: from_now(), or a newer snapshot as since=",
        )
    )
