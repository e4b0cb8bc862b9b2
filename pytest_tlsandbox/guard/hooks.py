"""The guard as a pytest plugin, registered only where a guard or a report was asked for.

It runs where tests do: in the one process there is, or in each xdist worker.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.errors import ProcessOOMKilled, TLSandboxError
from pytest_tlsandbox.guard import marks
from pytest_tlsandbox.guard.engine import Guard
from pytest_tlsandbox.guard.failures import error_for
from pytest_tlsandbox.guard.report_link import link_test
from pytest_tlsandbox.guard.rules import TestRun
from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_tlsandbox.connections import Connections
    from pytest_tlsandbox.errors import AssertionFailed
    from pytest_tlsandbox.guard.rules import Finding
    from pytest_tlsandbox.settings import Settings

_TARGET = "tlsandbox_target"
_OUR_PLUGIN = "pytest_tlsandbox.plugin"
_INTERRUPTIONS = (KeyboardInterrupt, pytest.exit.Exception)
_EXCUSES = (pytest.skip.Exception, pytest.xfail.Exception)
_NO_FAILURES = (*_INTERRUPTIONS, *_EXCUSES)


class Watcher:
    """Looks after each phase of each test, and fails the phase in which something was found."""

    def __init__(
        self, config: pytest.Config, settings: Settings, connections: Callable[[], Connections]
    ) -> None:
        self._config = config
        self._settings = settings
        self._connections = connections
        self.worker: str | None = getattr(config, "workerinput", {}).get("workerid")
        self.guard = Guard(
            settings.guard,
            Clock(),
            worker=self.worker,
            report_only=settings.guard_report_only,
            recording=settings.report is not None,
        )
        self._watching: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._concluded: dict[str, list[Finding]] = {}
        self._raised: AssertionFailed | None = None
        self._properties: list[tuple[str, str]] = []
        self._fixtures_ran = False

    # ----------------------------------------------------------------- phases

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Take the baseline before anything of the test runs."""
        attempt = self._attempts[item.nodeid] = self._attempts.get(item.nodeid, 0) + 1
        self._concluded.clear()
        self._properties.clear()
        self._raised = None
        self._fixtures_ran = False
        rules = marks.rules_of(item, self._settings.guard)
        self.guard.begin_test(TestRun(item.nodeid, attempt, rules, marks.allowances_of(item)))
        self._connections().on_connect = self.guard.watch
        self._watch_targets(item, rules)
        try:
            result = yield
        except _NO_FAILURES:
            raise
        except BaseException:
            self._concluded["setup"] = self.guard.end_phase("setup")
            raise
        self._concluded["setup"] = []
        self.guard.begin_call(fixtures=self._fixtures_ran)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Look after the call; a finding fails it, in place of a pass or a skip."""
        return (yield from self._judged("call", item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Look after the teardown; a finding is an error of it."""
        try:
            return (yield from self._judged("teardown", item))
        finally:
            self.guard.end_test()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Learn what the suite tests, and what fixtures of wider scope begin within a call."""
        self._fixtures_ran |= not _starts_nothing(fixturedef)
        if fixturedef.scope == "function":
            result = yield
        else:
            with self.guard.exempting():
                result = yield
        if fixturedef.argname == _TARGET:
            self._watch(result)
        return result

    def _judged(self, phase: str, item: pytest.Item) -> Generator[None, object, object]:
        try:
            result = yield
        except _INTERRUPTIONS:
            raise
        except BaseException as error:
            self._conclude(phase, item)
            if self._raised is not None and isinstance(error, _EXCUSES):
                raise self._raised from None
            raise  # its own failure comes first, the finding is shown beside it
        self._conclude(phase, item)
        if self._raised is not None:
            raise self._raised
        return result

    def _conclude(self, phase: str, item: pytest.Item) -> None:
        self._raised = None
        findings = self._concluded[phase] = self.guard.end_phase(phase)
        if findings:
            self._raised = error_for(findings, self._connections().screen)
            plugins = item.config.pluginmanager
            if plugins.hasplugin("rerunfailures") or plugins.hasplugin("pytest_rerunfailures"):
                # Neither this attempt nor its own failure is tried again: a regex of its own
                # would see whichever exception came first.
                item.add_marker(pytest.mark.flaky(reruns=0, condition=False), append=False)

    # ---------------------------------------------------------------- reports

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put what was found on the report, last of all: no xfail excuses it."""
        report = yield
        findings = self._concluded.pop(call.when, None)
        if findings is None:
            return report  # of a subtest, while the test itself goes on
        if findings:
            self._put(item, call, report, findings)
        facts = self.guard.take_facts()
        error = call.excinfo.value if call.excinfo is not None else None
        if report.failed and (
            any(found.rule == "oom" and not found.inconclusive for found in findings)
            or isinstance(error, ProcessOOMKilled)
        ):
            facts["oom"] = True
        for finding in facts.get("findings", ()):
            if finding["told"] == "test":
                told = f"{finding['verdict']}: {finding['name']}: {finding['what']}"
                excuse = "" if finding["allowed"] is None else f" (allowed: {finding['allowed']})"
                self._properties.append((f"tlsandbox_{finding['rule']}", told + excuse))
        if call.when == "teardown":
            report.user_properties += self._properties
        link_test(self._config, report, self._settings.report)
        if facts:
            facts["worker"] = self.worker
            facts["attempt"] = self._attempts[item.nodeid]
            setattr(report, FACTS, facts)
        return report

    def _put(
        self,
        item: pytest.Item,
        call: pytest.CallInfo[None],
        report: pytest.TestReport,
        findings: list[Finding],
    ) -> None:
        failure = self._raised or error_for(findings, self._connections().screen)
        if call.excinfo is None or call.excinfo.value is not failure:
            if report.failed:
                report.sections.append(("tlsandbox guard", str(failure)))
                return
            report.sections.append(("failure of the test itself, excused", report.longreprtext))
        report.outcome = "failed"
        if hasattr(report, "wasxfail"):
            del report.wasxfail
        report.longrepr = _shown(failure, item)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Look once more, in a worker: its facts of no test travel with its output."""
        if self.worker is not None:
            self._config.workeroutput[FACTS] = self.end()  # type: ignore[attr-defined]

    def end(self) -> dict[str, Any]:
        """Look for what happened outside of every test; give it, and how often it was looked."""
        self.guard.end_session()
        return {**self.guard.take_facts(), "worker": self.worker, "looks": self.guard.take_looks()}

    # ---------------------------------------------------------------- targets

    def _watch_targets(self, item: pytest.Item, rules: tuple[str, ...]) -> None:
        """Watch what --tlsandbox names, where the suite does not name its own."""
        targets = self._settings.targets
        if self._watching.issuperset(targets) or not (rules or self._settings.report):
            return
        if not marks.overrides_target(item):
            for target in targets:
                self._watch(target)

    def watch_from_afar(self, target: str) -> None:
        """Watch what others test: look at once, and wait for nothing."""
        self.guard.watch(self._connections().connect(target), patient=False)

    def _watch(self, target: object) -> None:
        if isinstance(target, str):
            if target in self._watching:
                return
            self._watching.add(target)
        try:
            self._connections().connect(target)
        except TLSandboxError as error:
            # A test that needs it fails by itself; one that does not is not watched.
            name = target if isinstance(target, str) else type(target).__name__
            self.guard.watch_in_vain(name, error.first_line)


def _starts_nothing(fixturedef: pytest.FixtureDef[Any]) -> bool:
    """Tell a fixture that starts nothing: one of pytest's or ours, and no set-up of a class."""
    module = getattr(fixturedef.func, "__module__", None) or ""
    return module.startswith(("_pytest.", _OUR_PLUGIN)) and not fixturedef.argname.startswith(
        ("_xunit_", "_unittest_")
    )


def _shown(failure: AssertionFailed, item: pytest.Item) -> Any:
    """Show a finding as what it says, with no code: none of the test's is at fault."""
    excinfo = pytest.ExceptionInfo.from_exception(_with_traceback(failure))
    shown = excinfo.getrepr(style="value")
    crash = getattr(shown, "reprcrash", None)
    if crash is not None:
        path, line, _ = item.location
        crash.path, crash.lineno, crash.message = path, (line or 0) + 1, failure.first_line
    return shown


def _with_traceback(failure: AssertionFailed) -> AssertionFailed:
    """Raise it, if it never was: pytest shows no place for what has no traceback."""
    if failure.__traceback__ is None:
        with contextlib.suppress(TLSandboxError):
            raise failure
    return failure
