"""The guard: attribute findings to tests, and fail the phase of a test that has findings.

The guard is a pytest plugin, which is registered only if a test is guarded. The plugin runs in each
process that runs tests. With xdist, these processes are the workers. When pytest makes the report
of a phase, the monitor has already polled. The hooks of the guard wrap the hooks of the monitor.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from pytest_tlsandbox.errors import AssertionFailed, ProcessOOMKilled
from pytest_tlsandbox.guard.findings import Finding, apply_rules, error_for, keys_of
from pytest_tlsandbox.guard.markers import allowances_of, rules_of
from pytest_tlsandbox.history.incidents import LEAK, LOST_END, Incident
from pytest_tlsandbox.history.runs import Generation
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.integration.tracebacks import at_the_test
from pytest_tlsandbox.messages.incidents import run_name, shown_row
from pytest_tlsandbox.monitoring.monitor import Monitor, Observation, Observer
from pytest_tlsandbox.monitoring.monitored_sandbox import MonitoredSandbox
from pytest_tlsandbox.monitoring.plain_data import RULES, Place, identity_text
from pytest_tlsandbox.settings import FACTS, Settings
from pytest_tlsandbox.types import Screen

_EXCUSES = (pytest.skip.Exception, pytest.xfail.Exception)
LONGEST_SETTLING = 0.5
"""Maximum seconds for which the monitor polls again if an incident is undecided."""
LEFTOVER_SETTLING = 0.2
"""Maximum seconds for which the monitor polls again because a started process may be ending."""


class Guard(Observer):
    """Reports incidents according to rules, and fails tests that have findings.

    The monitor calls the guard at the end of each phase.

    Args:
        settings: the settings of the session, whose rules apply outside of tests.
        monitor: the monitor.
        screen: a function that returns the terminal for which messages are formatted.

    """

    def __init__(self, settings: Settings, monitor: Monitor, screen: Callable[[], Screen]) -> None:
        self._settings = settings
        self._monitor = monitor
        self._screen = screen
        self._findings: list[Finding] = []
        self._new: dict[str, list[Any]] = defaultdict(list)
        self.end_test()
        monitor.observers.append(self)
        monitor.undecided = self._undecided_for

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Apply the rules of the test before the monitor takes the baseline."""
        self.begin_test(rules_of(item, self._settings.guard), allowances_of(item))
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Let a process outlive the test if a fixture with a wider scope started the process.

        This matters only if pytest sets up the fixture in the call phase of a test.

        Returns:
            The result of the fixture.

        """
        is_wider = fixturedef.scope != "function"
        needed = is_wider and LEAK in self._rules and self._monitor.place.phase == "call"
        before = self._poll_all() if needed else []
        result = yield
        for sandbox, start in before:
            runs = sandbox.started_between(start, self._monitor.poll(sandbox))
            self._exempt.update(run.generation for run in runs)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a phase that has findings, even if the test was skipped or is marked xfail.

        Returns:
            The report, which this hook changes after the hooks of all other plugins.

        """
        if call.when == self._monitor.place.phase == "call":
            return (yield)  # the report of a subtest, whose test continues
        failure = self._failure(item)
        if failure and (call.excinfo is None or call.excinfo.errisinstance(_EXCUSES)):
            # Other plugins see the finding as the error of the test.
            call.excinfo = pytest.ExceptionInfo.from_exception(failure)
        report = yield
        if failure:
            of_test = call.excinfo is None or call.excinfo.value is not failure
            if of_test and report.failed:
                report.sections.append(("tlsandbox guard", failure.first_line))
            else:
                if of_test:
                    excused = "failure of the test itself, excused"
                    report.sections.append((excused, report.longreprtext))
                report.outcome, report.longrepr = "failed", at_the_test(item, failure)
                vars(report).pop("wasxfail", None)
                call.excinfo = pytest.ExceptionInfo.from_exception(failure)
        self._add_facts(report, [failure, call.excinfo and call.excinfo.value])
        if call.when == "teardown":
            report.user_properties += self._properties
            self.end_test()
        return report

    def _failure(self, item: pytest.Item) -> AssertionFailed | None:
        """Return the error for the findings in the phase that has just ended, if there are any."""
        findings = self.failing()
        if not findings or self._settings.guard_report_only:
            return None
        if hasattr(item.config.option, "reruns"):  # pytest-rerunfailures is loaded
            # Do not rerun the test, because the regex of a rerun marker could be compared with the
            # wrong exception.
            item.add_marker(pytest.mark.flaky(reruns=0, condition=False), append=False)
        try:
            raise error_for(findings, self._screen())  # pytest needs an error with a traceback
        except AssertionFailed as failure:
            return failure

    def _add_facts(self, report: pytest.TestReport, errors: list[BaseException | None]) -> None:
        """Mark the report for the guard's summary, and note the findings for the JUnit file."""
        facts: dict[str, Any] = getattr(report, FACTS, {})
        if report.failed and any(isinstance(error, ProcessOOMKilled) for error in errors):
            facts = {**facts, "oom": True}
        for finding in facts.get("findings", ()):
            if finding["reported_in"] == "test":
                allowed = finding["allowed"]
                text = finding["headline"] + (f" (allowed: {allowed})" if allowed else "")
                self._properties.append((f"tlsandbox_{finding['rule']}", text))
        if facts:
            setattr(report, FACTS, {**facts, "guard": True})

    def begin_test(self, rules: Sequence[str], allowed: Mapping[str, str]) -> None:
        """Apply the rules of one test. ``allowed`` maps each allowed rule to a reason."""
        self._rules, self._allowed = rules, allowed
        self._blocks: list[tuple[MonitoredSandbox, int, int, Sequence[str], str]] = []
        """The sandbox, start, end, rules and reason of each block that allows findings."""
        self._exempt: set[Generation] = set()
        """The processes that may outlive the test."""
        self._properties: list[tuple[str, str]] = []
        self._monitor.guarding = bool(rules)

    def end_test(self) -> None:
        """Apply the rules of the session again."""
        self.begin_test(self._settings.guard, {})

    def failing(self) -> list[Finding]:
        """Return the findings that must fail the phase that has just ended."""
        found = self._findings
        return [each for each in found if each.reported_in == "test" and each.allowed is None]

    @contextlib.contextmanager
    def allowing(self, rules: Sequence[str], reason: str) -> Iterator[None]:
        """Allow findings of the given rules for incidents that happen in this block."""
        before = self._poll_all() if self._monitor.active else []
        try:
            yield
        finally:
            for sandbox, start in before:
                end = self._monitor.poll(sandbox)
                if end is not None:
                    since = start.position or 0
                    undecided = partial(self._undecided_ends, since=since)
                    end = self._monitor.poll_until_decided(sandbox, end, undecided)
                    self._blocks.append((sandbox, since, end.position or 0, rules, reason))

    def _poll_all(self) -> list[tuple[MonitoredSandbox, ProcessSnapshot]]:
        """Poll each sandbox, and return the snapshots."""
        polled = [(sandbox, self._monitor.poll(sandbox)) for sandbox in [*self._monitor.sandboxes]]
        return [(sandbox, snapshot) for sandbox, snapshot in polled if snapshot is not None]

    def examine(self, seen: Observation) -> None:
        """Report the incidents since the last observation. At the end of a test, also report leaks.

        At the end of a phase, fail the running test if any findings are attributed to it.
        """
        sandbox, snapshot, place = seen.sandbox, seen.snapshot, seen.place
        rules = self._settings.guard if place.test is None else self._rules
        started = sandbox.started
        found = apply_rules(rules, seen.incidents, started) if seen.incidents else []
        if seen.ends_phase and place.phase == "teardown" and LEAK in rules:
            found += [(LEAK, leak, False) for leak in self._leaks(sandbox, snapshot)]
        for rule, incident, inconclusive in found:
            attributed = place if sandbox.belongs_to_the_test(incident.run) else Place()
            before = (sandbox.before_call if rule == LEAK else sandbox.baseline) or snapshot
            allowed = self._allowance(sandbox, rule, incident) if attributed.test else None
            finding = Finding(rule, incident, inconclusive, seen, attributed, before, allowed)
            self._findings.append(finding)
        for incident in seen.incidents:
            run = incident.run
            if incident.caused_here:
                # If workers share the sandbox, the others cannot know who caused the incident.
                for rule in rules if sandbox.connection.shared else ():
                    self._new["caused"] += keys_of(sandbox.name, rule, incident)
            elif incident.kind == LOST_END and run.generation not in started:
                process = identity_text(shown_row(run))
                end = {"sandbox": sandbox.name, "process": process, "name": run_name(run)}
                self._new["unknown_ends"].append(end)

    def take_data(self) -> dict[str, Any]:
        """Return the plain data that was added since the last call of this method."""
        if not self._findings and not self._new:
            return {}
        findings = [finding.as_data(self._monitor) for finding in self._findings]
        data = {"findings": findings, **self._new}
        self._findings, self._new = [], defaultdict(list)
        return data

    def _allowance(self, sandbox: MonitoredSandbox, rule: str, incident: Incident) -> str | None:
        """Return the reason why an incident is allowed, or None if the incident is not allowed."""
        position = incident.run.generation.first_seen if rule == LEAK else incident.position
        for of, start, end, rules, reason in self._blocks:
            if of is sandbox and start < position <= end and rule in rules:
                return reason
        if rule in self._allowed:
            return self._allowed[rule]
        declared = any(kind in incident.run.declared for kind in RULES[rule].kinds)
        return "the test waited for it, or asserted it" if declared else None

    def _leaks(self, sandbox: MonitoredSandbox, now: ProcessSnapshot) -> list[Incident]:
        """Return a leak for each run that began in the call phase of the test and still runs."""
        return [
            Incident(LEAK, run, now.position or 0, now.begun)
            for run in sandbox.started_between(sandbox.before_call, sandbox.baseline)
            if run.generation not in self._exempt
        ]

    def _undecided_for(self, sandbox: MonitoredSandbox, now: ProcessSnapshot) -> float:
        """Return how many more seconds the monitor must poll at the end of a phase."""
        if sandbox.baseline is None or not self._rules:
            return 0.0
        undecided = self._undecided_ends(sandbox, now, since=sandbox.baseline.position or 0)
        if undecided or self._monitor.place.phase != "teardown":
            return undecided
        if LEAK in self._rules and self._leaks(sandbox, now):
            return LONGEST_SETTLING
        leftovers = sandbox.started_between(sandbox.before_call, now)
        return LEFTOVER_SETTLING if leftovers else 0.0

    def _undecided_ends(self, sandbox: MonitoredSandbox, _now: object, *, since: int) -> float:
        """Return how many more seconds the sandbox may take to correct its report of an exit."""
        for incident in sandbox.client.history.incidents(since):
            undecided = incident.run.may_be_corrected or incident.only_in_kernel
            if undecided and not incident.caused_here and sandbox.belongs_to_the_test(incident.run):
                return LONGEST_SETTLING
        return 0.0
