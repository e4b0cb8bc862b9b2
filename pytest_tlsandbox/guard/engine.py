"""The guard of one process that runs tests: when it looks, and whose a finding is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pytest_tlsandbox.guard.recording import Recorder
from pytest_tlsandbox.guard.rules import (
    LEAK,
    Finding,
    Place,
    TestRun,
    apply_rules,
    is_declared,
    keys_of,
    unknown_ends,
)
from pytest_tlsandbox.guard.settling import settled, undecided_end, undecided_for
from pytest_tlsandbox.guard.unmonitored import Gap, Gaps
from pytest_tlsandbox.guard.watching import Watched
from pytest_tlsandbox.guard.worker_data import Facts, HostTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.connections import Connection
    from pytest_tlsandbox.history.incidents import Incident
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot

_ENDED = (
    "it was ended before the call was; ended by a fixture, it is watched to the end of the call"
)
_REPLACED = "it was replaced: what was listed before is listed no more, and its end is not known"


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
        self._run: TestRun | None = None
        self._fresh = True
        self._findings: list[Finding] = []
        self._unknown_ends: list[dict[str, Any]] = []
        self._meant: list[str] = []
        self._gaps = Gaps(worker)
        self._new: dict[str, dict[str, object]] = {}
        self._vain: list[Gap] = []
        self._looks = 0

    def watch(self, connection: Connection, *, patient: bool = True) -> None:
        """Watch one more sandbox from now on: what was before does not count."""
        label = connection.client.label
        worker = (
            None if connection.shared or self._worker in (None, *label.split("-")) else self._worker
        )
        watched = Watched(connection, f"{label}@{worker}" if worker else label)
        self.watched.append(watched)
        self._new[watched.name] = {"label": label, "shared": connection.shared}

        def listed(_snapshot: ProcessSnapshot, changed: list[Run]) -> None:
            self._looks += 1
            if watched.ended is not None:
                self._take_up(watched, watched.ended)
            if self._recorder is not None:
                self._recorder.listed(watched.name, connection.client.history, changed)

        connection.client.history.observers.append(listed)
        if self._recorder is not None:
            self._recorder.follow(watched.name, connection.client)
        if self._is_watching:
            self._begin(watched, patient=patient)

    def watch_in_vain(self, label: str, why: str) -> None:
        """Take note of a sandbox that cannot even be connected to."""
        self._vain.append(self._new_gap(label, label, why, self._clock.monotonic()))

    def begin_test(self, run: TestRun) -> None:
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
                    watched.position = None
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
                watched.exempt.append((earlier.position or 0, later.position or 0))

    def end_phase(self, phase: str) -> list[Finding]:
        """Poll after the call, or the teardown; return the findings that fail the test."""
        if self._run is None or not self._is_watching:
            return []
        failing: list[Finding] = []
        if phase == "teardown":
            self._phase(phase)
        for watched in [*self.watched]:
            snapshot = self._observe(watched, failing)
            if phase != "teardown":
                watched.after_call = snapshot
            elif snapshot is not None and self._watches_leaks:
                for incident in watched.left_running(snapshot):
                    before = watched.before_call or snapshot
                    self._report(
                        watched, LEAK, incident, self._run, failing, before=before, now=snapshot
                    )
            watched.baseline = snapshot
        self._phase("teardown")
        return failing

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
                    self._allow(watched, earlier.position or 0, rules, reason)

    def take_facts(self) -> Facts:
        """Give what is to be told since the last time; empty if there is nothing."""
        facts: Facts = {}
        if self._recorder is not None:
            facts = self._recorder.take()
        if self._findings:
            facts["findings"] = [finding.as_data(self._worker) for finding in self._findings]
            self._findings = []
        if self._unknown_ends:
            facts["unknown_ends"], self._unknown_ends = self._unknown_ends, []
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
        if watched.position is None:
            snapshot = self._look(watched, patient=patient)
            watched.position = None if snapshot is None else snapshot.position
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
        elif watched.gap is not None and watched.gap.open and watched.position is None:
            self._close_gap(watched, snapshot.begun)
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

    def _take_up(self, watched: Watched, ended: float) -> None:
        """Monitor a sandbox again that seemed to have ended, and answers somebody."""
        why = watched.fault.first_line if watched.fault else "no answer"
        watched.gap = self._new_gap(watched.name, watched.label, why, ended)
        watched.ended = watched.position = None
        self._close_gap(watched, self._clock.monotonic())
        self.watched.append(watched)

    def _observe(self, watched: Watched, failing: list[Finding] | None) -> ProcessSnapshot | None:
        """Poll, and report what is new; add to ``failing`` what is attributed to the running test.

        Without ``failing``, everything is reported at the end of the session.
        """
        snapshot = self._look(watched)
        if snapshot is None:
            return None
        test = self._run
        if failing is not None and test is not None:
            over = test.phase == "teardown"
            snapshot = settled(
                watched, snapshot, lambda now: undecided_for(watched, now, test.rules, over=over)
            )
        since, watched.position = watched.position, snapshot.position
        in_gap = watched.gap is not None and watched.gap.open
        replaced_at = watched.client.history.replaced_at
        if since is not None and replaced_at > since:
            self._close_gap(watched, snapshot.begun)
            watched.before_call = None
            begun = snapshot.begun if watched.baseline is None else watched.baseline.begun
            watched.gap = self._new_gap(watched.name, watched.label, _REPLACED, begun)
            since = replaced_at
        if since is not None:
            self._report_new(
                watched, since, None if in_gap else test, None if in_gap else failing, snapshot
            )
        self._close_gap(watched, snapshot.begun)
        return snapshot

    # ---------------------------------------------------------------- findings

    def _report_new(
        self,
        watched: Watched,
        since: int,
        test: TestRun | None,
        failing: list[Finding] | None,
        snapshot: ProcessSnapshot,
    ) -> None:
        """Report the incidents after a position."""
        incidents = watched.client.history.incidents(since)
        if not incidents:
            return
        rules = self._rules if test is None else test.rules
        before = watched.baseline or snapshot
        started = watched.started
        found = apply_rules(rules, incidents, started)
        for rule, incident, inconclusive in found:
            self._report(
                watched,
                rule,
                incident,
                test,
                failing,
                inconclusive=inconclusive,
                before=before,
                now=snapshot,
            )
        self._unknown_ends += [
            {"sandbox": watched.name, **end} for end in unknown_ends(incidents, started)
        ]
        if watched.connection.shared:
            # What this worker did itself looks to the others like what happened by itself.
            self._meant += [
                f"{watched.name} {key}"
                for incident in incidents
                if incident.caused_here
                for rule in rules
                for key in keys_of(rule, incident)
            ]

    def _report(
        self,
        watched: Watched,
        rule: str,
        incident: Incident,
        test: TestRun | None,
        failing: list[Finding] | None,
        *,
        now: ProcessSnapshot,
        **more: Any,
    ) -> None:
        """Record a finding, and let it fail the running test if it is attributed to that."""
        allowed = None
        if test is not None:
            allowed = watched.allowance_of(rule, incident) or test.allowed.get(rule)
            if allowed is None and is_declared(rule, incident.run):
                allowed = "the test waited for it, or asserted it"
        if not watched.belongs_to_the_test(incident.run):
            test = None
        told = "test" if test is not None and failing is not None else "session"
        finding = Finding(
            rule=rule,
            incident=incident,
            sandbox=watched.name,
            place=Place() if test is None else test.place,
            client=watched.client,
            allowed=allowed if test is not None else None,
            told=told,
            at=self._host.at(now.begun),
            now=now,
            **more,
        )
        self._findings.append(finding)
        if told == "test" and failing is not None and allowed is None and not self._report_only:
            failing.append(finding)

    def _allow(self, watched: Watched, since: int, rules: Sequence[str], reason: str) -> None:
        now = self._look(watched)
        if now is not None:
            now = settled(watched, now, lambda _: undecided_end(watched, since))
            watched.allowed.append((since, now.position or 0, rules, reason))

    def _new_gap(
        self, sandbox: str, label: str, why: str, begun: float, *, fails: bool = True
    ) -> Gap:
        rules = self._rules if self._run is None else self._run.rules
        since = self._run.nodeid if self._run else None
        at = self._host.at(begun)
        return self._gaps.begin(sandbox, label, why, at, since, guarded=bool(rules) and fails)

    def _close_gap(self, watched: Watched, at: float) -> None:
        if watched.gap is not None and watched.gap.open:
            until = self._run.nodeid if self._run else None
            self._gaps.end(watched.gap, self._host.at(at), until)

    def _place(self, run: TestRun | None) -> None:
        self._run = run
        if self._recorder is not None:
            self._recorder.place = Place() if run is None else run.place

    def _phase(self, phase: str) -> None:
        if self._run is not None:
            self._run.phase = phase
            self._place(self._run)
