"""Collect the data of all tests in the process that reports the results.

Under xdist, the controller reports the results and does not run tests. Without xdist, the process
that runs the tests also reports the results.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.errors import TLSandboxError
from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.settings import FACTS, LOCAL

if TYPE_CHECKING:
    from pytest_tlsandbox.monitoring.plugin import MonitorPlugin
    from pytest_tlsandbox.settings import Settings


class Collector:
    """Adds data from test reports and from workers to the data of the session."""

    def __init__(self, config: pytest.Config, settings: Settings, monitor: MonitorPlugin) -> None:
        self.session = SessionData()
        self._has_workers = config.getoption("dist", "no") != "no"
        self._targets = settings.targets
        self._monitor = monitor

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Monitor sandboxes that workers share, in case a worker dies before it sends its data."""
        for target in self._targets if self._has_workers else ():
            if target != LOCAL and "{worker}" not in target:
                with contextlib.suppress(TLSandboxError):
                    self._monitor.monitor_shared(target)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record an error that happened during collection."""
        if report.failed:
            self.session.collection_errors.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test report and the data that is attached to it."""
        self.session.add_report(report)
        self.session.add_data(getattr(report, FACTS, {}))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Add the last data of a worker, or record that the worker died."""
        output = getattr(node, "workeroutput", None)
        if output is None or error:
            self.session.lose_worker(node.gateway.id)
        self.session.add_data((output or {}).get(FACTS, {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Poll each sandbox one last time."""
        data = self._monitor.end_session()
        if self._has_workers:
            data.pop("gaps", None)  # workers report their own gaps
        self.session.add_data(data)
