"""The pytest plugin of the guard, which is registered only if a test is guarded.

The plugin runs in each process that runs tests. With xdist, these processes are the workers. When
pytest makes the report of a phase, the monitor has already polled. The hooks of the guard wrap the
hooks of the monitor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.errors import AssertionFailed, ProcessOOMKilled
from pytest_tlsandbox.guard.failures import error_for
from pytest_tlsandbox.guard.guard import Guard
from pytest_tlsandbox.guard.markers import allowances_of, rules_of
from pytest_tlsandbox.integration.tracebacks import at_the_test
from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_tlsandbox.monitoring.monitor import Monitor
    from pytest_tlsandbox.settings import Settings
    from pytest_tlsandbox.types import Screen

_EXCUSES = (pytest.skip.Exception, pytest.xfail.Exception)


class GuardPlugin:
    """Fails a phase of a test if the guard has a finding in that phase."""

    def __init__(self, settings: Settings, monitor: Monitor, screen: Callable[[], Screen]) -> None:
        self.guard = Guard(monitor, settings.guard)
        self._settings = settings
        self._monitor = monitor
        self._screen = screen
        self._properties: list[tuple[str, str]] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Apply the rules of the test before the monitor takes the baseline."""
        self._properties.clear()
        self.guard.begin_test(rules_of(item, self._settings.guard), allowances_of(item))
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Let a process outlive the test if a fixture with a wider scope started the process."""
        if fixturedef.scope == "function":
            return (yield)
        with self.guard.exempting():
            return (yield)

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
            _show(failure, item, call, report)
        self._add_facts(report, [failure, call.excinfo and call.excinfo.value])
        if call.when == "teardown":
            report.user_properties += self._properties
            self.guard.end_test()
        return report

    def _failure(self, item: pytest.Item) -> AssertionFailed | None:
        """Return the error for the findings in the phase that has just ended, if there are any."""
        findings = self.guard.take_failing()
        if not findings or self._settings.guard_report_only:
            return None
        plugins = item.config.pluginmanager
        if plugins.hasplugin("rerunfailures") or plugins.hasplugin("pytest_rerunfailures"):
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


def _show(
    failure: AssertionFailed,
    item: pytest.Item,
    call: pytest.CallInfo[None],
    report: pytest.TestReport,
) -> None:
    """Show a phase's findings in that phase's report."""
    if call.excinfo is None or call.excinfo.value is not failure:
        if report.failed:
            report.sections.append(("tlsandbox guard", failure.first_line))
            return
        report.sections.append(("failure of the test itself, excused", report.longreprtext))
    report.outcome = "failed"
    if hasattr(report, "wasxfail"):
        del report.wasxfail
    report.longrepr = at_the_test(item, failure)
    call.excinfo = pytest.ExceptionInfo.from_exception(failure)
