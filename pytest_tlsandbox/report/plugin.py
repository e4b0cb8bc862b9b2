"""The pytest plugin that writes the report.

The plugin runs in the process that reports the results.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest

from pytest_tlsandbox.integration.pytest_html import add_extra, link_to
from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.report.document import document_of, is_page, write_report
from pytest_tlsandbox.settings import Settings


class ReportPlugin:
    """Writes the report when the session ends."""

    def __init__(self, config: pytest.Config, settings: Settings, session: SessionData) -> None:
        self._config, self._settings, self._session = config, settings, session
        self._path: Path | None = None
        self._error: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Remove the report of an earlier session if this session will run tests."""
        if self._settings.report and not self._config.getoption("collectonly"):
            self._path = self._settings.report
            with contextlib.suppress(OSError):
                self._path.unlink()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Link each failed test in the pytest-html report to the timeline.

        Each link opens the timeline at the failed test.
        """
        if report.failed and (link := self._timeline_link()):
            url = f"{link}#test={quote(report.nodeid, safe='')}"
            add_extra(self._config, report, "url", url, "timeline of the processes")

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the report, including the exit status, which the guard may have changed."""
        result = yield
        if self._path is not None:
            document = document_of(self._session, self._settings, int(session.exitstatus))
            try:
                write_report(document, self._path)
            except OSError as error:
                self._error = error.strerror or type(error).__name__
                if session.exitstatus == pytest.ExitCode.OK:
                    session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the path of the report."""
        if self._error is not None:
            terminalreporter.line(f"{self._path} could not be written: {self._error}", red=True)
        elif self._path is not None:
            terminalreporter.line(f"tlsandbox report: {self._path}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Insert a link to the timeline into the pytest-html report."""
        if link := self._timeline_link():
            prefix.append(f'<p><a href="{escape(link)}">Timeline of the processes</a></p>')

    def _timeline_link(self) -> str | None:
        """Return the path of the timeline, relative to the pytest-html report.

        The result is None unless this session writes both the timeline and the pytest-html
        report.
        """
        return link_to(self._config, self._path) if self._path and is_page(self._path) else None
