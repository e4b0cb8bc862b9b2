"""Conditions which require that no process is alive, or that no incident has happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import list_texts, living_state, short_name
from pytest_tlsandbox.history import incidents as kinds
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.incidents import Incident
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.messages import incidents as texts
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.waiting.conditions.process_list import unreadable_rows
from pytest_tlsandbox.waiting.results import CORRECTION_TIME, SETTLING_TIME, Impossible, Met, Result
from pytest_tlsandbox.waiting.selectors import Selector, is_over
from pytest_tlsandbox.waiting.suggestions import MORE_MEMORY, RUN_AGAIN, after_a_crash, not_found


@dataclass(eq=False)
class NotRunning:
    """A condition that is met if no selected process is alive or about to be restarted.

    Attributes:
        selector: selects the processes; unreadable rows in its baseline are ignored.
        wanted: the expectation in words.

    """

    selector: Selector

    def __post_init__(self) -> None:
        self.wanted = f"no living process that matches {self.selector.label}"

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return ``Met`` or ``Impossible`` for a snapshot."""
        living = self.selector.select(snapshot).living
        if living:
            what = f"{len(living)} processes unexpectedly running"
            names, listed = _different(map(short_name, living)), tuple(map(Listed, living))
            hint = "call wait_for_exit() first if the process should end by itself"
            explanation = Explanation(errors.AssertionFailed, what, names, listed=listed, hint=hint)
            if len(living) == 1:
                what = f"Unexpectedly {living_state(living[0])}"
                explanation = explanation._replace(what=what, process=living[0], listed=())
            # Immediately after a kill, a list call may still say "running" (api-notes, "Ends").
            return Impossible(explanation, SETTLING_TIME)
        check = f"whether {self.selector.label} is running"
        run = self.selector.vanished()
        if run is not None:
            return _unknown_end([Incident(kinds.UNSEEN_END, run, 0, 0.0)], check)
        baseline, pids = self.selector.baseline, {self.selector.pid}
        return unreadable_rows(snapshot, baseline, pids, check) or Met(None)


@dataclass(frozen=True)
class Rule:
    """Defines which incidents a kind of check finds, and how a failure is described.

    Attributes:
        kinds: the kinds of incident that fail the check.
        error: the class of the error that the check raises.
        verdict: the first words of the message about one incident.
        plural: the plural form of the incidents' name.
        needs_ends: whether the check needs to know how each run ended; if so, a run whose end no
            list call showed may hide an incident.

    """

    kinds: tuple[str, ...]
    error: type[errors.TLSandboxError]
    verdict: str
    plural: str
    needs_ends: bool = False

    def name(self, incidents: Sequence[Incident]) -> str:
        """Return the headline for the given incidents, for example "Restarted 3 times"."""
        number = len(incidents)
        if len({item.run.generation for item in incidents}) > 1:
            return f"{number} processes {'OOM-killed' if self is OOM else self.verdict.lower()}"
        end = incidents[-1].run.end if self is RESTART else None
        last = "" if end is None else f" (last run: {end})"
        return f"{self.verdict} {'twice' if number == 2 else f'{number} times'}{last}"


OOM = Rule((kinds.OOM,), errors.ProcessOOMKilled, "OOM-killed", "OOM kills", needs_ends=True)
_CRASHES = (kinds.CRASH, kinds.GAVE_UP)
CRASH = Rule(_CRASHES, errors.ProcessCrashed, "Crashed", "crashes", needs_ends=True)
RESTART = Rule((kinds.RESTART,), errors.ProcessRestarted, "Restarted", "restarts")
UNHEALTHY = Rule((kinds.UNHEALTHY,), errors.ProcessUnhealthy, "Unhealthy", "failing health checks")


def hint_of(rule: Rule, incident: Incident) -> str:
    """Return a hint about how to prevent an incident, or "" if there is no hint."""
    if rule is OOM:
        return MORE_MEMORY
    return after_a_crash(texts.shown_row(incident.run)) if incident.kind == kinds.CRASH else ""


def is_inconclusive(incident: Incident, *, answers_for: bool) -> bool:
    """Return whether a check is inconclusive because it is not known how a run ended.

    Args:
        incident: an incident of any kind.
        answers_for: whether the check selects this process, or the test started the process. For
            any other process, a lost exit code does not make a check inconclusive. The same applies
            if the row of the newest run vanishes.

    """
    if incident.kind == kinds.UNSEEN_END and _is_hidden(incident.run):
        return True
    return answers_for and incident.kind in (kinds.UNSEEN_END, kinds.LOST_END)


def _is_hidden(run: Run) -> bool:
    """Return whether a later run has replaced the run, or whether no list call saw the run."""
    return not run.is_newest or run.row is None


_SUSPECTED = (kinds.SUSPECTED_OOM, kinds.LOST_END)
_KILL_IT_HERE = (
    "if this test kills the process, use kill_process() or send_signal(), so that this check ignores "
    "the kill; otherwise, raise the memory limit and see whether the kill still happens"
)


@dataclass(eq=False)
class NoIncident:
    """A condition that is met if no incident of the given kinds happened after the baseline.

    Attributes:
        rules: the kinds of checks to make.
        history: the history of the sandbox.
        selectors: the selectors of the processes to check; empty for all processes.
        started: the processes that this test started.
        only_started: whether to check only ``started``, because other tests use the sandbox too.
        baseline: a snapshot; only incidents whose evidence was first seen after this snapshot
            count. If it is None, all known incidents count.
        suspected: whether suspected OOM kills and lost exit codes also fail the check.
        wanted: the expectation in words.

    """

    rules: Sequence[Rule]
    history: History
    selectors: Sequence[Selector] = ()
    started: Sequence[ProcessInfo] = ()
    only_started: bool = False
    baseline: ProcessSnapshot | None = None
    suspected: bool = False

    def __post_init__(self) -> None:
        *names, last = (rule.plural for rule in self.rules)
        of = f" of {', '.join(selector.label for selector in self.selectors)}"
        listed = f"{', '.join(names)} or {last}" if names else last
        listed += of if self.selectors else ""
        self.wanted, self._check = f"no {listed}", f"for {listed}"
        self._since = self.history.position_of(self.baseline)
        self._needs_ends = any(rule.needs_ends for rule in self.rules)

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Return the result. The value of ``Met`` lists suspected OOM kills and lost exit codes."""
        run_of = self.history.run_of
        self._own = {run.generation for row in self.started if (run := run_of(row))}
        rows: Sequence[ProcessInfo] = snapshot.processes
        selections = [selector.select(snapshot) for selector in self.selectors]
        if self.selectors:
            rows = [row for selection in selections for row in selection.matches]
        elif self.only_started:
            rows = [row for row in rows if (run := run_of(row)) and run.generation in self._own]
        later = self.history.incidents(self._since)
        incidents = [item for item in later if not item.caused_here and self._is_selected(item)]
        for rule in self.rules:
            failed = self._failed(rule, incidents, rows)
            if failed is not None:
                return failed
        unknown = self._unknown(incidents, snapshot)
        if unknown:
            return _unknown_end(unknown, self._check)
        for selector, selection in zip(self.selectors, selections, strict=True):
            if not selection.matches:
                explanation = not_found(selector, snapshot, selection)
                return Impossible(explanation, CORRECTION_TIME if selection.gone else 0.0)
        settling_time = 0.0 if all(map(is_over, rows)) else SETTLING_TIME
        if any(item.run.may_be_corrected or item.only_in_kernel for item in incidents):
            settling_time = CORRECTION_TIME  # the list may soon show how the run really ended
        doubtful = _SUSPECTED if OOM in self.rules else (kinds.LOST_END,)
        shown = [item for item in incidents if self._needs_ends and item.kind in doubtful]
        pids = {selector.pid for selector in self.selectors}
        unreadable = unreadable_rows(snapshot, self.baseline, pids, self._check)
        return unreadable or Met(shown, settling_time)

    def _is_selected(self, incident: Incident) -> bool:
        run = incident.run
        if not self.selectors:
            return not self.only_started or run.generation in self._own
        if run.running_then is not None:
            return False
        # A restart counts for the run before it and for the run after it.
        runs = [run, run.successor] if incident.kind == kinds.RESTART else [run]
        return any(selector.selects(each) for selector in self.selectors for each in runs if each)

    def _unhealthy_now(self, rows: Iterable[ProcessInfo]) -> list[Incident]:
        failing = (row for row in rows if row.managed and row.managed.health_status == "unhealthy")
        living = (self.history.run_of(row) for row in failing if not row.ended)
        runs = filter(None, dict.fromkeys(living))
        return [Incident(kinds.UNHEALTHY, run, self.history.position, 0.0) for run in runs]

    def _unknown(self, incidents: list[Incident], snapshot: ProcessSnapshot) -> list[Incident]:
        """Return the incidents that make the check inconclusive."""
        # A kill by another client may remove one row. If all rows vanished, the daemon was
        # replaced.
        before = self.baseline or ()
        kept = (snapshot.holds(row) or snapshot.find(row.identity) for row in before)
        all_gone = bool(before) and not any(kept)
        unknown = []
        for incident in incidents:
            needed = self._needs_ends or incident.run.assumed
            answers_for = bool(self.selectors) or incident.run.generation in self._own
            vanished = all_gone and incident.kind == kinds.UNSEEN_END
            if needed and is_inconclusive(incident, answers_for=answers_for or vanished):
                unknown.append(incident)
        return unknown

    def _failed(
        self, rule: Rule, incidents: Sequence[Incident], rows: Iterable[ProcessInfo]
    ) -> Impossible | None:
        """Return the failure that a rule reports, or None if no incident counts as a failure."""
        found = [item for item in incidents if item.kind in rule.kinds]
        if rule is UNHEALTHY:
            found = self._unhealthy_now(rows)
        unsure = [item for item in incidents if rule is OOM and item.kind in _SUSPECTED]
        counted = [item for item in found if not item.run.assumed]
        counted += unsure if self.suspected else []
        if not counted:
            return None
        uncounted = [texts.run_name(item.run) for item in found + unsure if item not in counted]
        remarks = (("suspected", list_texts(uncounted)),) if uncounted else ()
        first, error, what = counted[0], rule.error, rule.name(counted)
        hint = hint_of(rule, first)
        if first.kind not in rule.kinds:
            error, what = errors.SuspectedOOMKill, f"{len(counted)} suspected OOM kills"
            hint = MORE_MEMORY if first.only_in_kernel else _KILL_IT_HERE
        if len(counted) == 1:
            what = texts.headline_of(first)
        if first.kind == kinds.LOST_END:
            what, hint = f"{what}, possibly an OOM kill", RUN_AGAIN
        explanation = Explanation(error, what, _names(counted), remarks=remarks, hint=hint)
        uncertain = all(item.run.may_be_corrected for item in counted)
        may_change = uncertain or any(item.only_in_kernel for item in counted)
        settling_time = CORRECTION_TIME if may_change else 0.0
        return Impossible(with_evidence(explanation, counted), settling_time)


def _names(incidents: Iterable[Incident]) -> str:
    return _different(short_name(texts.shown_row(item.run)) for item in incidents)


def _different(names: Iterable[str]) -> str:
    return list_texts([*dict.fromkeys(names)])


def with_evidence(explanation: Explanation, incidents: Sequence[Incident]) -> Explanation:
    """Return an explanation that also contains the evidence for the incidents.

    If there is only one incident, the explanation shows the affected process. If there are several
    incidents, the explanation shows a table.
    """
    if len(incidents) > 1:
        return explanation._replace(listed=tuple(map(_listed, incidents)))
    run = incidents[0].run
    if incidents[0].only_in_kernel:
        explanation = explanation._replace(because=texts.describe(incidents[0]))
    if run.running_then is not None:
        return explanation
    hidden = run if _is_hidden(run) else None
    row = texts.ended_row(run) or texts.shown_row(run)
    return explanation._replace(process=row, run=hidden, output=True)


def _listed(incident: Incident) -> Listed:
    """Return the run of the incident, as a row of a table.

    If this run was never listed, the row shows another run of the process instead (see
    ``shown_row``).
    """
    run, kind = incident.run, incident.kind
    label = texts.run_label(run) if _is_hidden(run) else ""
    # A remark is left out if the table or the message already shows how the run ended.
    known = bool(label) if kind == kinds.UNSEEN_END else not label
    plain = kind in (kinds.OOM, kinds.CRASH, kinds.UNSEEN_END, kinds.LOST_END)
    remark = ": ".join(filter(None, (label, "" if plain and known else texts.describe(incident))))
    # The output of a process that is still running does not explain a leak.
    output = run.row is not None and kind != kinds.LEAK
    return Listed(texts.ended_row(run) or texts.shown_row(run), remark, output=output)


def _unknown_end(incidents: Sequence[Incident], check: str) -> Impossible:
    first, alone = incidents[0], len(incidents) == 1
    because, hint, settling_time = texts.describe(first) if alone else "", "", CORRECTION_TIME
    if first.kind == kinds.LOST_END:
        lost = "the sandbox lost the exit code, and did not report it within"
        because, hint = f"{lost} {CORRECTION_TIME:g} s", RUN_AGAIN
    elif _is_hidden(first.run):
        hint = "use assert_no_restart(), or list the processes after each restart"
        settling_time = 0.0
        if not alone:
            because = "these runs began and ended between two list calls, and the sandbox reports only how the last run ended"
    runs = "" if alone else f"{len(incidents)} runs of "
    subject = f"it is not known how {runs}{_names(incidents)} ended"
    what, error = f"Cannot check {check}", errors.Inconclusive
    explanation = Explanation(error, what, subject, because=because, hint=hint)
    return Impossible(with_evidence(explanation, incidents), settling_time)
