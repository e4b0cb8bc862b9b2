"""The guard of one process that runs tests: when it looks, and whose a finding is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_tlsandbox.evidence import Ledger
from pytest_tlsandbox.guard.facts import Facts, Finding, HostTime, finding_of
from pytest_tlsandbox.guard.gaps import Gap, Gaps
from pytest_tlsandbox.guard.recording import Recorder
from pytest_tlsandbox.guard.rules import (
    LEAK,
    Incident,
    incidents_between,
    is_another,
    process_of,
    without_doubtful,
)
from pytest_tlsandbox.guard.settling import doubted_for, settled, undecided_for
from pytest_tlsandbox.guard.telling import Pinned
from pytest_tlsandbox.guard.watching import Watched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.connections import Connection
    from pytest_tlsandbox.snapshot import ProcessSnapshot

_ENDED = (
    "it was ended before the call was; ended by a fixture, it is watched to the end of the call"
)
_REPLACED = "it was replaced: what was listed before is listed no more, and its end is not known"


@dataclass
class Run:
    """One attempt at one test."""

    nodeid: str
    attempt: int = 1
    rules: tuple[str, ...] = ()
    allowed: Mapping[str, str] = field(default_factory=dict)
    phase: str = "setup"


class Guard:
    """Looks at every watched sandbox when it is told that a phase of a test has ended.

    ``rules``: those of the session, which hold outside of tests. What is found is in the facts;
    what fails the running test is returned.
    """

    def __init__(
        self,
        rules: Sequence[str],
        clock: Clock,
        *,
        worker: str | None = None,
        report_only: bool = False,
        recording: bool = False,
    ) -> None:
        self.watched: list[Watched] = []
        self._rules = tuple(rules)
        self._clock = clock
        self._worker = worker
        self._report_only = report_only
        self._host = HostTime(clock)
        self._recorder = Recorder(self._host) if recording else None
        self._run: Run | None = None
        self._fresh = True
        self._findings: list[Finding] = []
        self._meant: list[str] = []
        self._gaps = Gaps(worker)
        self._new: dict[str, dict[str, object]] = {}
        self._vain: list[Gap] = []
        self._looks = 0

    def watch(self, connection: Connection, *, patient: bool = True) -> None:
        """Watch one more sandbox from now on: what was before does not count."""
        label = connection.lister.label
        worker = (
            None if connection.shared or self._worker in (None, *label.split("-")) else self._worker
        )
        watched = Watched(connection, f"{label}@{worker}" if worker else label)
        self.watched.append(watched)
        self._new[watched.name] = {"label": label, "shared": connection.shared}

        def heard(snapshot: ProcessSnapshot) -> None:
            self._looks += 1
            if watched.ended is not None:
                self._take_up(watched, watched.ended, snapshot)
            if self._recorder is not None:
                self._recorder.observe(watched.name, snapshot)

        connection.lister.on_look = connection.client.on_look = heard
        if self._recorder is not None:
            self._recorder.listen(watched.name, connection)
        if self._is_watching:
            self._begin(watched, patient=patient)

    def watch_in_vain(self, label: str, why: str) -> None:
        """Take note of a sandbox that cannot even be connected to."""
        self._vain.append(self._new_gap(label, label, why, self._clock.monotonic()))

    def begin_test(self, run: Run) -> None:
        """Take the baseline of a test: the last look of the test before, where there was one."""
        self._place(run)
        for watched in [*self.watched]:
            watched.begin_test()
            watched.connection.baseline = None
            if not self._is_watching:
                continue
            if self._fresh and watched.baseline is not None:
                watched.connection.baseline = watched.before_call = watched.baseline
            else:
                if not self._fresh:
                    watched.reference = None
                self._begin(watched)
        self._fresh = self._is_watching

    def begin_call(self, *, fixtures: bool) -> None:
        """Look before the call, where fixtures may have begun what is to outlive the test."""
        self._phase("call")
        if fixtures and self._is_watching:
            for watched in [*self.watched]:
                watched.before_call = self._look(watched)

    @contextlib.contextmanager
    def exempting(self) -> Iterator[None]:
        """Let what begins meanwhile outlive the test: a fixture of wider scope, within a call."""
        if not (self._watches_leaks and self._run and self._run.phase == "call"):
            yield
            return
        before = [(watched, self._look(watched)) for watched in self.watched]
        yield
        for watched, earlier in before:
            later = self._look(watched)
            if earlier is not None and later is not None:
                known = {process_of(row) for row in earlier}
                watched.exempt |= {process_of(row) for row in later} - known

    def end_phase(self, phase: str) -> list[Pinned]:
        """Look after the call, or the teardown; give what fails the test."""
        if self._run is None or not self._is_watching:
            return []
        pinned: list[Pinned] = []
        if phase == "teardown":
            self._phase(phase)
        for watched in [*self.watched]:
            snapshot = self._observe(watched, pinned)
            if phase != "teardown":
                watched.after_call = snapshot
            elif snapshot is not None and self._watches_leaks:
                for incident in watched.left_running(snapshot):
                    self._tell(watched, incident, self._run, pinned, snapshot)
            watched.baseline = snapshot
        self._phase("teardown")
        return pinned

    def end_test(self) -> None:
        """Leave the test."""
        for watched in self.watched:
            watched.connection.baseline = None
        for gap in [*self._vain, *(watched.gap for watched in self.watched)]:
            self._gaps.miss(gap)
        self._place(None)

    def end_session(self) -> None:
        """Look for what happened outside of every test, or in one that was broken off."""
        if self._is_watching and self._fresh:
            for watched in [*self.watched]:
                self._observe(watched, None)
        self._place(None)

    @contextlib.contextmanager
    def allowing(self, rules: Sequence[str], reason: str) -> Iterator[None]:
        """Allow what happens meanwhile, by these rules."""
        before = [(watched, self._look(watched)) for watched in self.watched if self._is_watching]
        try:
            yield
        finally:
            for watched, earlier in before:
                if earlier is not None:
                    self._allow(watched, earlier, rules, reason)

    def take_facts(self) -> Facts:
        """Give what is to be told since the last time; empty if there is nothing."""
        facts: Facts = {}
        if self._recorder is not None:
            facts = self._recorder.take()
        if self._findings:
            facts["findings"], self._findings = self._findings, []
        if self._meant:
            facts["meant"], self._meant = self._meant, []
        if gaps := self._gaps.take():
            facts["gaps"] = gaps
        if self._new:
            facts["sandboxes"], self._new = self._new, {}
        return facts

    def take_looks(self) -> int:
        """Give how many good looks there were since the last time."""
        looks, self._looks = self._looks, 0
        return looks

    # ------------------------------------------------------------------ looks

    @property
    def _is_watching(self) -> bool:
        rules = self._rules if self._run is None else self._run.rules
        return bool(rules) or self._recorder is not None

    @property
    def _watches_leaks(self) -> bool:
        return self._run is not None and LEAK in self._run.rules

    def _begin(self, watched: Watched, *, patient: bool = True) -> None:
        if watched.reference is None:
            snapshot = self._look(watched, patient=patient)
            watched.reference = snapshot
        else:
            snapshot = self._observe(watched, None)
        watched.connection.baseline = watched.before_call = watched.baseline = snapshot

    def _look(self, watched: Watched, *, patient: bool = True) -> ProcessSnapshot | None:
        begun = self._clock.monotonic()
        snapshot = watched.look(patient=patient)
        if watched.ended is not None:
            self._let_go(watched, watched.ended)
        elif snapshot is None:
            if watched.gap is None or not watched.gap.open:
                why = watched.fault.first_line if watched.fault else "no answer"
                watched.gap = self._new_gap(watched.name, watched.label, why, begun)
        elif watched.gap is not None and watched.gap.open and watched.reference is None:
            self._close_gap(watched, snapshot)
        return snapshot

    def _let_go(self, watched: Watched, ended: float) -> None:
        """Watch a sandbox no more that the suite has ended: in a teardown, as a rule.

        A test that ends it before the look after its call hides something from the guard, and is
        told so; the session fails where the sandbox was there before that test.
        """
        self.watched.remove(watched)
        if self._run is not None and self._run.phase == "call":
            gap = self._new_gap(
                watched.name, watched.label, _ENDED, ended, fails=not watched.is_new
            )
            self._gaps.end(gap, self._host.at(ended), self._run.nodeid)

    def _take_up(self, watched: Watched, ended: float, snapshot: ProcessSnapshot) -> None:
        """Watch a sandbox again that had seemed to have ended, and answers somebody."""
        why = watched.fault.first_line if watched.fault else "no answer"
        watched.gap = self._new_gap(watched.name, watched.label, why, ended)
        watched.ended = watched.reference = None
        self._close_gap(watched, snapshot)
        self.watched.append(watched)

    def _observe(self, watched: Watched, pinned: list[Pinned] | None) -> ProcessSnapshot | None:
        """Look and judge; what is found is added to ``pinned`` where it is the running test's own.

        Without ``pinned``, it is told at the end of the session.
        """
        snapshot = self._look(watched)
        if snapshot is None:
            return None
        if pinned is not None and (test := self._run) is not None:
            over = test.phase == "teardown"
            snapshot = settled(
                watched, snapshot, lambda now: undecided_for(watched, now, test.rules, over=over)
            )
        before, ledger = watched.reference, watched.connection.ledger
        in_gap = watched.gap is not None and watched.gap.open
        if before is not None and before.processes == snapshot.processes:
            self._close_gap(watched, snapshot)  # as nearly always: nothing has changed
        elif before is not None and is_another(before, snapshot, ledger):
            self._close_gap(watched, snapshot)
            watched.before_call = None
            watched.gap = self._new_gap(watched.name, watched.label, _REPLACED, before.begun)
            self._close_gap(watched, snapshot)
        elif before is not None:
            run = None if in_gap else self._run
            rules = self._rules if run is None else run.rules
            found = incidents_between(rules, before, snapshot, ledger)
            for incident in found:
                self._tell(watched, incident, run, None if in_gap else pinned, snapshot)
            if watched.connection.shared:
                # What this worker did itself looks to the others like what happened by itself.
                seen = incidents_between(rules, before, snapshot, Ledger())
                meant = {incident.key for incident in seen} - {incident.key for incident in found}
                self._meant += [f"{watched.name} {key}" for key in meant]
            self._close_gap(watched, snapshot)
        else:
            self._close_gap(watched, snapshot)
        watched.reference = without_doubtful(snapshot, ledger)
        return snapshot

    # ------------------------------------------------------------ what is told

    def _tell(
        self,
        watched: Watched,
        incident: Incident,
        run: Run | None,
        pinned: list[Pinned] | None,
        snapshot: ProcessSnapshot,
    ) -> None:
        """Take note of a finding, and pin it on the running test where it is its own."""
        allowed = None
        if run is not None:
            allowed = watched.allowed.get(incident.allowance) or run.allowed.get(incident.rule)
        start = watched.connection.baseline
        before = start.find(incident.row.identity) if start is not None else None
        late = before is not None and before.ended and not incident.row.managed
        if late or not watched.belongs_to_the_test(incident.row):
            run = None  # another's, or it ended before the test and was in doubt until now
        self._findings.append(
            finding_of(
                incident,
                watched.name,
                (run.nodeid, run.attempt, run.phase) if run else (None, None, None),
                told="test" if run and pinned is not None else "session",
                allowed=allowed,
                worker=self._worker,
                at=self._host.at(snapshot.begun),
            )
        )
        if pinned is not None and run and allowed is None and not self._report_only:
            reference = watched.before_call if incident.rule == LEAK else watched.reference
            client = watched.connection.client
            pinned.append(Pinned(incident, run.phase, reference or snapshot, snapshot, client))

    def _allow(
        self, watched: Watched, before: ProcessSnapshot, rules: Sequence[str], reason: str
    ) -> None:
        ledger = watched.connection.ledger
        now = self._look(watched)
        if now is None:
            return
        now = settled(watched, now, lambda rows: doubted_for(before, rows, ledger))
        for incident in incidents_between(rules, before, now, ledger):
            watched.allowed[incident.allowance] = reason
        if LEAK in rules:
            known = {process_of(row) for row in before}
            for process in {process_of(row) for row in now} - known:
                watched.allowed[f"{LEAK} {process}"] = reason

    def _new_gap(
        self, sandbox: str, label: str, why: str, begun: float, *, fails: bool = True
    ) -> Gap:
        rules = self._rules if self._run is None else self._run.rules
        since = self._run.nodeid if self._run else None
        at = self._host.at(begun)
        return self._gaps.begin(sandbox, label, why, at, since, guarded=bool(rules) and fails)

    def _close_gap(self, watched: Watched, snapshot: ProcessSnapshot) -> None:
        if watched.gap is not None and watched.gap.open:
            until = self._run.nodeid if self._run else None
            self._gaps.end(watched.gap, self._host.at(snapshot.begun), until)

    def _place(self, run: Run | None) -> None:
        self._run = run
        if self._recorder is not None:
            self._recorder.place = (run.nodeid, run.attempt, run.phase) if run else (None,) * 3

    def _phase(self, phase: str) -> None:
        if self._run is not None:
            self._run.phase = phase
            self._place(self._run)
