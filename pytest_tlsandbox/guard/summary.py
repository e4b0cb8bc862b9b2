"""The summary of the guard: in the terminal, for GitHub, and as the exit status."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.formatting.text import count, printable
from pytest_tlsandbox.monitoring.summary_rows import finding_rows, gap_row, unknown_end_rows
from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_tlsandbox.monitoring.session_data import SessionData
    from pytest_tlsandbox.settings import Settings

_MOST_LINES = 30
_MOST_ROWS = 50
"""Of the table for GitHub, which drops a summary of more than a megabyte."""


class GuardSummary:
    """Prints the findings of all tests, and fails the session for findings of no test."""

    def __init__(self, config: pytest.Config, settings: Settings, session: SessionData) -> None:
        self._config = config
        self._settings = settings
        self._session = session
        self._why: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Return the outcome "OOM" for a test that failed because of an OOM kill."""
        if not report.failed or not getattr(report, FACTS, {}).get("oom"):
            return None
        return "failed" if report.when == "call" else "error", "O", "OOM"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that passed, for findings of no test and for gaps."""
        self._why = self._reason()
        if self._why is not None and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if step_summary:
            with contextlib.suppress(OSError), open(step_summary, "a", encoding="utf-8") as file:
                file.write(self._markdown())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print findings, allowed findings and gaps; with -v, also that there are none."""
        rows = [*self._rows()]
        width = max((len(row[0]) for row in rows), default=0)
        lines = [
            printable(f"{row[0]:<{width}}  {': '.join(filter(None, row[1:]))}") for row in rows
        ]
        if not lines and self._settings.guard and self._config.get_verbosity() > 0:
            lines = [f"nothing found: {self._extent()}"]
        if lines:
            terminalreporter.section("tlsandbox guard")
        for line in lines[:_MOST_LINES]:
            terminalreporter.line(line)
        if len(lines) > _MOST_LINES:
            terminalreporter.line(f"... and {len(lines) - _MOST_LINES} more")
        if self._why is not None:
            terminalreporter.line(f"tlsandbox guard: this session fails for {self._why}", red=True)

    def _reason(self) -> str | None:
        """Return why the session fails although no test does; None if it does not."""
        if self._settings.guard_report_only:
            return None
        loose = sum(map(_is_loose, self._session.findings))
        gaps = sum(gap["guarded"] for gap in self._session.gaps)
        parts = [f"{count(loose, 'finding')} of no test"] if loose else []
        parts += [f"{count(gaps, 'time')} in which a sandbox was not watched"] if gaps else []
        return " and ".join(parts) or None

    def _extent(self) -> str:
        rules = ", ".join(self._settings.guard) or "no rules"
        names = ", ".join(self._session.sandboxes) or "no sandbox"
        tests = count(len(self._session.tests), "test")
        return f"{rules}; {tests}, {count(self._session.looks, 'look')} at {names}"

    def _rows(self) -> Iterable[tuple[str, str, str, str]]:
        """Return rows of four texts: the kind, the place, the process, what happened."""
        yield from finding_rows(self._session.findings)
        yield from unknown_end_rows(self._session.unknown_ends)
        for gap in self._session.gaps:
            yield gap_row(gap, gap["label"])

    def _markdown(self) -> str:
        rows = [*self._rows()]
        lines = ["### tlsandbox", ""]
        if not rows:
            return "\n".join([*lines, f"Nothing found: {_cell(self._extent())}.", "", ""])
        lines += ["| | where | process | what |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows[:_MOST_ROWS]]
        if len(rows) > _MOST_ROWS:
            lines += ["", f"... and {len(rows) - _MOST_ROWS} more."]
        if self._why is not None:
            lines += ["", f"This session fails for {self._why}."]
        return "\n".join([*lines, "", ""])


def _is_loose(finding: Mapping[str, Any]) -> bool:
    return finding["reported_in"] == "session" and finding["allowed"] is None


def _cell(text: str) -> str:
    """Return text for a cell of a table, without markup."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return text.replace("`", "\\`").replace("*", "\\*").replace("_", "\\_")
