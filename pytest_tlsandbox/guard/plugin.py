"""The pytest plugin of the guard, which is registered only if a test is guarded.

The plugin runs in each process that runs tests. With xdist, these processes are the workers. The
hooks of the guard wrap the hooks of the monitor. When a hook of the guard continues after its
``yield``, the monitor has already polled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.errors import ProcessOOMKilled
from pytest_tlsandbox.guard.failures import error_for
from pytest_tlsandbox.guard.guard import Guard
from pytest_tlsandbox.guard.markers import allowances_of, rules_of
from pytest_tlsandbox.integration.tracebacks import at_the_test
from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_tlsandbox.errors import AssertionFailed
    from pytest_tlsandbox.guard.rules import Finding
    from pytest_tlsandbox.monitoring.monitor import Monitor
    from pytest_tlsandbox.settings import Settings
    from pytest_tlsandbox.types import Screen

_INTERRUPTIONS = (KeyboardInterrupt, pytest.exit.Exception)
_EXCUSES = (pytest.skip.Exception, pytest.xfail.Exception)


class GuardPlugin:
    """Fails a phase of a test if the guard has a finding in that phase."""

    def __init__(self, settings: Settings, monitor: Monitor, screen: Callable[[], Screen]) -> None:
        self.guard = Guard(monitor, settings.guard, report_only=settings.guard_report_only)
        self._session_rules = settings.guard
        self._screen = screen
        self._ended: dict[str, list[Finding]] = {}
        self._raised: AssertionFailed | None = None
        self._properties: list[tuple[str, str]] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Apply the rules of the test before the monitor takes the baseline."""
        self._ended.clear()
        self._properties.clear()
        self._raised = None
        self.guard.begin_test(rules_of(item, self._session_rules), allowances_of(item))
        try:
            return (yield)
        finally:
            self._ended["setup"] = self.guard.take_failing()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail the call phase if the guard has a finding, even if the test itself passed."""
        return (yield from self._end_phase("call", item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail the teardown phase if the guard has a finding."""
        try:
            return (yield from self._end_phase("teardown", item))
        finally:
            self.guard.end_test()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Let a process outlive the test if a fixture with a wider scope started the process."""
        if fixturedef.scope == "function":
            return (yield)
        with self.guard.exempting():
            return (yield)

    def _end_phase(self, phase: str, item: pytest.Item) -> Generator[None, object, object]:
        try:
            result = yield
        except _INTERRUPTIONS:
            raise
        except BaseException as error:
            self._make_error(phase, item)
            if self._raised is not None and isinstance(error, _EXCUSES):
                raise self._raised from None
            raise  # the report shows the finding after the failure of the phase
        self._make_error(phase, item)
        if self._raised is not None:
            raise self._raised
        return result

    def _make_error(self, phase: str, item: pytest.Item) -> None:
        self._raised = None
        findings = self._ended[phase] = self.guard.take_failing()
        if findings:
            self._raised = error_for(findings, self._screen())
            plugins = item.config.pluginmanager
            if plugins.hasplugin("rerunfailures") or plugins.hasplugin("pytest_rerunfailures"):
                # Do not rerun the test, because the regex of a rerun marker could be compared with
                # the wrong exception.
                item.add_marker(pytest.mark.flaky(reruns=0, condition=False), append=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show findings in the report of a phase, even if the test is marked xfail.

        Returns:
            The report, which this hook changes after the hooks of all other plugins.

        """
        report = yield
        findings = self._ended.pop(call.when, None)
        if findings is None:
            return report  # the report of a subtest, whose test continues
        if findings:
            self._show(item, call, report, findings)
        data: dict[str, Any] = {"guard": True, **getattr(report, FACTS, {})}
        error = call.excinfo.value if call.excinfo is not None else None
        if report.failed and (
            any(found.rule == "oom" and not found.inconclusive for found in findings)
            or isinstance(error, ProcessOOMKilled)
        ):
            data["oom"] = True
        for finding in data.get("findings", ()):
            if finding["reported_in"] == "test":
                allowed = finding["allowed"]
                text = finding["headline"] + (f" (allowed: {allowed})" if allowed else "")
                self._properties.append((f"tlsandbox_{finding['rule']}", text))
        if call.when == "teardown":
            report.user_properties += self._properties
        if len(data) > 1:
            setattr(report, FACTS, data)
        return report

    def _show(
        self,
        item: pytest.Item,
        call: pytest.CallInfo[None],
        report: pytest.TestReport,
        findings: list[Finding],
    ) -> None:
        failure = self._raised or error_for(findings, self._screen())
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
