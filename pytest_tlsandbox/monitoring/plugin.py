"""The pytest plugin of the monitor.

The plugin is registered only if the guard or the report needs the monitor. The plugin polls in
every process that runs tests. Under xdist, these processes are the workers. The controller of xdist
also polls sandboxes that the workers share, before the first test and after the last test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import pytest

from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.connections import Connections
from pytest_tlsandbox.errors import TLSandboxError
from pytest_tlsandbox.integration.pytest_private import PLUGIN, TARGET, overrides_target
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.settings import FACTS, LOCAL, Settings

_INTERRUPTIONS = (KeyboardInterrupt, pytest.exit.Exception)
_EXCUSES = (pytest.skip.Exception, pytest.xfail.Exception)


class MonitorPlugin:
    """Lets the monitor poll after each phase of a test, and attaches the data to test reports.

    Attributes:
        monitor: the monitor.
        session: the data of the session; None in an xdist worker.

    """

    def __init__(
        self, config: pytest.Config, settings: Settings, connections: Callable[[], Connections]
    ) -> None:
        self._targets = settings.targets
        self._connections = connections
        worker = getattr(config, "workerinput", {}).get("workerid")
        self.monitor = Monitor(Clock(), worker=worker, recording=settings.report is not None)
        self.session = SessionData() if worker is None else None
        self._has_workers = config.getoption("dist", "no") != "no"
        self._monitored: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._fixtures_ran = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Monitor sandboxes that workers share, in case a worker dies before it sends its data."""
        for target in self._targets if self._has_workers else ():
            if target != LOCAL and "{worker}" not in target:
                with contextlib.suppress(TLSandboxError):
                    self.monitor.add(self._connections().connect(target), patient=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Take the baseline before any code of the test runs."""
        attempt = self._attempts[item.nodeid] = self._attempts.get(item.nodeid, 0) + 1
        self._fixtures_ran = False
        self.monitor.begin_test(item.nodeid, attempt)
        self._connections().on_connect = self.monitor.add
        needed = self.monitor.active and not self._monitored.issuperset(self._targets)
        if needed and not overrides_target(item):  # the suite does not choose its own sandbox
            for target in self._targets:
                self._monitor_target(target)
        try:
            return (yield)
        except BaseException as error:
            if not isinstance(error, (*_INTERRUPTIONS, *_EXCUSES)):
                self.monitor.end_phase("setup")
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Poll after the call phase of a test. If fixtures ran, also poll before the call phase."""
        self.monitor.begin_call(fixtures=self._fixtures_ran)
        return (yield from self._poll_after("call"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Poll after the teardown. The monitor may skip this poll if no suite fixture has ended."""
        scopes = item.listchain()[:-1]
        ends_no_scope = nextitem is not None and nextitem.listchain()[: len(scopes)] == scopes
        self.monitor.tears_nothing_down = ends_no_scope and not self._fixtures_ran
        try:
            return (yield from self._poll_after("teardown"))
        finally:
            self.monitor.end_test()

    def _poll_after(self, phase: str) -> Generator[None, object, object]:
        try:
            result = yield
        except BaseException as error:
            if not isinstance(error, _INTERRUPTIONS):
                self.monitor.end_phase(phase)
            raise
        self.monitor.end_phase(phase)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Record whether fixtures ran. If a fixture chooses a sandbox, monitor the sandbox."""
        self._fixtures_ran |= _may_start_something(fixturedef)
        result = yield
        if fixturedef.argname == TARGET:
            self._monitor_target(result)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach new data to the test report, which xdist sends to the controller."""
        report = yield
        if data := self.monitor.take_data():
            setattr(report, FACTS, {**data, "worker": self.monitor.worker})
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Poll once more, then pass on the data that is not attached to any test report.

        An xdist worker sends the data to the controller. Any other process adds the data to its
        session.
        """
        self.monitor.end_session()
        looks, worker = self.monitor.snapshots, self.monitor.worker
        data = {**self.monitor.take_data(), "looks": looks, "worker": worker}
        if self.session is None:
            session.config.workeroutput[FACTS] = data  # type: ignore[attr-defined]
            return
        if self._has_workers:
            data.pop("gaps", None)  # workers report their own gaps
        self.session.add_data(data)

    def _monitor_target(self, target: object) -> None:
        if isinstance(target, str):
            if target in self._monitored:
                return
            self._monitored.add(target)
        try:
            self._connections().connect(target)
        except TLSandboxError as error:
            # A test that needs the sandbox fails by itself; for any other test, record a gap.
            name = target if isinstance(target, str) else type(target).__name__
            self.monitor.add_unconnected(name, error.first_line)


def _may_start_something(fixturedef: pytest.FixtureDef[Any]) -> bool:
    """Return whether a fixture runs code that belongs neither to pytest nor to this plugin."""
    module = getattr(fixturedef.func, "__module__", None) or ""
    sets_up = fixturedef.argname.startswith(("_xunit_", "_unittest_"))
    return sets_up or not module.startswith(("_pytest.", PLUGIN))
