"""Collects the data of all tests in the one process that reports.

That is the process that runs the tests, or xdist's controller, which runs none.
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
    """Adds the data from reports and workers to the data of the session."""

    def __init__(self, config: pytest.Config, settings: Settings, monitor: MonitorPlugin) -> None:
        self.session = SessionData()
        self._has_workers = config.getoption("dist", "no") != "no"
        self._targets = settings.targets
        self._monitor = monitor

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Poll sandboxes that workers share, so that data of a worker that dies is not lost."""
        for target in self._targets if self._has_workers else ():
            if target != LOCAL and "{worker}" not in target:
                with contextlib.suppress(TLSandboxError):
                    self._monitor.monitor_shared(target)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record an error of the collection."""
        if report.failed:
            self.session.collection_errors.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a report, and the data that it carries."""
        self.session.add_report(report)
        self.session.add_data(getattr(report, FACTS, {}))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Add the last data of a worker, or record that it died."""
        output = getattr(node, "workeroutput", None)
        if output is None or error:
            self.session.lose_worker(node.gateway.id)
        self.session.add_data((output or {}).get(FACTS, {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Poll for the last time."""
        data = self._monitor.end_session()
        if self._has_workers:
            data.pop("gaps", None)  # workers report theirs
        self.session.add_data(data)
